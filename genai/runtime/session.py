"""An ONNX Runtime session over an adapted graph, and the description of what that graph wants to be fed.

Owns the making of the session: provider, options, threads. Knows nothing of slots, requests or tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from genai.cache import Buffer, Device
from genai.errors import ModelFolderError, OptionError, ProviderError
from genai.folder import DecoderConfig, ModelFolder
from genai.runtime.adapt import adapt_model, read_model
from genai.runtime.devices import AcceleratorDevice, HostDevice, onnx_type
from genai.runtime.ort import ORT_ERRORS, onnxruntime
from genai.runtime.providers import Provider, choose_provider

__all__ = ["Binding", "DecoderSession", "Feed", "GraphInterface", "LayerNames"]

DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(bfloat16)": np.dtype(ml_dtypes.bfloat16),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint8)": np.dtype(np.uint8),
}

MAX_THREADS = 1024

FEEDS = frozenset({"input_ids", "position_ids", "seqlens_k", "total_sequence_length", "num_logits_to_keep"})
"""Inputs other than the cache that the runtime knows how to feed."""


@dataclass(frozen=True, slots=True)
class LayerNames:
    """The names of one layer's cache among the graph's inputs and outputs, and its shape."""

    past_key: str
    past_value: str
    present_key: str
    present_value: str
    num_kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class Feed:
    """Element type and number of axes of an input."""

    dtype: np.dtype[Any]
    rank: int


@dataclass(frozen=True, slots=True)
class GraphInterface:
    """What a graph wants to be fed and gives back, read off its session.

    Args:
        feeds: The inputs other than the cache.
        layers: The cache's inputs and outputs.
        cache_dtype: Element type of keys and values.
        logits_dtype: Element type of the logits.
        vocab_size: Number of logits per position.
    """

    feeds: dict[str, Feed]
    layers: tuple[LayerNames, ...]
    cache_dtype: np.dtype[Any]
    logits_dtype: np.dtype[Any]
    vocab_size: int

    @property
    def keeps_logits(self) -> bool:
        """Whether the caller chooses how many positions reach the language-model head."""
        return "num_logits_to_keep" in self.feeds

    @classmethod
    def of_session(cls, session: Any, decoder: DecoderConfig) -> GraphInterface:
        """Read a session's inputs and outputs; the folder's configuration says what they leave open.

        Raises:
            ModelFolderError: The graph has an input that nothing here can feed, or no cache to share.
        """
        inputs = {value.name: value for value in session.get_inputs()}
        outputs = {value.name: value for value in session.get_outputs()}
        layers = tuple(_layers(inputs, outputs, decoder))
        cache_names = {name for layer in layers for name in (layer.past_key, layer.past_value)}
        unknown = sorted(inputs.keys() - FEEDS - cache_names)
        missing = {"seqlens_k", "total_sequence_length"} - inputs.keys()
        if unknown or missing or not layers or "logits" not in outputs:
            raise ModelFolderError(
                "the graph is not a decoder with a shared KV cache (GroupQueryAttention): "
                f"inputs not understood: {', '.join(unknown) or 'none'}; outputs: {', '.join(sorted(outputs)[:3])}, "
                "...; export the checkpoint with `genai export`"
            )
        vocab_size = outputs["logits"].shape[-1]
        return cls(
            feeds={
                name: Feed(_dtype(value), len(value.shape))
                for name, value in inputs.items()
                if name not in cache_names
            },
            layers=layers,
            cache_dtype=_dtype(inputs[layers[0].past_key]),
            logits_dtype=_dtype(outputs["logits"]),
            vocab_size=vocab_size if isinstance(vocab_size, int) else decoder.vocab_size,
        )


class DecoderSession:
    """An ONNX Runtime session with its device and the description of its graph."""

    def __init__(
        self,
        folder: ModelFolder,
        *,
        provider: str = "auto",
        device_id: int = 0,
        num_threads: int | None = None,
    ) -> None:
        if num_threads is not None and not 1 <= num_threads <= MAX_THREADS:
            raise OptionError(f"num_threads must be at least 1 and at most {MAX_THREADS}, not {num_threads}")
        model = adapt_model(read_model(folder.model_path)).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails is raised, and reported once
        if num_threads is not None:
            options.intra_op_num_threads = num_threads
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder.path.resolve())
        )
        self.provider, self._session = _first_that_works(
            choose_provider(provider), folder, model, options, device_id
        )
        self.device = _device(self.provider, device_id)
        self.graph = GraphInterface.of_session(self._session, folder.decoder)

    def bind(self) -> Binding:
        """Return a new, empty binding of inputs and outputs to addresses."""
        return Binding(self._session, self.device)


class Binding:
    """Inputs and outputs of a session bound to addresses; `run` reads and writes there."""

    def __init__(self, session: Any, device: Device) -> None:
        self._binding = session.io_binding()
        self._device = device
        self._session = session

    def input(self, name: str, buffer: Buffer) -> None:
        """Read an input from a buffer on the session's device, at every run."""
        self._bind(self._binding.bind_input, name, buffer, buffer.shape)

    def output(self, name: str, buffer: Buffer) -> None:
        """Write an output to a buffer on the session's device, at every run."""
        self._bind(self._binding.bind_output, name, buffer, buffer.shape)

    def host_input(self, name: str, array: npt.NDArray[Any]) -> None:
        """Read an input that lives on the host whatever the device, such as a shape operand."""
        self._binding.bind_input(name, "cpu", 0, onnx_type(array.dtype), array.shape, array.ctypes.data)

    def run(self) -> None:
        """Run the session; outputs are complete when it returns."""
        self._session.run_with_iobinding(self._binding)
        if self._device.name != "cpu":
            self._binding.synchronize_outputs()

    def _bind(self, bind: Any, name: str, buffer: Buffer, shape: Sequence[int]) -> None:
        bind(name, self._device.name, self._device.index, onnx_type(buffer.dtype), shape, buffer.address)


