"""An ONNX Runtime session over an adapted graph, with its device.

Owns the making of the session: provider, options, threads. Knows nothing of slots, requests or tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from onnx import ModelProto

from genai.cache import Buffer, Device
from genai.errors import ModelFolderError, OptionError, ProviderError
from genai.folder import ModelFolder, StageConfig
from genai.runtime.adapt import (
    GraphFacts,
    adapt_model,
    join_stages,
    locate_weights,
    narrow_outputs,
    read_model,
)
from genai.runtime.addressed_device import AddressedDevice, free_device_bytes
from genai.runtime.devices import HostDevice, onnx_type
from genai.runtime.graph_interface import GraphInterface
from genai.runtime.ort import ORT_ERRORS, onnxruntime
from genai.runtime.providers import Provider, choose_provider
from genai.runtime.session_options import provider_options, session_options

__all__ = ["Binding", "DecoderSession", "first_that_works", "open_sessions"]

MAX_THREADS = 1024

_CAPTURE = "enable_cuda_graph"


class DecoderSession:
    """An ONNX Runtime session with its device and the description of its graph.

    Args:
        folder: The model folder.
        stages: The stages to run, where the decoder is split into several graphs.
        provider: Execution provider, or "auto".
        device_id: Which device of the provider.
        num_threads: Threads of one operator; None is the folder's choice, else ONNX Runtime's.
        max_context: Longest sequence that will run; None is the folder's own limit.
    """

    def __init__(
        self,
        folder: ModelFolder,
        stages: Sequence[StageConfig] = (),
        *,
        provider: str = "auto",
        device_id: int = 0,
        num_threads: int | None = None,
        max_context: int | None = None,
    ) -> None:
        if num_threads is not None and not 1 <= num_threads <= MAX_THREADS:
            raise OptionError(f"num_threads must be at least 1 and at most {MAX_THREADS}, not {num_threads}")
        options = session_options(folder.decoder, stages)
        if num_threads is not None:
            options.intra_op_num_threads = num_threads
        model, facts = _adapted_model(folder, stages, options, max_context)
        self.provider, self._session = first_that_works(
            choose_provider(provider), folder, model, options, device_id
        )
        self.device = _device(self.provider, device_id, self._session)
        self.graph = GraphInterface.of_session(self._session, folder.decoder, facts)
        self.captures = _captures(self._session, self.provider)
        self._num_captured = 0

    def bind(self, *, is_repeated: bool = False) -> Binding:
        """Return a new, empty binding of inputs and outputs to addresses.

        Args:
            is_repeated: Whether it will run again and again over the same memory, so that the device may record the run
                and replay it.
        """
        run_options = None
        if self.captures:
            self._num_captured += is_repeated
            run_options = onnxruntime.RunOptions()
            run_options.add_run_config_entry("gpu_graph_id", str(self._num_captured if is_repeated else -1))
        return Binding(self._session, self.device, run_options)


def open_sessions(
    folder: ModelFolder, *, provider: str, device_id: int, num_threads: int | None, max_context: int
) -> tuple[DecoderSession, DecoderSession]:
    """Return the session that runs generated tokens and the one that runs prompts: one and the same, mostly.

    Raises:
        ModelFolderError: They do not share one cache.
    """
    stages = folder.decoder.stages

    def open_session(chosen: Sequence[StageConfig], provider: str) -> DecoderSession:
        return DecoderSession(
            folder,
            chosen,
            provider=provider,
            device_id=device_id,
            num_threads=num_threads,
            max_context=max_context,
        )

    on_tokens = [stage for stage in stages if stage.run_on_token_gen]
    on_prompts = [stage for stage in stages if stage.run_on_prompt]
    tokens = open_session(on_tokens, provider)
    if on_prompts == on_tokens:
        return tokens, tokens
    prompts = open_session(on_prompts, tokens.provider.name)
    if prompts.graph.cache != tokens.graph.cache:
        raise ModelFolderError(
            f"{folder.path}: the stages that run on prompts and those that run on generated tokens have different "
            "caches; export the model again"
        )
    return tokens, prompts


class Binding:
    """Inputs and outputs of a session bound to addresses; `run` reads and writes there.

    Args:
        session: The session.
        device: Its device.
        run_options: How it runs: whether it is recorded and replayed, where the session records.
    """

    def __init__(self, session: Any, device: Device, run_options: Any = None) -> None:
        self._binding = session.io_binding()
        self._device = device
        self._session = session
        self._run_options = run_options

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
        self._session.run_with_iobinding(self._binding, self._run_options)

    def _bind(self, bind: Any, name: str, buffer: Buffer, shape: Sequence[int]) -> None:
        bind(name, self._device.name, self._device.index, onnx_type(buffer.dtype), shape, buffer.address)


def _adapted_model(
    folder: ModelFolder, stages: Sequence[StageConfig], options: Any, max_context: int | None
) -> tuple[bytes, GraphFacts]:
    """Return the adapted graph, serialized, and what was found; the options are told where its weights lie.

    The protobuf ends here: of a graph with its weights inside, ONNX Runtime makes copies enough of its own.
    """
    if stages:
        model = join_stages([(stage, read_model(folder.path / stage.filename)) for stage in stages])
    else:
        model = read_model(folder.model_path)
    facts = adapt_model(model, folder.decoder.names, max_context=max_context)
    weights = locate_weights(model, folder.path if stages else folder.model_path.parent)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights))
    return model.SerializeToString(), facts


def first_that_works(
    candidates: list[Provider], folder: ModelFolder, model: bytes, options: Any, device_id: int
) -> tuple[Provider, Any]:
    """Return the first provider that takes the model, with its session."""
    failures = []
    for provider in candidates:
        if device_id and not provider.takes_device_id:
            raise OptionError(f'device_id must be 0 for provider "{provider.name}", not {device_id}')
        if provider.name == "cuda":
            onnxruntime.preload_dlls()
        if (reason := _too_large(folder, provider, device_id)) is not None:
            failures.append(f"{provider.name}: {reason}")
            continue
        chosen = {**provider_options(folder.decoder, provider.name), **provider.session_options(device_id)}
        try:
            session = _open(provider, model, options, chosen)
        except ORT_ERRORS as error:
            failures.append(f"{provider.name}: {error}")
            continue
        if session.get_providers()[0] == provider.ort_name:
            # It would be kept for a fallback that runs through bindings never take.
            session._model_bytes = None
            return provider, session
        failures.append(f"{provider.name}: ONNX Runtime could not load it (driver or libraries are missing)")
    reasons = "; ".join(failures)
    if all(provider.name == "cpu" for provider in candidates):
        raise ModelFolderError(f"{folder.model_path} cannot be loaded: {reasons}{_precision_hint(folder)}")
    raise ProviderError(f"no provider could load {folder.model_path}: {reasons}")


def _too_large(folder: ModelFolder, provider: Provider, device_id: int) -> str | None:
    """Say why a model's weights do not fit a device; `None` if they do, or nobody can tell."""
    free = free_device_bytes(provider.device_name, device_id)
    if free is None:
        return None
    graph = folder.model_path
    needed = sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*"))
    if needed <= free:
        return None
    return (
        f"the weights take {needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free on "
        f"{provider.device_name}:{device_id}: choose a smaller precision, or end what else runs there"
    )


