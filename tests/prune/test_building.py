"""Networks by name and by call, and their weights."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from onnx_nepenthe.errors import UnreadableError, UsageError  # noqa: E402
from onnx_nepenthe.prune.building import build, load_weights  # noqa: E402
from onnx_nepenthe.prune.networks import NETWORKS  # noqa: E402

IMAGE = torch.zeros(2, 1, 8, 8)


def test_a_built_in_network_fits_the_data_and_the_seed_decides_its_weights() -> None:
    first, same, other = (build("mlp", IMAGE, 7, width=0.25, seed=seed) for seed in (1, 1, 2))
    assert first(IMAGE).shape == (2, 7)
    pairs = zip(first.parameters(), same.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not torch.equal(next(iter(first.parameters())), next(iter(other.parameters())))


def test_a_callable_gives_its_own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Linear(3, 2)\n"
        "def wrong():\n    return 'net'\n"
        "def broken():\n    raise ValueError('no such size')\n"
    )
    monkeypatch.chdir(tmp_path)
    assert isinstance(build("nets:net", torch.zeros(2, 3), 2), torch.nn.Linear)
    with pytest.raises(UsageError, match="returned str"):
        build("nets:wrong", torch.zeros(2, 3), 2)
    with pytest.raises(UnreadableError, match="raised ValueError: no such size"):
        build("nets:broken", torch.zeros(2, 3), 2)


def test_an_unknown_network_and_data_of_another_shape_are_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet20'"):
        build("resnet21", IMAGE, 10)
    with pytest.raises(UsageError, match="takes square images"):
        build(next(iter(NETWORKS)), torch.zeros(2, 3), 10)


def test_weights_are_loaded_and_nothing_is_unpickled(tmp_path: Path) -> None:
    net, other = build("mlp", IMAGE, 3, width=0.25, seed=1), build("mlp", IMAGE, 3, width=0.25, seed=2)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    load_weights(other, tmp_path / "net.pt")
    assert torch.equal(next(iter(net.parameters())), next(iter(other.parameters())))
    torch.save(net, tmp_path / "pickled.pt")
    with pytest.raises(UnreadableError, match=r"pickled\.pt: no readable weights"):
        load_weights(other, tmp_path / "pickled.pt")
    with pytest.raises(UnreadableError, match="no readable weights"):
        load_weights(other, tmp_path / "none.pt")
    with pytest.raises(UnreadableError, match="weights of another network"):
        load_weights(build("mlp", IMAGE, 4, width=0.5), tmp_path / "net.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(UnreadableError, match="holds list, not a state dict"):
        load_weights(other, tmp_path / "list.pt")