def _layers(inputs: dict[str, Any], outputs: dict[str, Any], decoder: DecoderConfig) -> list[LayerNames]:
    layers = []
    numbered = (n for n in inputs if n.endswith(".key") and _natural_order(n))
    for name in sorted(numbered, key=_natural_order):
        if len(inputs[name].shape) != 4:
            continue
        past_value = f"{name.removesuffix('.key')}.value"
        present = f"present.{_natural_order(name)[0]}"
        _, heads, _, dim = inputs[name].shape
        names = LayerNames(
            name,
            past_value,
            f"{present}.key",
            f"{present}.value",
            heads if isinstance(heads, int) else decoder.num_kv_heads,
            dim if isinstance(dim, int) else decoder.head_dim,
        )
        if past_value in inputs and names.present_key in outputs and names.present_value in outputs:
            layers.append(names)
    return layers


def _dtype(value: Any) -> np.dtype[Any]:
    if value.type not in DTYPES:
        raise ModelFolderError(
            f"the graph's {value.name} is a {value.type}, which genai cannot feed or read; "
            "export the checkpoint with `genai export`"
        )
    return DTYPES[value.type]


def _natural_order(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _first_that_works(
    candidates: list[Provider], folder: ModelFolder, model: bytes, options: Any, device_id: int
) -> tuple[Provider, Any]:
    """Return the first provider that takes the model, with its session."""
    failures = []
    for provider in candidates:
        if device_id and not provider.takes_device_id:
            raise OptionError(f'device_id must be 0 for provider "{provider.name}", not {device_id}')
        if provider.name == "cuda":
            onnxruntime.preload_dlls()
        providers = [(provider.ort_name, provider.session_options(device_id))]
        try:
            session = onnxruntime.InferenceSession(model, options, providers=providers)
        except ORT_ERRORS as error:
            failures.append(f"{provider.name}: {error}")
            continue
        if session.get_providers()[0] == provider.ort_name:
            return provider, session
        failures.append(f"{provider.name}: ONNX Runtime could not load it (driver or libraries are missing)")
    reasons = "; ".join(failures)
    if all(provider.name == "cpu" for provider in candidates):
        raise ModelFolderError(f"{folder.model_path} cannot be loaded: {reasons}{_precision_hint(folder)}")
    raise ProviderError(f"no provider could load {folder.model_path}: {reasons}")


def _precision_hint(folder: ModelFolder) -> str:
    if folder.manifest is not None and folder.manifest.precision in ("bf16", "fp16"):
        return (
            f". The folder's precision is {folder.manifest.precision}, which the CPU has no kernels for: "
            "export with --precision int4, int8 or fp32"
        )
    return ""


def _device(provider: Provider, device_id: int) -> Device:
    if provider.device_name == "cpu":
        return HostDevice()
    return AcceleratorDevice(
        provider.device_name, device_id, provider.ort_name, provider.session_options(device_id)
    )
