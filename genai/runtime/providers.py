"""Execution providers: which this machine has, which to take, and what the others lack."""

from __future__ import annotations

from dataclasses import dataclass, field

from genai.errors import OptionError, ProviderError, did_you_mean
from genai.runtime.devices import identity_model
from genai.runtime.ort import ORT_ERRORS, onnxruntime

__all__ = ["Provider", "ProviderStatus", "choose_provider", "provider_statuses"]


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider as genai uses it.

    Args:
        name: What users call it.
        ort_name: What ONNX Runtime calls it.
        device_name: Where its inputs and outputs live, as ONNX Runtime's IOBinding calls it.
        package: What pip installs it with, if anything does.
        options: Provider options beside the device id.
        takes_device_id: Whether it has several devices to choose from.
        auto: Whether `auto` may take it.
        copies_at_bind: Whether inputs are copied to the device when they are bound, so that every run needs a new
            binding.
        captures: Whether it can record a run and replay it (CUDA graphs).
    """

    name: str
    ort_name: str
    device_name: str
    package: str | None
    options: dict[str, str] = field(default_factory=dict)
    takes_device_id: bool = True
    auto: bool = True
    copies_at_bind: bool = False
    captures: bool = False

    def session_options(self, device_id: int) -> dict[str, str]:
        """Return the provider options for one device."""
        return {**self.options, **({"device_id": str(device_id)} if self.takes_device_id else {})}


# In order of preference. OpenVINO and Core ML read and write the host's memory. DirectML's memory has no addresses that
# views could be counted from: it is fed from host memory at every run, which is correct and slow.
PROVIDERS = (
    Provider(
        "cuda",
        "CUDAExecutionProvider",
        "cuda",
        "onnxruntime-gpu[cuda,cudnn]",
        # By default the arena takes powers of two, twice what a cache needs.
        options={"arena_extend_strategy": "kSameAsRequested"},
        captures=True,
    ),
    Provider("rocm", "ROCMExecutionProvider", "cuda", None),
    Provider("directml", "DmlExecutionProvider", "cpu", "onnxruntime-directml", copies_at_bind=True),
    Provider(
        "openvino",
        "OpenVINOExecutionProvider",
        "cpu",
        "onnxruntime-openvino",
        takes_device_id=False,
        auto=False,
    ),
    Provider("coreml", "CoreMLExecutionProvider", "cpu", "onnxruntime", takes_device_id=False, auto=False),
    Provider("cpu", "CPUExecutionProvider", "cpu", "onnxruntime", takes_device_id=False),
)


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """Whether a provider can be used here, and if not, what to do about it."""

    provider: Provider
    available: bool
    reason: str


def provider_statuses() -> list[ProviderStatus]:
    """Return every known provider, in order of preference, with the reason where one is not available."""
    installed = set(onnxruntime.get_available_providers())
    return [_status(provider, installed) for provider in PROVIDERS]


def choose_provider(name: str) -> list[Provider]:
    """Return the providers to try, best first: for "auto" all that may be taken, else the named one.

    Raises:
        OptionError: No provider has this name.
        ProviderError: The installed ONNX Runtime does not have it.
    """
    statuses = {status.provider.name: status for status in provider_statuses()}
    if name == "auto":
        return [s.provider for s in statuses.values() if s.available and s.provider.auto]
    if name not in statuses:
        known = ["auto", *statuses]
        raise OptionError(f'unknown provider "{name}"; known: {", ".join(known)}.{did_you_mean(name, known)}')
    if not statuses[name].available:
        raise ProviderError(f'provider "{name}" is not available: {statuses[name].reason}')
    return [statuses[name].provider]


def _status(provider: Provider, installed: set[str]) -> ProviderStatus:
    if provider.ort_name in installed:
        if provider.name == "cpu" or _loads(provider):
            return ProviderStatus(provider, True, "the installed ONNX Runtime has it")
        reason = (
            "the installed ONNX Runtime has it, but cannot load it: a device, driver or library is missing"
        )
        return ProviderStatus(provider, False, reason)
    reason = f"the installed ONNX Runtime was built without {provider.ort_name}"
    if provider.package is not None:
        reason += f'; in an environment of its own: pip install "{provider.package}"'
    return ProviderStatus(provider, False, reason)


def _loads(provider: Provider) -> bool:
    """Whether a session of one node runs on the provider; ONNX Runtime falls back to the CPU where it does not."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if provider.name == "cuda":
        onnxruntime.preload_dlls()
    try:
        session = onnxruntime.InferenceSession(
            identity_model(), options, providers=[(provider.ort_name, provider.session_options(0))]
        )
    except ORT_ERRORS:
        return False
    return bool(session.get_providers()[0] == provider.ort_name)
