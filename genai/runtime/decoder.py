"""A loaded decoder: its session, its KV cache, and the few buffers that a step changes.

`run` takes a batch of spans and cuts it into runs of the graph: new prompts together, rows of one token together,
everything else one by one (`genai.runtime.runs`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genai.cache import CacheShape, KVCache, Rotation, Slot
from genai.errors import OptionError, OutOfMemoryError
from genai.folder import ModelFolder
from genai.graph.names import ROPE_SWITCH_LENGTH, USE_CACHE_BRANCH
from genai.model import Span, StepOutput
from genai.runtime.adapters import AdapterInputs, AdapterSet, AdapterWeights
from genai.runtime.batch_decoding import LEAST_ROWS, BatchDecoding
from genai.runtime.binding import run
from genai.runtime.cache_runs import CacheRuns
from genai.runtime.decoding import PROMPTS, Decoding
from genai.runtime.placement import report_placement
from genai.runtime.rotations import read_rotations
from genai.runtime.runs import prompt_runs, scoring_runs
from genai.runtime.session import DecoderSession, SessionOptions, open_hidden_states, open_sessions
from genai.runtime.step_buffers import StepBuffers
from genai.runtime.stoppable_runs import GivenUpError, StoppableRuns
from genai.runtime.verification import Verification

__all__ = ["Decoder"]

DEFAULT_MAX_BATCH = 16
CACHE_SHARE = 0.9
"""Of the memory that the weights leave free on a device; the rest is for what prompts compute."""
HOST_CHUNK, DEVICE_CHUNK = 256, 512
"""Tokens of prompts that run at a time: attention on the CPU computes what the causal mask hides within a run."""
MAX_SCORE_BYTES = 128 << 20
"""Of a layer's attention scores while a prompt runs where the plain kernel computes them: behind a long past, fewer tokens run
at a time, if not so few that products lose their speed."""
LEAST_CHUNK = 64
SCORE_CHUNK = 64
"""Positions whose logits are computed in one run."""


class Decoder:
    """A model folder, loaded.

    Args:
        folder: The model folder.
        provider: Execution provider, or "auto".
        device_id: Which device of the provider.
        max_context: Most tokens per sequence; None is the model's context length.
        max_batch: Most sequences at a time.
        kv_cache_bytes: Most bytes of KV cache; None is no limit but the context on the host, and nine tenths of what the
            weights leave free on an accelerator that tells.
        num_threads: Threads of one operator; None is ONNX Runtime's choice (all cores).
        provider_library: A plug-in library of execution providers to register, one of which `provider` names.
        strict: Whether it is an error that the provider leaves nodes to the CPU, instead of a warning in the log.
        optimize_for: One of `genai.config.OPTIMIZE_FOR`: "speed" reads prompts, and decodes large batches, by a second
            graph in 8 bits, where the CPU runs the model and can do it exactly, which takes a byte for every weight more;
            "memory" does not, and "auto" does where enough memory is free.
        gives_hidden_states: Whether `run` gives the last layer's hidden states, float32 [positions, hidden_size], in the
            place of logits; one graph does all then.
        profile_folder: Where ONNX Runtime writes what its runs spend their time on; None profiles nothing.

    Raises:
        OptionError: A limit is impossible.
        ProviderError: The provider is not available, or leaves nodes to the CPU though strict.
        ModelFolderError: The graph cannot be loaded or is not a decoder.
    """

    def __init__(
        self,
        folder: ModelFolder,
        *,
        provider: str = "auto",
        device_id: int = 0,
        max_context: int | None = None,
        max_batch: int | None = None,
        kv_cache_bytes: int | None = None,
        num_threads: int | None = None,
        provider_library: str | Path | None = None,
        strict: bool = False,
        optimize_for: str = "auto",
        gives_hidden_states: bool = False,
        profile_folder: Path | None = None,
    ) -> None:
        self._folder = folder
        self._rotations: Sequence[Rotation | None] | None = None
        self.context_length = _limit("max_context", max_context, folder.decoder.context_length)
        _check_bytes(kv_cache_bytes)
        self.max_batch = DEFAULT_MAX_BATCH if max_batch is None else _limit("max_batch", max_batch, None)
        adapters = None if gives_hidden_states else AdapterSet.of_folder(folder)
        self.adapters: Collection[str] = adapters.names if adapters else ()
        options = SessionOptions(
            device_id=device_id,
            num_threads=num_threads,
            max_context=self.context_length,
            provider_library=provider_library,
            profile_folder=profile_folder,
        )
        if gives_hidden_states:
            self._session = self._prompts = open_hidden_states(folder, provider=provider, **options)
        else:
            self._session, self._prompts = open_sessions(
                folder,
                provider=provider,
                optimize_for=optimize_for,
                decodes_batches=self.max_batch >= LEAST_ROWS,
                adapters=adapters,
                **options,
            )
        self._scores = self._session if self._prompts.facts.in_eight_bits else self._prompts
        for session in dict.fromkeys((self._session, self._prompts)):
            report_placement(session.placement, session.provider, folder, strict=strict)
        self.cache = self._make_cache(kv_cache_bytes)
        graph = self._session.graph
        self._width = graph.vocab_size  # of an output's row
        self.vocab_size = folder.decoder.vocab_size if gives_hidden_states else graph.vocab_size
        self.provider = self._session.provider.name
        self.prompt_chunk = HOST_CHUNK if self.provider == "cpu" else DEVICE_CHUNK
        attributes = folder.manifest.attributes if folder.manifest else {}
        self.rope_switch_length: int | None = attributes.get(ROPE_SWITCH_LENGTH, graph.rope_switch_length)
        # Where both tables lie in one, the second begins at the switch; where the graph chooses, it is told which.
        second_table = 0 if graph.rope_switch_length else self.rope_switch_length or 0
        step_adapters, self._chunk_adapters = self._make_adapter_inputs(adapters)
        self._runs = CacheRuns(self._session, self.cache, second_table=second_table)
        self._decoding = self._make_decoding(step_adapters)
        self._chunks: dict[DecoderSession, StepBuffers] = {}
        self._stoppable = StoppableRuns()
        self._restarts_prompts = (
            USE_CACHE_BRANCH in graph.feeds or not self._session.provider.continues_prompts
        )
        scores = self._scores.graph
        self._scores_one_by_one = (
            scores.last_logits_only or scores.max_positions == 1 or self._restarts_prompts
        )
        binds_once = scores.is_stable and not self._scores.provider.copies_at_bind and adapters is None
        can_verify = binds_once and not self._scores_one_by_one
        self._verification = Verification(self._scores, self.cache, self._runs) if can_verify else None

    @property
    def free_cache_bytes(self) -> int | None:
        """How much memory of the device is free for caches; None where nobody can tell, or it is the host's."""
        free = self._session.device.free_bytes()
        return None if free is None else int(CACHE_SHARE * free)

    @property
    def rounds_activations(self) -> bool:
        """Whether products round activations to 8 bits: what rounds a little otherwise may then part texts."""
        return self._session.facts.rounds_activations

    @property
    def can_pad(self) -> bool:
        """Whether new prompts of different lengths may run together; a state would take in the padding."""
        return self.cache.can_truncate

    @property
    def num_untried_rows(self) -> int:
        """Rows of the largest step before which it would be tried how to compute such steps; 0 if none would."""
        return self._decoding.num_untried_rows if isinstance(self._decoding, BatchDecoding) else 0

    def rotations(self) -> Sequence[Rotation | None]:
        """Return how positions have turned each of the cache's tensors; the graph is read again when first asked."""
        if self._rotations is None:
            if self.position_table_for(self.context_length):
                raise OptionError(
                    'context_policy="shift" is not possible with this model: its positions turn keys otherwise in long '
                    "sequences (LongRoPE)"
                )
            ports = self._session.graph.cache
            self._rotations = read_rotations(self._folder, ports, max_context=self.context_length)
        return self._rotations

    def position_table_for(self, length: int) -> int:
        """Return which of the model's position tables a sequence of this length uses."""
        return int(self.rope_switch_length is not None and length > self.rope_switch_length)

    def end_profiling(self) -> list[Path]:
        """Stop profiling; return a trace of what ran prompts and one of what ran generated tokens, or one of both."""
        return [session.end_profiling() for session in dict.fromkeys((self._prompts, self._session))]

    def run(self, batch: Sequence[Span]) -> StepOutput:
        """Append every span's tokens to its slot and return the logits that are wanted, until the next run."""
        try:
            return self._run(batch)
        finally:
            self._stoppable.reset()

    def give_up(self, slots: Collection[Slot]) -> None:
        """End the run that computes chunks of these slots' prompts alone, and begin no other; any thread may ask."""
        self._stoppable.give_up(slots)

    def _run(self, batch: Sequence[Span]) -> StepOutput:
        steps: list[Span] = []
        others: list[Span] = []
        for span in batch:
            (steps if span.is_step else others).append(span)
        if not others:
            return self._decoding.step(steps, is_alone=True)
        if len(batch) == 1 and others[0].num_logits:
            return StepOutput.of(self._logits_of(others)[0], [0])
        return self._run_mixed(batch, steps, others)

    def _make_cache(self, max_bytes: int | None) -> KVCache:
        """Return the cache of a session that has its weights; without a limit, of what these leave free."""
        shape = CacheShape(
            tensors=tuple(port.tensor for port in self._session.graph.cache),
            max_capacity=self.context_length,
            max_slots=self.max_batch,
        )
        cache = KVCache(shape, self._session.device)
        limit = self.free_cache_bytes if max_bytes is None else max_bytes
        if limit is not None:
            cache.limit(limit)
        return cache

    def _make_decoding(self, adapters: AdapterInputs | None) -> Decoding | BatchDecoding:
        """Return what runs steps of one token: by one session, or by both where the second one can."""

        def decoding(session: DecoderSession) -> Decoding:
            return Decoding(session, self.cache, self._runs, max_batch=self.max_batch, adapters=adapters)

        few, head = decoding(self._session), self._prompts.head
        if head is None or not few.takes_any_rows:
            return few
        return BatchDecoding(few, decoding(self._prompts), head, max_rows=self.max_batch)

    def _make_adapter_inputs(
        self, adapters: AdapterSet | None
    ) -> tuple[AdapterInputs | None, AdapterInputs | None]:
        """Return what decoding steps are told of adapters, and what chunks of prompts are, over the same matrices."""
        if not adapters:
            return None, None
        min_ranks = 0 if self.provider == "cpu" else 1
        weights = AdapterWeights(adapters, self._session.device, min_ranks=min_ranks)
        device, rows = self._session.step_device, self.max_batch
        return AdapterInputs(weights, device, rows=rows), AdapterInputs(weights, device, rows=rows)

    def _run_mixed(self, batch: Sequence[Span], steps: Sequence[Span], others: Sequence[Span]) -> StepOutput:
        """Run chunks of prompts, and what wants the logits of several tokens, beside rows of one token."""
        prompts = [span for span in others if not span.num_logits]
        for group in prompt_runs(prompts, self._prompts.graph, can_pad=self.can_pad):
            with contextlib.suppress(GivenUpError):
                self._append_prompts(group)
        if steps:
            output = self._decoding.step(steps, is_alone=False)
        else:
            output = StepOutput.of(np.empty((0, self._width), np.float32), [])
        start_of = dict(zip(map(id, steps), output.starts, strict=True))
        if len(prompts) == len(others):
            return dataclasses.replace(output, starts=[start_of.get(id(span), 0) for span in batch])
        scored = [span for span in others if span.num_logits]
        end = len(output.logits)
        logits = self._new_logits(end + sum(span.num_logits for span in scored))
        logits[:end] = output.logits
        for group in self._scoring_runs(scored):
            for span, rows in zip(group, self._logits_of(group), strict=True):
                start_of[id(span)], end = end, end + len(rows)
                logits[start_of[id(span)] : end] = rows
        return StepOutput.of(logits, [start_of.get(id(span), 0) for span in batch])

    def _scoring_runs(self, spans: Sequence[Span]) -> Sequence[Sequence[Span]]:
        if self._scores_one_by_one:
            return [[span] for span in spans]
        return scoring_runs(spans, self._scores.graph, max_tokens=SCORE_CHUNK)

    def _logits_of(self, spans: Sequence[Span]) -> Sequence[npt.NDArray[np.float32]]:
        """Append the tokens of slots that run together; return the logits of their last ones, valid until the next run."""
        if len(spans) > 1:
            rows = [span.token_ids for span in spans]
            logits = self._append([span.slot for span in spans], rows, num_logits=max(map(len, rows)))
            return [each[: len(row)] for each, row in zip(logits, rows, strict=True)]
        if self._verification is not None and self._verification.takes(spans[0]):
            self._session.finish()  # a launched step writes behind the tokens of idle slots, this one perhaps
            return [self._verification.logits_of(spans[0])]
        return [self._score(spans[0])]

    def _score(self, span: Span) -> npt.NDArray[np.float32]:
        """Append one slot's tokens, part by part, and return the logits of the last ones, float32 [num_logits, vocab]."""
        is_one_run = not self._scores_one_by_one and len(span.token_ids) <= SCORE_CHUNK
        if is_one_run:
            row: npt.NDArray[np.float32] = self._append(
                [span.slot], [span.token_ids], num_logits=span.num_logits
            )[0]
            return row
        size = 1 if self._scores_one_by_one else SCORE_CHUNK
        first = len(span.token_ids) - span.num_logits
        if first:
            self._append_prompts([Span(span.slot, span.token_ids[:first])])
        logits = self._new_logits(span.num_logits)
        for start in range(0, span.num_logits, size):
            chunk = span.token_ids[first + start : first + start + size]
            logits[start : start + len(chunk)] = self._append([span.slot], [chunk], num_logits=len(chunk))[0]
        return logits

    def _new_logits(self, num_positions: int) -> npt.NDArray[np.float32]:
        try:
            return np.empty((num_positions, self._width), np.float32)
        except MemoryError as error:
            raise OutOfMemoryError(f"not enough memory for the logits of {num_positions} tokens") from error

    def _append_prompts(self, spans: Sequence[Span]) -> None:
        """Append tokens to slots that may run together; no logits are computed.

        Raises:
            GivenUpError: Nobody wants them any more.
        """
        graph = self._prompts.graph
        slot, token_ids = spans[0].slot, spans[0].token_ids
        if graph.max_positions == 1:
            for span in spans:
                for token_id in span.token_ids:
                    self._append([span.slot], [[token_id]], num_logits=0)
        elif self._restarts_prompts and slot.token_ids and len(token_ids) > 1:
            # What reads a cache was made for single tokens: the prompt runs from its beginning, without one.
            whole = [*slot.token_ids, *token_ids]
            self.cache.truncate(slot, 0)
            self._append([slot], [whole], num_logits=0)
        elif len(spans) > 1:
            self._append([span.slot for span in spans], [span.token_ids for span in spans], num_logits=0)
        else:
            end = 0
            while end < len(token_ids):
                start, end = end, end + self._num_fitting(len(slot.token_ids), len(token_ids) - end)
                self._append([slot], [token_ids[start:end]], num_logits=0)

    def _num_fitting(self, past: int, wanted: int) -> int:
        """Return how many tokens of a prompt run at a time behind so many, if their scores are to stay small."""
        if not self._prompts.facts.in_eight_bits:
            return wanted
        size, bytes_per_score = wanted, 4 * self._folder.decoder.num_heads
        while size > LEAST_CHUNK and bytes_per_score * size * (past + size) > MAX_SCORE_BYTES:
            size = max(size // 2, LEAST_CHUNK)
        return size

    def _append(
        self, slots: Sequence[Slot], rows: Sequence[Sequence[int]], *, num_logits: int
    ) -> npt.NDArray[np.float32]:
        """Run a chunk of tokens for each slot; return the logits of the last ones, float32 [rows, num_logits, vocab]."""
        longest = max(len(row) for row in rows)
        session = self._scores if num_logits else self._prompts
        buffers = self._chunk_buffers(session, len(rows) * longest, len(rows) * num_logits)
        arena = self._runs.arena(PROMPTS)
        past = [len(slot.token_ids) for slot in slots]
        buffers.write(
            [token_id for row in rows for token_id in (*row, *[0] * (longest - len(row)))],
            past,
            [before + len(row) - 1 for before, row in zip(past, rows, strict=True)],
            first_positions=self._runs.first_positions(slots, past),
            staged=arena.stage(slots, longest) if arena else 0,
            is_long=slots[0].key.position_table == 1,
        )
        self._session.finish()  # a launched step writes behind the tokens of idle slots, one of these perhaps
        side = self.cache.align(slots)
        binding = self._runs.bind(session, buffers, slots, (longest, num_logits), side=side, arena=arena)
        if self._chunk_adapters is not None:
            active = self._chunk_adapters.write([slot.key.adapter for slot in slots])
            inputs = session.graph.adapter_inputs
            self._chunk_adapters.bind(binding, active, rows=len(slots), inputs=inputs)
        if num_logits:
            run(binding)
        else:
            self._stoppable.run(binding, slots)
        if arena:
            arena.collect(slots, [len(row) for row in rows], longest)
        self.cache.flip(slots)
        for slot, row in zip(slots, rows, strict=True):
            slot.token_ids.extend(row)
        return buffers.logits(len(rows), longest, num_logits)

    def _chunk_buffers(self, session: DecoderSession, num_tokens: int, num_logits: int) -> StepBuffers:
        """Return buffers for so many tokens and logits; they are kept, and grow when more are wanted."""
        buffers = self._chunks.get(session)
        if buffers is None or buffers.max_tokens < num_tokens or buffers.max_logits < num_logits:
            buffers = self._chunks[session] = StepBuffers(
                session.graph,
                session.step_device,
                rows=self.max_batch,
                tokens=max(num_tokens, buffers.max_tokens if buffers else 0),
                chunk_logits=max(num_logits, buffers.max_logits if buffers else 0),
            )
        return buffers


def _check_bytes(kv_cache_bytes: int | None) -> None:
    if isinstance(kv_cache_bytes, bool) or not isinstance(kv_cache_bytes, int | None):
        raise OptionError(f"kv_cache_bytes must be a number of bytes, not {kv_cache_bytes!r}")


def _limit(name: str, value: int | None, limit: int | None) -> int:
    """Return a limit that a user may lower."""
    if value is None:
        assert limit is not None
        return limit
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or value < 1
        or (limit is not None and value > limit)
    ):
        bounds = "at least 1" + (
            f" and at most {limit}, the model's context length" if limit is not None else ""
        )
        raise OptionError(f"{name} must be an integer, {bounds}, not {value!r}")
    return value
