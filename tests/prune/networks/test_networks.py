from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from onnx_nepenthe.errors import UsageError  # noqa: E402
from onnx_nepenthe.prune.networks import NETWORKS  # noqa: E402
from onnx_nepenthe.prune.networks.swin import WindowAttention  # noqa: E402
from onnx_nepenthe.prune.sites import find_sites  # noqa: E402

SITES = {"mlp": 3, "resnet18": 17, "resnet20": 19, "mobilenet-v2": 35, "vgg16-bn": 15, "vit": 12, "swin": 12}
BYPASSED = {"mlp": 0, "resnet18": 16, "resnet20": 18, "mobilenet-v2": 20, "vgg16-bn": 0, "vit": 12, "swin": 12}
# Of torchvision's definitions at 1,000 classes (weights pages of torchvision 0.21); DeiT-Ti's 5,717,416 less its class
# token and one position.
PARAMETERS = {
    "resnet18": 11_689_512,
    "mobilenet-v2": 3_504_872,
    "vgg16-bn": 138_365_992,
    "swin": 28_288_354,
    "vit": 5_717_416 - 2 * 192,
}


def build(name: str, size: int = 8, width: float = 0.05) -> torch.nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name](3, size, 5, width)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_rectifier_is_a_site_with_weights_of_its_own(name: str) -> None:
    # At smaller widths some of MobileNetV2's stages are equally wide and get a skip.
    _, sites = find_sites(build(name, width=0.5 if name == "mobilenet-v2" else 0.05), torch.randn(2, 3, 8, 8))
    assert len(sites) == SITES[name]
    assert len({site.feeder for site in sites} - {None}) == SITES[name]
    assert sum(site.has_bypass for site in sites) == BYPASSED[name]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("is_training", [True, False])
def test_a_traced_network_computes_the_same(name: str, is_training: bool) -> None:
    network, x = build(name).train(is_training), torch.randn(2, 3, 8, 8)
    traced, _ = find_sites(network, x)
    torch.manual_seed(1)
    expected = network(x)
    torch.manual_seed(1)
    assert torch.equal(traced(x), expected)
    assert expected.shape == (2, 5)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet-v2", "vgg16-bn", "vit", "swin"])
def test_sizes_of_images_may_differ(name: str) -> None:
    network = build(name, 32).eval()
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize("name", PARAMETERS)
def test_at_full_width_it_is_the_published_network(name: str) -> None:
    with torch.device("meta"):
        network = NETWORKS[name](3, 224, 1000, 1.0)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


def test_rolled_windows_see_only_true_neighbours() -> None:
    torch.manual_seed(0)
    attention = WindowAttention(6, 3, 4, 2, 1).eval()
    x = torch.randn(1, 4, 4, 6)
    y = attention(x)
    # Rolled by one, the window of (1, 1), (1, 2), (2, 1), (2, 2) is whole, and the corners are alone.
    for row, column in ((0, 0), (1, 1)):
        other = x.clone()
        other[0, 3, 3] += 1
        assert torch.allclose(attention(other)[0, row, column], y[0, row, column], atol=1e-6)
    other = x.clone()
    other[0, 2, 2] += 1
    changed = ((attention(other) - y).abs().amax(-1)[0] > 1e-6).nonzero().tolist()
    assert changed == [[1, 1], [1, 2], [2, 1], [2, 2]]


@pytest.mark.parametrize(("name", "size"), [("vit", 33), ("swin", 20), ("swin", 100)])
def test_a_size_that_patches_do_not_fill_is_refused(name: str, size: int) -> None:
    with pytest.raises(UsageError, match="do not fill"):
        NETWORKS[name](3, size, 5, 0.1)
