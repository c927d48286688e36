from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import fx, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from onnx_nepenthe.errors import UnsupportedError, UsageError  # noqa: E402
from onnx_nepenthe.prune.records import Site  # noqa: E402
from onnx_nepenthe.prune.rectifier import Rectifier  # noqa: E402
from onnx_nepenthe.prune.sites import find_sites, rectifiers_of  # noqa: E402


def stochastic_depth(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """As in torchvision: randomness that a trace must not look into."""
    if not training or p == 0:
        return x
    keep = torch.empty(x.shape[0], 1, 1, 1).bernoulli_(1 - p)
    return x * keep / (1 - p)


fx.wrap("stochastic_depth")


class Net(nn.Module):
    """Layers and a forward that is given as a function."""

    def __init__(self, run: Callable[[Net, torch.Tensor], torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


class ConvNormActivation(nn.Sequential):
    """As in torchvision."""

    def __init__(self, inside: int, out: int, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inside, out, 3, stride, 1, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out), nn.ReLU6(inplace=True))


class SqueezeExcitation(nn.Module):
    """As in torchvision."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)
        self.activation, self.scale_activation = nn.ReLU(inplace=True), nn.Hardsigmoid(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return scale * x


class Block(nn.Module):
    """A block in torchvision's style: a shared in-place rectifier, a downsample that may be None, stochastic depth."""

    def __init__(self, inside: int, out: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = downsample
        self.se = SqueezeExcitation(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.bn2(self.conv2(out))
        out = stochastic_depth(self.se(out), 0.3, self.training)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Vision(nn.Module):
    """A network in torchvision's style."""

    def __init__(self) -> None:
        super().__init__()
        self.inplanes = 4
        self.features = nn.Sequential(ConvNormActivation(3, 4), self._make_layer(4, 2, 1), self._make_layer(8, 2, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Linear(8, 6), nn.ReLU(True), nn.Dropout(), nn.Linear(6, 5))

    def _make_layer(self, planes: int, blocks: int, stride: int) -> nn.Sequential:
        downsample = None
        if stride != 1:
            downsample = nn.Sequential(nn.Conv2d(self.inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
        layers: list[nn.Module] = [Block(self.inplanes, planes, stride, downsample)]
        self.inplanes = planes
        return nn.Sequential(*layers, *(Block(planes, planes, 1, None) for _ in range(1, blocks)))

    def _forward_impl(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(self.avgpool(self.features(x)), 1)
        return self.classifier(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward_impl(x)


def image(channels: int = 3, size: int = 8) -> torch.Tensor:
    return torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(0))


def find(network: nn.Module, x: torch.Tensor, leaves: Sequence[str] = ()) -> dict[str, Site]:
    """Sites by label; the trace is compared with the network in both modes."""
    traced, sites = find_sites(network, x, leaves)
    for is_training in (True, False):
        network.train(is_training)
        traced.train(is_training)
        torch.manual_seed(1)
        expected = network(x.clone())
        torch.manual_seed(1)
        assert torch.equal(traced(x.clone()), expected)
    assert set(rectifiers_of(traced)) == {site.name for site in sites}
    assert len({site.name for site in sites}) == len({site.label for site in sites}) == len(sites)
    return {site.label: site for site in sites}


def test_a_network_in_torchvisions_style() -> None:
    torch.manual_seed(0)
    sites = find(Vision(), image())
    assert len(sites) == 1 + 4 * 4 + 1
    first, second = sites["features.1.0.relu, call 1"], sites["features.1.0.relu, call 2"]
    assert (first.feeder, first.norm, first.norm_is_last) == ("features.1.0.conv1", "features.1.0.bn1", True)
    assert first.has_bypass
    # The gate scales what the second convolution made.
    assert (second.feeder, second.norm, second.norm_is_last) == ("features.1.0.conv2", "features.1.0.bn2", False)
    stem = sites["features.0.2"]
    assert (stem.op, stem.feeder, stem.has_bypass) == ("Clip", "features.0.0", False)
    assert sites["classifier.1"].feeder == "classifier.0"
    gate = sites["features.1.0.se.activation"]
    assert (gate.feeder, gate.channels, gate.axis) == ("features.1.0.se.fc1", 2, 1)
    # A gate is 1/2 without its weights: the signal gets past.
    assert gate.has_bypass


def test_torchvisions_own_definitions() -> None:
    models = pytest.importorskip("torchvision.models")
    counts = {"resnet18": 17, "mobilenet_v2": 35, "vgg16_bn": 15, "swin_t": 12, "vit_b_16": 12}
    for name, count in counts.items():
        size = {"image_size": 32} if name == "vit_b_16" else {}
        _, sites = find_sites(getattr(models, name)(num_classes=5, **size), image(size=32))
        assert len(sites) == count


def test_the_network_stays_as_it_is() -> None:
    network = Vision()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    traced, _ = find_sites(network, image())
    with torch.no_grad():
        for parameter in traced.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(isinstance(part, Rectifier) for part in network.modules())


def test_in_place_calls_leave_the_preactivation_to_hooks() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    traced, (site,) = find_sites(network, image())
    seen = []
    rectifiers_of(traced)[site.name].register_forward_hook(lambda _, args, y: seen.append((args[0], y)))
    with torch.no_grad():
        traced(image())
    ((z, y),) = seen
    assert float(z.min()) < 0
    assert torch.equal(y, z.relu())


def test_what_reads_a_value_after_it_was_overwritten_reads_the_result() -> None:
    def run(net: Net, x: torch.Tensor) -> torch.Tensor:
        z = net.conv(x)
        before = z * 2
        y = net.relu(z)
        return net.skip(z) + net.last(y) + before

    layers = {"conv": nn.Conv2d(3, 4, 1), "skip": nn.Conv2d(4, 4, 1), "last": nn.Conv2d(4, 4, 1)}
    sites = find(Net(run, **layers, relu=nn.ReLU(inplace=True)), image())
    assert [site.feeder for site in sites.values()] == ["conv"]


def test_an_in_place_call_whose_result_nobody_reads_counts() -> None:
    def run(net: Net, x: torch.Tensor) -> torch.Tensor:
        z = net.conv(x)
        F.relu_(z)
        z.clamp_(max=1.0)
        return z

    assert list(find(Net(run, conv=nn.Conv2d(3, 4, 1)), image())) == ["ReLU", "Clamp"]


def test_overwriting_behind_a_view_is_refused() -> None:
    def run(net: Net, x: torch.Tensor) -> torch.Tensor:
        z = net.conv(x)
        seen = z.flatten(1)
        F.relu_(z)
        return seen

    with pytest.raises(UnsupportedError, match="read again through a view"):
        find_sites(Net(run, conv=nn.Conv2d(3, 4, 1)), image())


def test_what_is_not_a_rectifier_of_constants_is_no_site() -> None:
    def run(net: Net, x: torch.Tensor) -> torch.Tensor:
        z = net.conv(x)
        z = torch.clamp(z, min=z.mean())
        z = F.prelu(z, z.mean().reshape(1))
        return torch.tanh(z) * torch.clamp(x.argmax(1, keepdim=True), max=3)

    assert find(Net(run, conv=nn.Conv2d(3, 4, 1)), image()) == {}


def test_an_activation_without_knots_is_left_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert find(nn.Sequential(nn.Conv2d(3, 4, 1), nn.CELU(-1.0)), image()) == {}
    assert "1 is left as it is: CELU: alpha is -1" in caplog.text


def test_slopes_of_a_functional_prelu_stay_shared_and_trained() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.slopes = nn.Conv2d(3, 4, 1), nn.Parameter(torch.tensor([0.1, 0.2, 0.3, 0.4]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.prelu(F.prelu(self.conv(x), self.slopes) - 1, weight=self.slopes)

    traced, sites = find_sites(Shared(), image())
    weights = [rectifiers_of(traced)[site.name].function.weight for site in sites]
    assert weights[0] is weights[1] is traced.slopes
    assert [site.axis for site in sites] == [1, 1]
    assert sites[0].activation.line(0, 4)[0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_parameters_along_another_axis_keep_their_axis_and_leave_the_weights() -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.PReLU(3))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([0.1, 0.2, 0.3]))
    _, (site,) = find_sites(network, torch.randn(2, 3, 5))
    assert (site.axis, site.channels, site.feeder) == (1, 3, None)


@pytest.mark.parametrize(("shape", "axis"), [((2, 3), 1), ((2, 3, 4), 2), ((2, 3, 4, 5), 1), ((2, 3, 4, 5, 6), 1)])
def test_without_weights_the_axis_is_that_of_the_onnx_half(shape: tuple[int, ...], axis: int) -> None:
    _, (site,) = find_sites(nn.Sequential(nn.Tanh(), nn.ReLU()), torch.randn(shape))
    assert (site.axis, site.channels, site.feeder) == (axis, shape[axis], None)


class Tokens(nn.Module):
    """An encoder of torch, behind attention and a dense part."""

    def __init__(self, mask: torch.Tensor | None = None, **options: Any) -> None:
        super().__init__()
        self.mask = mask
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.attention(x, x, x, need_weights=False)
        return x + self.encoder(self.mlp(x + y), self.mask)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize(
    ("options", "called", "op"),
    [
        ({}, "ReLU", "Relu"),
        ({"activation": "gelu", "norm_first": True}, "GELU", "Gelu"),
        ({"activation": nn.ReLU6()}, "activation", "Clip"),
    ],
)
def test_encoders_of_torch_are_looked_into(
    options: dict[str, Any], called: str, op: str, is_training: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        traced, sites = find_sites(Tokens(**options).train(is_training), torch.randn(2, 5, 8))
    assert traced.training == is_training
    assert [(site.label, site.op, site.feeder, site.axis) for site in sites] == [
        ("mlp.1", "Gelu", "mlp.0", 2),
        (f"encoder.layers.0.{called}", op, "encoder.layers.0.linear1", 2),
        (f"encoder.layers.1.{called}", op, "encoder.layers.1.linear1", 2),
    ]
    assert all(site.has_bypass for site in sites[1:])
    assert caplog.text == ""
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("activation", [nn.GELU(), "relu"])
def test_with_masks_they_are_leaves_and_hidden_activations_are_said(
    activation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = Tokens(torch.zeros(5, 5), activation=activation)
    with caplog.at_level(logging.WARNING):
        _, sites = find_sites(tokens.eval(), torch.randn(2, 5, 8))
    assert [(site.label, site.feeder, site.axis) for site in sites] == [("mlp.1", "mlp.0", 2)]
    assert "encoder is not looked into: 2 activations in it stay as they are" in caplog.text
    assert ("call it without masks" in caplog.text) == (activation == "relu")
    assert "attention is" not in caplog.text


def test_activations_in_decoders_of_torch_are_said(caplog: pytest.LogCaptureFixture) -> None:
    class Decoded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.decoder(x, x).relu()

    with caplog.at_level(logging.WARNING):
        find_sites(Decoded(), torch.randn(2, 5, 8))
    assert "decoder is not looked into: 1 activations in it stay as they are; call it without masks, or" in caplog.text


def test_several_inputs_and_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(5, 4)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            a = self.a(x).relu()
            return {"sum": a + self.b(y).relu(), "a": a}

    traced, sites = find_sites(Two(), (torch.randn(2, 3), torch.randn(2, 5)))
    # Without `a` the second output is constant; without `b` both still follow x.
    assert [(site.feeder, site.has_bypass) for site in sites] == [("a", False), ("b", True)]
    assert set(traced(torch.randn(2, 3), torch.randn(2, 5))) == {"sum", "a"}


@pytest.mark.parametrize(("shape", "match"), [((4, 5, 8, 8), r"shape \(4, 5, 8, 8\)"), ((4, 3), r"shape \(4, 3\)")])
def test_an_example_that_does_not_fit_is_an_error_of_one_line(shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(UnsupportedError, match=match) as error:
        find_sites(Vision(), torch.randn(shape))
    assert "\n" not in str(error.value)


def test_the_number_of_inputs_is_checked() -> None:
    with pytest.raises(UsageError, match="the example has 2 inputs"):
        find_sites(Vision(), (image(), image()))


def test_a_site_behind_a_skip_says_so_and_one_behind_a_norm_does_not() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
            self.shift = nn.Parameter(torch.ones(2, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = torch.relu(self.conv(x) + self.shift)
            second = torch.relu(self.conv(first) + x)
            return torch.relu(self.norm(self.conv(second) + x))

    _, sites = find_sites(Block(), (torch.zeros(1, 2, 4, 4),))
    assert [site.is_sum for site in sites] == [False, True, False]
