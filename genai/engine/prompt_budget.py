"""How many tokens of prompts run in one step, so that nobody who reads an answer waits long for its next token.

Knows no request: it is told what steps took. While nothing decodes, prompts run in the chunks that the model computes fastest.
Beside rows that decode, a chunk takes about `TARGET_SECONDS`, as fast as this machine turns out to be, but is never so small
that products lose much of their speed. The sizes are few, and a chunk ends at a multiple of its size: so a prompt is mostly cut
where it would be cut alone.
"""

from __future__ import annotations

import statistics
from collections import deque

__all__ = ["PromptBudget"]

TARGET_SECONDS = 0.2
"""What a chunk beside decoding rows may take, with its rest: texts still come at the pace of reading."""
REST_SHARE = 1 / 4
"""What is left of a prompt runs along with a chunk if it is no more than this share of one: products read all weights however
few tokens they multiply."""
LEAST_TOKENS = 64
"""No chunk is cut smaller. SmolLM2-135M at int4 on two busy cores reads 80, 81, 92, 61 and 47 tokens a second in chunks of 256,
128, 64, 32 and 16."""
NUM_REMEMBERED = 5
"""Of so many measurements the median counts, which a pause of the machine does not move."""


class PromptBudget:
    """Says how many tokens of prompts the next step may run.

    Args:
        largest: What the model computes fastest.
        is_fixed: Whether that is the answer whatever runs.
    """

    def __init__(self, largest: int, *, is_fixed: bool = False) -> None:
        self.largest = largest
        self._is_fixed = is_fixed
        self._sizes = [largest]  # descending
        while not is_fixed and self._sizes[-1] // 2 >= LEAST_TOKENS:
            self._sizes.append(self._sizes[-1] // 2)
        self._token_seconds: deque[float] = deque(maxlen=NUM_REMEMBERED)
        self._plain_seconds: deque[float] = deque(maxlen=NUM_REMEMBERED)

    def max_tokens(self, *, is_decoding: bool) -> int:
        """Return the most tokens of prompts for the next step.

        Args:
            is_decoding: Whether there are rows that decode, whose readers wait for the step.
        """
        if not is_decoding or len(self._sizes) == 1:
            return self.largest
        if not self._token_seconds:
            return self._sizes[-1]
        token_seconds = statistics.median(self._token_seconds)
        longest = (1 + REST_SHARE) * token_seconds
        fitting = (size for size in self._sizes if size * longest <= TARGET_SECONDS)
        return next(fitting, self._sizes[-1])

    def cut(self, pending: int, *, held: int, max_tokens: int) -> int:
        """Return how much of a prompt runs: all that is left, or as far as a multiple of the limit.

        Args:
            pending: How many tokens are left.
            held: How many have run.
            max_tokens: The limit.
        """
        count = max_tokens - held % max_tokens
        rest = 0 if self._is_fixed else int(REST_SHARE * max_tokens)
        return pending if pending <= max_tokens or pending - count <= rest else count

    def note(self, num_prompt_tokens: int, num_rows: int, seconds: float) -> None:
        """Take in what a step took.

        Args:
            num_prompt_tokens: Tokens of prompts that have run in it.
            num_rows: Rows that decoded in it.
            seconds: From the beginning of its run to when it was known what had come.
        """
        if not num_prompt_tokens:
            self._plain_seconds.append(seconds)
            return
        if num_prompt_tokens < LEAST_TOKENS // 2:  # which says little about larger ones
            return
        if num_rows and self._plain_seconds:
            seconds = max(seconds - statistics.median(self._plain_seconds), 0.0)
        self._token_seconds.append(seconds / num_prompt_tokens)
