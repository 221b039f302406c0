"""Runs of a few tokens of one slot, with the logits of all of them: what looks at a draft.

They come again and again in few shapes, so they are bound once for each, as steps of decoding are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from genai.cache import KVCache
from genai.model import Span
from genai.runtime.binding import run
from genai.runtime.cache_runs import CacheRuns
from genai.runtime.kept_bindings import KeptBindings
from genai.runtime.session import DecoderSession
from genai.runtime.step_buffers import StepBuffers

__all__ = ["Verification"]

MAX_TOKENS = 16
"""Tokens of a run; the memory of its logits is kept."""


class Verification:
    """Looks at drafts, in one session.

    Args:
        session: The session; its graph takes several tokens behind others, and its shapes stay as they are.
        cache: The slots.
        runs: Binds runs over them.
    """

    def __init__(self, session: DecoderSession, cache: KVCache, runs: CacheRuns) -> None:
        self._session = session
        self._cache = cache
        self._runs = runs
        self._bound = KeptBindings(cache)
        self._buffers: StepBuffers | None = None

    def takes(self, span: Span) -> bool:
        """Whether a span is one that it runs."""
        return span.num_logits == len(span.token_ids) <= MAX_TOKENS

    def logits_of(self, span: Span) -> npt.NDArray[np.float32]:
        """Append a span's tokens and return the logits at each, float32 [tokens, vocab]; valid until its next run.

        Raises:
            GenerationError: ONNX Runtime failed.
        """
        slot, count = span.slot, len(span.token_ids)
        if self._buffers is None:
            self._buffers = StepBuffers(
                self._session.graph,
                self._session.step_device,
                rows=1,
                tokens=MAX_TOKENS,
                chunk_logits=MAX_TOKENS,
            )
        buffers, past = self._buffers, [len(slot.token_ids)]
        side = self._cache.align([slot])
        binding = self._bound.get(
            (slot.index, count, side),
            lambda: self._runs.bind(self._session, buffers, [slot], (count, count), side=side, arena=None),
        )
        buffers.select_logits(count, count)
        buffers.write(
            span.token_ids,
            past,
            [past[0] + count - 1],
            first_positions=self._runs.first_positions([slot], past),
            is_long=slot.key.position_table == 1,
        )
        run(binding)
        self._cache.flip([slot])
        slot.token_ids.extend(span.token_ids)
        logits: npt.NDArray[np.float32] = buffers.logits(1, count, count)[0]
        return logits
