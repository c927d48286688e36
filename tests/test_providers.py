"""Names of providers, and the one line for those that are not there."""

import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.providers import device_of, full_name, short_name, with_fallback

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def test_names_go_both_ways() -> None:
    assert full_name("Cpu", [CPU]) == full_name(CPU, [CPU]) == full_name(CPU.lower(), [CPU]) == CPU
    assert short_name(CPU) == "cpu"
    assert full_name("AzureExecutionProvider", ["AzureExecutionProvider"]) == "AzureExecutionProvider"
    assert short_name("AzureExecutionProvider") == "AzureExecutionProvider"


@pytest.mark.parametrize(
    ("provider", "package"),
    [
        ("cuda", "onnxruntime-gpu"),
        ("tensorrt", "onnxruntime-gpu"),
        ("openvino", "onnxruntime-openvino"),
        ("dml", "onnxruntime-directml"),
        (CUDA, "onnxruntime-gpu"),
    ],
)
def test_a_provider_that_is_not_installed_names_its_package_in_one_line(provider: str, package: str) -> None:
    with pytest.raises(UsageError, match=rf"not installed \(installed: cpu\); `pip install {package}` brings it, .+$"):
        full_name(provider, [CPU])


def test_an_unknown_provider_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"provider warp is unknown; installed: cpu; known: cpu, cuda"):
        full_name("warp", [CPU])


def test_results_lie_on_the_device_of_their_provider() -> None:
    assert [device_of(name) for name in ("cpu", "cuda", "tensorrt", "openvino", "other")] == [
        "cpu",
        "cuda",
        "cuda",
        "cpu",
        "cpu",
    ]


def test_the_processor_is_the_fallback() -> None:
    assert with_fallback(CPU) == [CPU]
    assert with_fallback(CUDA) == [CUDA, CPU]
