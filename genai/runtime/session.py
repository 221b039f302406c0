"""An ONNX Runtime session over an adapted graph, with its device.

Owns the making of the session: provider, options, threads. Knows nothing of slots, requests or tokens.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto

from genai.cache import Device
from genai.errors import ModelFolderError, OptionError
from genai.folder import ModelFolder, StageConfig
from genai.runtime.adapt import (
    GraphFacts,
    adapt_model,
    join_stages,
    locate_weights,
    read_model,
)
from genai.runtime.addressed_device import AddressedDevice
from genai.runtime.binding import AddressBinding, Binding, ValueBinding
from genai.runtime.devices import HostDevice
from genai.runtime.eight_bit_prompts import read_prompts_in_eight_bits
from genai.runtime.first_provider import first_that_works, records_runs
from genai.runtime.graph_interface import GraphInterface
from genai.runtime.placement import RECORD, Placement, name_nodes, read_placement
from genai.runtime.providers import Provider, choose_provider
from genai.runtime.recorded_runs import Recorder
from genai.runtime.session_options import session_options
from genai.runtime.value_device import ValueDevice

__all__ = ["WEIGHTS_FOLDER", "AdaptedGraph", "DecoderSession", "open_sessions"]

logger = logging.getLogger("genai.runtime")

MAX_THREADS = 1024
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""The entry of session options that says where a serialized model's weights lie."""
YIELDS = "session.force_spinning_stop"
"""The entry by which a session's threads sleep when a run has ended, instead of waiting for the next one awake."""


@dataclass(frozen=True, slots=True)
class AdaptedGraph:
    """A graph as it is run.

    Args:
        model: The graph.
        facts: What was found.
        weights: The folder that the names of its weights count from.
        reads_prompts: Whether a second session reads prompts alone, beside the one that everything else runs on.
    """

    model: ModelProto
    facts: GraphFacts
    weights: Path
    reads_prompts: bool = False


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
        profile_folder: Where ONNX Runtime writes what its runs spend their time on; None profiles nothing.
        adapted: The graph, where it is not the folder's as it is adapted for everything.

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
        profile_folder: Path | None = None,
        adapted: AdaptedGraph | None = None,
    ) -> None:
        is_number = isinstance(num_threads, int) and not isinstance(num_threads, bool)
        if num_threads is not None and not (is_number and 1 <= num_threads <= MAX_THREADS):
            raise OptionError(
                f"num_threads must be at least 1 and at most {MAX_THREADS}, not {num_threads!r}"
            )
        adapted = adapted or _adapt_folder(folder, stages, max_context)
        candidates = choose_provider(provider, library=provider_library)
        is_recorded = records_placement or any(candidate.name != "cpu" for candidate in candidates)
        size_nodes = name_nodes(adapted.model) if is_recorded else frozenset()
        serialized = adapted.model.SerializeToString()
        facts, weights, reads_prompts = adapted.facts, adapted.weights, adapted.reads_prompts
        del adapted  # of a graph with its weights inside, ONNX Runtime makes copies enough of its own

        def options() -> Any:
            made = session_options(folder.decoder, stages)
            made.add_session_config_entry(WEIGHTS_FOLDER, str(weights))
            made.add_session_config_entry(RECORD, str(int(is_recorded)))
            if reads_prompts:
                made.add_session_config_entry(YIELDS, "1")
            if num_threads is not None:
                made.intra_op_num_threads = num_threads
            if profile_folder is not None:
                made.enable_profiling = True
                made.profile_file_prefix = str(Path(tempfile.mkdtemp(dir=profile_folder)) / "profile")
            return made

        self.provider, self._session = first_that_works(candidates, folder, serialized, options, device_id)
        self.placement = read_placement(self._session, size_nodes) if is_recorded else Placement()
        self.graph = GraphInterface.of_session(self._session, folder.decoder, facts)
        has_growing = any(port.grows for port in self.graph.cache)
        self.device = _device(self.provider, device_id, self._session, has_growing=has_growing)
        if isinstance(self.device, ValueDevice):
            self.graph = dataclasses.replace(self.graph, max_rows=1)
        self.step_device = HostDevice() if self.provider.copies_at_bind else self.device
        self._recorder = None
        if records_runs(self._session, self.provider):
            launched = self.device.launched if isinstance(self.device, AddressedDevice) else None
            self._recorder = Recorder(self._session, launched)

    def bind(self, *, is_repeated: bool = False) -> Binding:
        """Return a new, empty binding of inputs and outputs to memory.

        Args:
            is_repeated: Whether it will run again and again over the same memory, so that the device may record the run
                and replay it.
        """
        if is_repeated and self._recorder is not None and isinstance(self.device, ValueDevice):
            return ValueBinding(self._session, self._recorder, self.device)
        return AddressBinding(self._session, self._recorder, is_repeated=is_repeated)

    def end_profiling(self) -> Path:
        """Stop profiling and return the file that was written, in Chrome's trace format."""
        return Path(self._session.end_profiling())

    def finish(self) -> None:
        """Wait for runs that were launched.

        Raises:
            GenerationError: One of them failed.
        """
        if isinstance(self.device, AddressedDevice):
            self.device.finish()

    @property
    def captures(self) -> bool:
        """Whether runs over the same memory are recorded and replayed; those over values have them in the graph's shapes."""
        has_shapes = isinstance(self.device, AddressedDevice) or all(
            port.is_plain for port in self.graph.cache
        )
        return self._recorder is not None and has_shapes

    @property
    def freezes_scalars(self) -> bool:
        """Whether a replay has the scalars that it reads on the host as they were when it was recorded."""
        return self.captures and isinstance(self.device, AddressedDevice)


