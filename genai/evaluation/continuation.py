"""A prompt, how the folder continues it greedily, and its logits for the whole: what the checks compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genai.config import GenerationConfig
from genai.engine import GenerationResult
from genai.generator import Generator

__all__ = ["Continuation", "continue_prompt", "greedy_config", "log_softmax", "room_after", "with_logits"]

NUM_TOP_LOGPROBS = 20

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Continuation:
    """A prompt, how the folder continued it, and its logits for the whole.

    Args:
        prompt: The prompt's tokens.
        result: Its greedy continuation, decoded token by token over the cache.
        logits: float32 [prompt and generated tokens but the last, vocab], computed anew for the whole sequence by
            itself: row i is what follows token i.
    """

    prompt: Sequence[int]
    result: GenerationResult
    logits: Logits

    @property
    def token_ids(self) -> list[int]:
        """The tokens that the logits belong to."""
        return [*self.prompt, *self.result.token_ids[:-1]]

    @property
    def step_logits(self) -> Logits:
        """The logits of which the generated tokens were chosen, float32 [generated tokens, vocab]."""
        return self.logits[len(self.prompt) - 1 :]


def continue_prompt(generator: Generator, prompt: Sequence[int], num_tokens: int) -> Continuation:
    """Return the prompt's greedy continuation and the logits of the whole.

    Raises:
        GenerationError: The model failed to run.
        OptionError: The context has no room after the prompt, or the prompt does not fit into it.
    """
    room = room_after(generator, prompt, num_tokens)
    return with_logits(
        generator, prompt, generator.generate(token_ids=prompt, config=greedy_config(generator, room))
    )


def with_logits(generator: Generator, prompt: Sequence[int], result: GenerationResult) -> Continuation:
    """Return the continuation that a result is of, with the logits of the whole."""
    return Continuation(prompt, result, generator.logits(token_ids=[*prompt, *result.token_ids[:-1]]))


def greedy_config(generator: Generator, num_tokens: int) -> GenerationConfig:
    """Return options that ask for exactly so many of the most likely tokens, whatever the folder's defaults."""
    return GenerationConfig(
        max_new_tokens=num_tokens,
        do_sample=False,
        ignore_eos=True,
        top_logprobs=min(NUM_TOP_LOGPROBS, generator.vocab_size),
        speculative="off",
    )


def room_after(generator: Generator, prompt: Sequence[int], num_tokens: int) -> int:
    """Return for how many new tokens, of `num_tokens`, the context has room after the prompt."""
    return min(num_tokens, generator.context_length - len(prompt))


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Return the log-probabilities of float [..., vocab], in float64."""
    shifted: npt.NDArray[np.float64] = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted
