"""The seam between engine and model: a batch of spans goes in, logits come out.

Owns the values that cross it and the protocol that a model keeps. Knows no session and no request: `genai.runtime`
has the model that runs on ONNX Runtime, tests have another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from genai.cache import KVCache, Rotation, Slot

__all__ = ["Model", "Span", "StepOutput"]


class Span(NamedTuple):
    """Tokens to append to one slot.

    A chunk of a prompt wants the logits of none of them, a decoding row those of its one token, a verification of k
    drafted tokens those of all k + 1, scoring those of all.

    Args:
        slot: Where their beginning is; its key says with which adapter and position table they are computed.
        token_ids: The tokens; at least one.
        num_logits: At how many of the last of them logits are wanted.
        goes_on_greedily: Whether nobody will look at more than the id of the greatest logit, and the slot will probably
            go on with it: then a model may begin with that before it is asked.
    """

    slot: Slot
    token_ids: Sequence[int]
    num_logits: int = 0
    goes_on_greedily: bool = False

    @property
    def is_step(self) -> bool:
        """Whether it is a decoding row: one token, and its logits."""
        return self.num_logits == 1 == len(self.token_ids)


@dataclass(slots=True, eq=False)
class StepOutput:
    """What a model made of a batch; valid until its next run. Nothing is fetched from a device before somebody looks.

    Args:
        fetch_logits: Returns the logits, float32 [positions, vocab]; perhaps with rows in between that nobody asked for.
        starts: For each span of the batch, where its logits begin; anything where it wanted none.
        fetch_best_ids: Returns for each row of the logits the id of the greatest, -1 where that is not finite; `None`
            where the device does not choose.
    """

    fetch_logits: Callable[[], npt.NDArray[np.float32]]
    starts: Sequence[int]
    fetch_best_ids: Callable[[], Sequence[int]] | None = None
    _logits: npt.NDArray[np.float32] | None = None
    _best_ids: Sequence[int] | None = None

    @classmethod
    def of(cls, logits: npt.NDArray[np.float32], starts: Sequence[int]) -> Self:
        """Return an output whose logits are on the host."""
        return cls(lambda: logits, starts)

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """The logits, float32 [positions, vocab]."""
        if self._logits is None:
            self._logits = self.fetch_logits()
        return self._logits

    def logits_of(self, index: int, count: int) -> npt.NDArray[np.float32]:
        """Return the `count` logits of a span of the batch, float32 [count, vocab]."""
        start = self.starts[index]
        return self.logits[start : start + count]

    def best_id(self, index: int, position: int = 0) -> int | None:
        """Return the most likely token at one of a span's logits, by default the first; None if they are not finite."""
        start = self.starts[index] + position
        if self.fetch_best_ids is not None:
            if self._best_ids is None:
                self._best_ids = self.fetch_best_ids()
            chosen = self._best_ids[start]
            return chosen if chosen >= 0 else None
        if self._best_ids is None:
            self._best_ids = self.logits.argmax(axis=1).tolist()
        best = self._best_ids[start]  # the first NaN, if there is one
        return best if abs(self.logits[start, best]) < math.inf else None


class Model(Protocol):
    """What the engine needs of a loaded model.

    Args:
        cache: Its slots.
        context_length: Most tokens per sequence.
        max_batch: Most sequences at a time.
        vocab_size: Logits per position.
        prompt_chunk: How many tokens of prompts it best computes at a time.
    """

    cache: KVCache
    context_length: int
    max_batch: int
    vocab_size: int
    prompt_chunk: int

    @property
    def adapters(self) -> Collection[str]:
        """The names of the adapters that it can compute with."""
        ...

    @property
    def rounds_activations(self) -> bool:
        """Whether it rounds activations so coarsely that tokens which run together may come out otherwise than alone."""
        ...

    @property
    def can_pad(self) -> bool:
        """Whether new prompts of different lengths may run together, the shorter ones padded."""
        ...

    def run(self, batch: Sequence[Span], /) -> StepOutput:
        """Append every span's tokens to its slot and return the logits that are wanted.

        Spans of any kind may stand in one batch, each of a slot of its own; how they are cut into runs is the
        model's business. The cache must have room for them (`KVCache.reserve`).

        Raises:
            OutOfMemoryError: There is no memory for a prompt's chunk, or for the logits of a draft; slots hold what had run by
                then, and nothing else has changed.
            GenerationError: The model failed to run; what the slots hold is undefined then.
        """
        ...

    def give_up(self, slots: Collection[Slot], /) -> None:
        """Let nobody wait for the chunks of these slots' prompts in the batch that runs; any thread may ask, at any time.

        A run of the graph that is for such slots alone ends early, or is not begun: the slots are left as they were before
        it, and `run` returns as ever. Asked for while nothing runs, it may concern the next batch.
        """
        ...

    def rotations(self) -> Sequence[Rotation | None]:
        """Return how positions have turned each of the cache's tensors, `None` where they have not.

        Raises:
            OptionError: What a slot holds cannot be moved to other positions, and why not.
        """
        ...

    def position_table_for(self, length: int, /) -> int:
        """Return which of the model's position tables a sequence of this length uses (`PrefixKey`)."""
        ...