def open_sessions(
    folder: ModelFolder,
    *,
    provider: str,
    max_context: int,
    optimize_for: str,
    device_id: int = 0,
    num_threads: int | None = None,
    provider_library: str | Path | None = None,
    records_placement: bool = False,
    profile_folder: Path | None = None,
) -> tuple[DecoderSession, DecoderSession]:
    """Return the session that runs generated tokens and the one that runs prompts, which may be the same.

    Raises:
        ModelFolderError: They do not share one cache.
    """

    def open_stages(
        chosen: Sequence[StageConfig], provider: str, adapted: AdaptedGraph | None = None
    ) -> DecoderSession:
        return DecoderSession(
            folder,
            chosen,
            provider=provider,
            device_id=device_id,
            num_threads=num_threads,
            max_context=max_context,
            provider_library=provider_library,
            records_placement=records_placement,
            profile_folder=profile_folder,
            adapted=adapted,
        )

    stages = folder.decoder.stages
    on_tokens = [stage for stage in stages if stage.run_on_token_gen]
    on_prompts = [stage for stage in stages if stage.run_on_prompt]
    tokens = open_stages(on_tokens, provider)
    if on_prompts != on_tokens:
        prompts = open_stages(on_prompts, tokens.provider.name)
        if prompts.graph.cache != tokens.graph.cache:
            raise ModelFolderError(
                f"{folder.path}: the stages that run on prompts and those that run on generated tokens have different "
                "caches; export the model again"
            )
        return tokens, prompts
    if optimize_for == "memory" or tokens.provider.name != "cpu":
        return tokens, tokens
    try:
        with tempfile.TemporaryDirectory(prefix="genai-", ignore_cleanup_errors=True) as made:
            adapted = _adapt_folder(folder, on_tokens, max_context)
            weights = read_prompts_in_eight_bits(
                adapted.model, adapted.weights, made=Path(made), optimize_for=optimize_for
            )
            if weights is None:
                return tokens, tokens
            facts = dataclasses.replace(adapted.facts, gives_logits=False)
            reading = AdaptedGraph(adapted.model, facts, weights, reads_prompts=True)
            prompts = open_stages(on_tokens, tokens.provider.name, reading)
    except (OSError, ValueError, MemoryError, ModelFolderError) as error:
        logger.warning(
            "%s: one graph reads prompts and decodes, since two cannot be had: %s", folder.path, error
        )
        return tokens, tokens
    return tokens, prompts if prompts.graph.cache == tokens.graph.cache else tokens


def _adapt_folder(
    folder: ModelFolder, stages: Sequence[StageConfig], max_context: int | None
) -> AdaptedGraph:
    """Return a folder's graph, adapted for everything."""
    if stages:
        model = join_stages([(stage, read_model(folder.path / stage.filename)) for stage in stages])
    else:
        model = read_model(folder.model_path)
    facts = adapt_model(model, folder.decoder.names, max_context=max_context)
    weights = locate_weights(model, folder.path if stages else folder.model_path.parent)
    return AdaptedGraph(model, facts, weights)


def _device(provider: Provider, device_id: int, session: Any, *, has_growing: bool) -> Device:
    """Return where the cache lives: a cache that grows is of views, which a device of whole values does not have."""
    if provider.memory == "addresses":
        return AddressedDevice(provider.device_name, device_id, session)
    if provider.memory == "values" and not has_growing:
        return ValueDevice(provider.device_name, session)
    return HostDevice()