def _open(provider: Provider, model: bytes, options: Any, chosen: dict[str, str]) -> Any:
    """Return a session on a provider; one that records runs, if the provider can and the graph lets it."""
    if provider.device_name == "cpu":
        return onnxruntime.InferenceSession(model, options, providers=[(provider.ort_name, chosen)])
    narrowed = ModelProto.FromString(model)
    narrow_outputs(narrowed.graph)
    model = narrowed.SerializeToString()
    if provider.captures and _CAPTURE not in chosen:
        # Refused where a node runs on the CPU that does more than compute sizes, or branches: known only by trying.
        with contextlib.suppress(*ORT_ERRORS):
            recording = [(provider.ort_name, {**chosen, _CAPTURE: "1"})]
            return onnxruntime.InferenceSession(model, options, providers=recording)
    return onnxruntime.InferenceSession(model, options, providers=[(provider.ort_name, chosen)])


def _captures(session: Any, provider: Provider) -> bool:
    """Whether a session records runs and replays them."""
    return bool(session.get_provider_options().get(provider.ort_name, {}).get(_CAPTURE) == "1")


def _precision_hint(folder: ModelFolder) -> str:
    if folder.manifest is not None and folder.manifest.precision in ("bf16", "fp16"):
        return (
            f". The folder's precision is {folder.manifest.precision}, which the CPU has no kernels for: "
            "export with --precision int4, int8 or fp32"
        )
    return ""


def _device(provider: Provider, device_id: int, session: Any) -> Device:
    if provider.device_name == "cpu":
        return HostDevice()
    return AddressedDevice(provider.device_name, device_id, session)
