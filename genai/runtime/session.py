"""An ONNX Runtime session over an adapted graph, with its device.

Owns the making of the session: provider, options, threads. Knows nothing of slots, requests or tokens.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from genai.cache import Device
from genai.errors import ModelFolderError, OptionError
from genai.folder import ModelFolder, StageConfig
from genai.runtime.adapt import attend_plainly, give_hidden_states
from genai.runtime.adapted_graph import AdaptedGraph
from genai.runtime.adapters import AdapterSet
from genai.runtime.addressed_device import AddressedDevice
from genai.runtime.binding import AddressBinding, Binding, ValueBinding
from genai.runtime.devices import HostDevice
from genai.runtime.eight_bit_graph import compute_in_eight_bits, may_compute_in_eight_bits
from genai.runtime.eight_bit_head import EightBitHead
from genai.runtime.first_provider import first_that_works, records_runs
from genai.runtime.graph_interface import GraphInterface
from genai.runtime.placement import RECORD, Placement, name_nodes, read_placement
from genai.runtime.providers import Provider, choose_provider
from genai.runtime.recorded_runs import Recorder
from genai.runtime.session_options import WEIGHTS_FOLDER, YIELDS, session_options
from genai.runtime.value_device import ValueDevice

__all__ = ["DecoderSession", "SessionOptions", "open_hidden_states", "open_sessions"]

logger = logging.getLogger("genai.runtime")

MAX_THREADS = 1024


class SessionOptions(TypedDict, total=False):
    """Options that all sessions of a folder have in common; `DecoderSession` says what they are."""

    device_id: int
    num_threads: int | None
    max_context: int | None
    provider_library: str | Path | None
    records_placement: bool
    profile_folder: Path | None


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
        head: What makes logits of its hidden states, where it gives these in their place.

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
        head: EightBitHead | None = None,
    ) -> None:
        self.head = head
        is_number = isinstance(num_threads, int) and not isinstance(num_threads, bool)
        if num_threads is not None and not (is_number and 1 <= num_threads <= MAX_THREADS):
            raise OptionError(
                f"num_threads must be at least 1 and at most {MAX_THREADS}, not {num_threads!r}"
            )
        adapted = adapted or AdaptedGraph.of_folder(folder, stages, max_context)
        candidates = choose_provider(provider, library=provider_library)
        is_recorded = records_placement or any(candidate.name != "cpu" for candidate in candidates)
        size_nodes = name_nodes(adapted.model) if is_recorded else frozenset()
        serialized = adapted.model.SerializeToString()
        self.facts, weights = adapted.facts, adapted.weights
        del adapted  # of a graph with its weights inside, ONNX Runtime makes copies enough of its own

        def options() -> Any:
            made = session_options(folder.decoder, stages)
            made.add_session_config_entry(WEIGHTS_FOLDER, str(weights))
            made.add_session_config_entry(RECORD, str(int(is_recorded)))
            if self.facts.in_eight_bits:
                made.add_session_config_entry(YIELDS, "1")
            if num_threads is not None:
                made.intra_op_num_threads = num_threads
            if profile_folder is not None:
                made.enable_profiling = True
                made.profile_file_prefix = str(Path(tempfile.mkdtemp(dir=profile_folder)) / "profile")
            return made

        self.provider, self._session = first_that_works(candidates, folder, serialized, options, device_id)
        self.placement = read_placement(self._session, size_nodes) if is_recorded else Placement()
        self.graph = GraphInterface.of_session(self._session, folder.decoder, self.facts)
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
    optimize_for: str,
    decodes_batches: bool = False,
    adapters: AdapterSet | None = None,
    **options: Unpack[SessionOptions],
) -> tuple[DecoderSession, DecoderSession]:
    """Return the session that runs generated tokens and the one that runs prompts, which may be the same.

    Args:
        folder: The model folder.
        provider: Execution provider, or "auto".
        optimize_for: One of `genai.config.OPTIMIZE_FOR`.
        decodes_batches: Whether a second one that computes in 8 bits is to decode, too.
        adapters: Adapters that both have places for.
        **options: Those of `DecoderSession`.

    Raises:
        ModelFolderError: They do not share one cache, or have other products than the adapters.
    """
    stages = folder.decoder.stages
    if stages and adapters is not None:
        raise ModelFolderError(
            f"{folder.path}: a decoder in several stages has no places for adapters; export the model again"
        )
    on_tokens = [stage for stage in stages if stage.run_on_token_gen]
    on_prompts = [stage for stage in stages if stage.run_on_prompt]
    if on_prompts == on_tokens:
        return _sessions_of_one_graph(
            folder, on_tokens, provider, optimize_for, decodes_batches, adapters, options
        )
    tokens = DecoderSession(folder, on_tokens, provider=provider, **options)
    prompts = DecoderSession(folder, on_prompts, provider=tokens.provider.name, **options)
    if prompts.graph.cache != tokens.graph.cache:
        raise ModelFolderError(
            f"{folder.path}: the stages that run on prompts and those that run on generated tokens have different "
            "caches; export the model again"
        )
    return tokens, prompts


def open_hidden_states(
    folder: ModelFolder, *, provider: str, **options: Unpack[SessionOptions]
) -> DecoderSession:
    """Return a session that gives the last layer's hidden states where others give logits.

    Raises:
        OptionError: The graph is in several stages, or its head cannot be told from the rest.
    """
    adapted = None
    if not folder.decoder.stages:
        adapted = AdaptedGraph.of_folder(folder, (), options.get("max_context"))
    hidden_size = folder.decoder.hidden_size
    if adapted is None or not give_hidden_states(adapted.model.graph, hidden_size=hidden_size):
        raise OptionError(
            f"{folder.path}: this graph does not tell where its hidden states are, so it embeds no texts; an export by "
            "genai does"
        )
    return DecoderSession(folder, provider=provider, adapted=adapted, **options)


def _sessions_of_one_graph(
    folder: ModelFolder,
    stages: Sequence[StageConfig],
    provider: str,
    optimize_for: str,
    decodes_batches: bool,
    adapters: AdapterSet | None,
    options: SessionOptions,
) -> tuple[DecoderSession, DecoderSession]:
    """Return one session for everything, or two, of which each has what is faster on a CPU for its work."""
    first = choose_provider(provider, library=options.get("provider_library"))[0]
    if first.name != "cpu":
        whole = DecoderSession(
            folder,
            stages,
            provider=provider,
            adapted=None if adapters is None else _adapted(folder, stages, adapters, options),
            **options,
        )
        if whole.provider.name != "cpu" or not may_compute_in_eight_bits(whole.facts, optimize_for):
            return whole, whole
        del whole
    adapted = _adapted(folder, stages, adapters, options)
    if may_compute_in_eight_bits(adapted.facts, optimize_for):
        both = _tokens_and_prompts(folder, stages, optimize_for, decodes_batches, adapters, options)
        if both is not None:
            return both
        adapted = _adapted(folder, stages, adapters, options)
    whole = DecoderSession(folder, stages, provider="cpu", adapted=adapted, **options)
    return whole, whole


def _tokens_and_prompts(
    folder: ModelFolder,
    stages: Sequence[StageConfig],
    optimize_for: str,
    decodes_batches: bool,
    adapters: AdapterSet | None,
    options: SessionOptions,
) -> tuple[DecoderSession, DecoderSession] | None:
    """Return a session for tokens and one that computes prompts, and batches, in 8 bits; `None` if one is to do all.

    The first has the largest matrices, the head's, which are mapped beside their packed copies while it is made; so it
    comes before the other one's weights are in memory.
    """
    tokens, prompts = (_adapted(folder, stages, adapters, options, attends_plainly=True) for _ in range(2))
    head = None
    if decodes_batches and prompts.facts.can_keep_none:
        num_threads = options.get("num_threads")
        head = EightBitHead.of_graph(
            prompts.model, prompts.weights, decoder=folder.decoder, num_threads=num_threads
        )
    hidden_size = folder.decoder.hidden_size if head is not None else None
    try:
        with compute_in_eight_bits(prompts, optimize_for, hidden_size=hidden_size) as reading:
            if reading is None:
                return None
            return (
                DecoderSession(folder, stages, provider="cpu", adapted=tokens, **options),
                DecoderSession(folder, stages, provider="cpu", adapted=reading, head=head, **options),
            )
    except OptionError:
        raise
    except (OSError, ValueError, MemoryError, ModelFolderError) as error:
        logger.warning(
            "%s: one graph reads prompts and decodes, since two cannot be had: %s", folder.path, error
        )
        return None


def _adapted(
    folder: ModelFolder,
    stages: Sequence[StageConfig],
    adapters: AdapterSet | None,
    options: SessionOptions,
    *,
    attends_plainly: bool = False,
) -> AdaptedGraph:
    """Return a folder's graph with places for adapters, if there are any, and perhaps the plain kernel of attention."""
    adapted = AdaptedGraph.of_folder(folder, stages, options.get("max_context"))
    factors = None
    if attends_plainly:
        num_threads = options.get("num_threads") or os.cpu_count() or 1
        factors = attend_plainly(adapted.model, adapted.weights, num_threads=num_threads)
    if adapters is not None:
        adapters.add_to(adapted.model, folder, factors)
    return adapted


def _device(provider: Provider, device_id: int, session: Any, *, has_growing: bool) -> Device:
    """Return where the cache lives: a cache that grows is of views, which a device of whole values does not have."""
    if provider.memory == "addresses":
        return AddressedDevice(provider.device_name, device_id, session)
    if provider.memory == "values" and not has_growing:
        return ValueDevice(provider.device_name, session)
    return HostDevice()
