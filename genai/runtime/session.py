"""An ONNX Runtime session over an adapted graph, with its device.

Owns the making of the session: provider, options, threads. Knows nothing of slots, requests or tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnx import ModelProto

from genai.cache import Buffer, Device
from genai.errors import ModelFolderError, OptionError, ProviderError
from genai.folder import ModelFolder, StageConfig
from genai.runtime.adapt import GraphFacts, adapt_model, join_stages, locate_weights, read_model
from genai.runtime.devices import AcceleratorDevice, HostDevice, onnx_type
from genai.runtime.graph_interface import GraphInterface
from genai.runtime.placement import RECORD, Placement, name_nodes, read_placement
from genai.runtime.providers import Provider, choose_provider, open_session
from genai.runtime.providers.opening import OPEN_ERRORS
from genai.runtime.session_options import provider_options, session_options
from genai.runtime.value_device import ValueDevice

__all__ = ["WEIGHTS_FOLDER", "Binding", "DecoderSession", "first_that_works", "open_sessions"]

MAX_THREADS = 1024
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""The entry of session options that says where a serialized model's weights lie."""


class DecoderSession:
    """An ONNX Runtime session with its device and the description of its graph.

    Args:
        folder: The model folder.
        stages: The stages to run, where the decoder is split into several graphs.
        provider: Execution provider, or "auto".
        device_id: Which device of the provider.
        num_threads: Threads of one operator; None is the folder's choice, else ONNX Runtime's.
        max_context: Longest sequence that will run; None is the folder's own limit.
        provider_library: A plug-in library of execution providers to register first.
        records_placement: Whether `placement` is known where the CPU runs all, too.

    Raises:
        OptionError: An option is impossible.
        ProviderError: The provider is not available.
        ModelFolderError: The graph cannot be loaded.
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
        provider_library: str | Path | None = None,
        records_placement: bool = False,
    ) -> None:
        if num_threads is not None and not 1 <= num_threads <= MAX_THREADS:
            raise OptionError(f"num_threads must be at least 1 and at most {MAX_THREADS}, not {num_threads}")
        model, facts, weights = _adapted_model(folder, stages, max_context)
        candidates = choose_provider(provider, library=provider_library)
        is_recorded = records_placement or any(candidate.name != "cpu" for candidate in candidates)
        size_nodes = name_nodes(model) if is_recorded else frozenset()
        serialized = model.SerializeToString()
        del model  # of a graph with its weights inside, ONNX Runtime makes copies enough of its own

        def options() -> Any:
            made = session_options(folder.decoder, stages)
            made.add_session_config_entry(WEIGHTS_FOLDER, str(weights))
            made.add_session_config_entry(RECORD, str(int(is_recorded)))
            if num_threads is not None:
                made.intra_op_num_threads = num_threads
            return made

        self.provider, self._session = first_that_works(candidates, folder, serialized, options, device_id)
        self.placement = read_placement(self._session, size_nodes) if is_recorded else Placement()
        self.graph = GraphInterface.of_session(self._session, folder.decoder, facts)
        has_growing = any(port.grows for port in self.graph.cache)
        self.device = _device(self.provider, device_id, self._session, has_growing=has_growing)
        if isinstance(self.device, ValueDevice):
            self.graph = dataclasses.replace(self.graph, max_rows=1)
        self.step_device = HostDevice() if self.provider.copies_at_bind else self.device

    def bind(self) -> Binding:
        """Return a new, empty binding of inputs and outputs to addresses."""
        return Binding(self._session)


def open_sessions(
    folder: ModelFolder,
    *,
    provider: str,
    device_id: int,
    num_threads: int | None,
    max_context: int,
    provider_library: str | Path | None = None,
    records_placement: bool = False,
) -> tuple[DecoderSession, DecoderSession]:
    """Return the session that runs generated tokens and the one that runs prompts: one and the same, mostly.

    Raises:
        ModelFolderError: They do not share one cache.
    """
    stages = folder.decoder.stages

    def open_stages(chosen: Sequence[StageConfig], provider: str) -> DecoderSession:
        return DecoderSession(
            folder,
            chosen,
            provider=provider,
            device_id=device_id,
            num_threads=num_threads,
            max_context=max_context,
            provider_library=provider_library,
            records_placement=records_placement,
        )

    on_tokens = [stage for stage in stages if stage.run_on_token_gen]
    on_prompts = [stage for stage in stages if stage.run_on_prompt]
    tokens = open_stages(on_tokens, provider)
    if on_prompts == on_tokens:
        return tokens, tokens
    prompts = open_stages(on_prompts, tokens.provider.name)
    if prompts.graph.cache != tokens.graph.cache:
        raise ModelFolderError(
            f"{folder.path}: the stages that run on prompts and those that run on generated tokens have different "
            "caches; export the model again"
        )
    return tokens, prompts


class Binding:
    """Inputs and outputs of a session bound to addresses; `run` reads and writes there."""

    def __init__(self, session: Any) -> None:
        self._binding = session.io_binding()
        self._session = session
        self._is_on_host = True

    def input(self, name: str, buffer: Buffer, device: Device) -> None:
        """Read an input from a buffer on a device, at every run."""
        self._bind(self._binding.bind_input, name, buffer, device)

    def output(self, name: str, buffer: Buffer, device: Device) -> None:
        """Write an output to a buffer on a device, at every run."""
        self._bind(self._binding.bind_output, name, buffer, device)

    def host_input(self, name: str, array: npt.NDArray[Any]) -> None:
        """Read an input that lives on the host whatever the device, such as a shape operand."""
        self._binding.bind_input(name, "cpu", 0, onnx_type(array.dtype), array.shape, array.ctypes.data)

    def run(self) -> None:
        """Run the session; outputs are complete when it returns."""
        self._session.run_with_iobinding(self._binding)
        if not self._is_on_host:
            self._binding.synchronize_outputs()

    def _bind(self, bind: Any, name: str, buffer: Buffer, device: Device) -> None:
        self._is_on_host = self._is_on_host and device.name == "cpu"
        bind(name, device.name, device.index, onnx_type(buffer.dtype), buffer.shape, buffer.address)


def _adapted_model(
    folder: ModelFolder, stages: Sequence[StageConfig], max_context: int | None
) -> tuple[ModelProto, GraphFacts, Path]:
    """Return the adapted graph, what was found, and the folder of its weights."""
    if stages:
        model = join_stages([(stage, read_model(folder.path / stage.filename)) for stage in stages])
    else:
        model = read_model(folder.model_path)
    facts = adapt_model(model, folder.decoder.names, max_context=max_context)
    return model, facts, locate_weights(model, folder.path if stages else folder.model_path.parent)


def first_that_works(
    candidates: Sequence[Provider],
    folder: ModelFolder,
    model: bytes,
    make_options: Callable[[], Any],
    device_id: int,
) -> tuple[Provider, Any]:
    """Return the first provider that takes the model, with its session.

    Raises:
        OptionError: A provider has no such device.
        ProviderError: None takes it.
        ModelFolderError: The CPU alone was to take it.
    """
    failures = []
    for provider in candidates:
        try:
            session = open_session(
                model,
                provider,
                make_options(),
                device_id=device_id,
                provider_options=provider_options(folder.decoder, provider.name),
            )
        except OptionError:
            raise
        except OPEN_ERRORS as error:
            failures.append(f"{provider.name}: {error}")
            continue
        return provider, session
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


def _device(provider: Provider, device_id: int, session: Any, *, has_growing: bool) -> Device:
    """Return where the cache lives: a cache that grows is of views, which a device of whole values does not have."""
    if provider.memory == "addresses":
        return AcceleratorDevice(
            provider.device_name, device_id, provider.ort_name, provider.session_options(device_id)
        )
    if provider.memory == "values" and not has_growing:
        return ValueDevice(provider.device_name, session)
    return HostDevice()
