"""Names of onnxruntime's execution providers, the packages that bring them, where their tensors lie; the processor."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from onnx_nepenthe.errors import UsageError

_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "dml": ("DmlExecutionProvider", "onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
    "migraphx": ("MIGraphXExecutionProvider", "onnxruntime-migraphx"),
    "qnn": ("QNNExecutionProvider", "onnxruntime-qnn"),
}
_SHORT = {full: short for short, (full, _) in _PROVIDERS.items()}
_DEVICES = {"cuda": "cuda", "tensorrt": "cuda", "migraphx": "cuda", "dml": "dml"}
"""onnxruntime's name of the device; AMD's go by cuda too. All others hold their results in main memory."""


def short_name(full: str) -> str:
    """ "cpu" for "CPUExecutionProvider"; the same name when there is no short one."""
    return _SHORT.get(full, full)


def plain_name(provider: str) -> str:
    """One name for all ways to write a provider.

    >>> plain_name("CPUExecutionProvider"), plain_name("CUDA"), plain_name("other")
    ('cpu', 'cuda', 'other')
    """
    by_case = {full.lower(): short for full, short in _SHORT.items()}
    return by_case.get(provider.lower(), provider.lower() if provider.lower() in _PROVIDERS else provider)


def device_of(short: str) -> str:
    """Where the provider with this short name leaves its results."""
    return _DEVICES.get(short, "cpu")


def full_name(provider: str, available: Sequence[str]) -> str:
    """onnxruntime's name of `provider`."""
    by_case = {full.lower(): full for full in (*_SHORT, *available)}
    full = _PROVIDERS.get(provider.lower(), (by_case.get(provider.lower(), ""),))[0]
    if full in available:
        return full
    installed = ", ".join(_SHORT.get(name, name) for name in available)
    if not full:
        raise UsageError(f"provider {provider} is unknown; installed: {installed}; known: {', '.join(_PROVIDERS)}")
    package = _PROVIDERS[_SHORT[full]][1]
    raise UsageError(
        f"provider {provider} is not installed (installed: {installed}); `pip install {package}` brings it, "
        "after `pip uninstall onnxruntime` because only one of them can be there"
    )


def not_started(provider: str) -> UsageError:
    """The error for a provider whose package is there and whose device or libraries are not."""
    return UsageError(
        f"provider {provider} is installed but cannot start on this machine "
        "(no such device, or a driver or library of it is missing); use --provider cpu"
    )


def is_start_failure(message: str) -> bool:
    """Whether onnxruntime complains about a provider's libraries, not about the model."""
    return any(words in message for words in _START_FAILURES)


_START_FAILURES = ("requirements page", "Failed to load library", "cannot open shared object file")


def with_fallback(provider: str) -> list[str]:
    """The providers to start a session with: operators that the first has no kernel for run on the processor."""
    return [provider] if provider == "CPUExecutionProvider" else [provider, "CPUExecutionProvider"]


def cpu_name() -> str:
    """What the processor calls itself."""
    if sys.platform == "linux":
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()
