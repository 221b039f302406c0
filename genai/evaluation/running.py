"""The checks that run the folder by itself: it loads, its logits are finite, and every way of running it agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genai.config import GenerationConfig
from genai.engine import GenerationResult
from genai.errors import GenaiError
from genai.evaluation.report import Check, failed, passed, skipped
from genai.generator import Generator

__all__ = ["Continuation", "check_batched", "check_cached", "check_run", "continue_prompt", "log_softmax"]

NUM_RUN_TOKENS = 4
NUM_TOP_LOGPROBS = 20

NO_ROOM = "the context has no room for a token after the prompt"

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


def check_run(generator: Generator, prompt: Sequence[int]) -> Check:
    """See that a prompt has finite logits at all its tokens, and that it can be continued."""
    try:
        logits = generator.logits(token_ids=prompt)
        num_wrong = logits.size - int(np.isfinite(logits).sum())
        if num_wrong:
            problem = f"{num_wrong} of {logits.size} logits of a prompt are NaN or infinite: the weights are damaged"
            return failed("run", f"{problem}, or their precision overflows", num_not_finite=num_wrong)
        if room := _room(generator, prompt, NUM_RUN_TOKENS):
            generator.generate(token_ids=prompt, config=_greedy(generator, room))
    except GenaiError as error:
        return failed("run", str(error))
    peak = float(np.abs(logits).max())
    detail = f"{len(prompt)} tokens, logits from {logits.min():.3g} to {logits.max():.3g}"
    return passed("run", detail, num_tokens=len(prompt), max_logit=peak)


def check_cached(generator: Generator, prompt: Sequence[int], *, num_tokens: int, max_error: float) -> Check:
    """See that decoding token by token over the cache gives what the whole sequence gives at once."""
    if not _room(generator, prompt, num_tokens):
        return skipped("cached", NO_ROOM)
    try:
        each = continue_prompt(generator, prompt, num_tokens)
        return _compare("cached", [each], max_error, "token by token is the whole at once")
    except GenaiError as error:
        return failed("cached", str(error))


def check_batched(
    generator: Generator, prompts: Sequence[Sequence[int]], *, num_tokens: int, max_error: float
) -> Check:
    """See that prompts of several lengths in one batch give what each gives alone."""
    num_tokens = min(_room(generator, prompt, num_tokens) for prompt in prompts)
    if not num_tokens:
        return skipped("batched", NO_ROOM)
    try:
        results = generator.generate(token_ids=prompts, config=_greedy(generator, num_tokens))
        each = [_complete(generator, prompt, result) for prompt, result in zip(prompts, results, strict=True)]
        return _compare("batched", each, max_error, f"{len(prompts)} prompts in a batch are each alone")
    except GenaiError as error:
        return failed("batched", str(error))


def continue_prompt(generator: Generator, prompt: Sequence[int], num_tokens: int) -> Continuation:
    """Return the prompt's greedy continuation and the logits of the whole.

    Raises:
        GenerationError: The model failed to run.
        OptionError: The context has no room after the prompt, or the prompt does not fit into it.
    """
    room = _room(generator, prompt, num_tokens)
    return _complete(generator, prompt, generator.generate(token_ids=prompt, config=_greedy(generator, room)))


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Return the log-probabilities of float [..., vocab], in float64."""
    shifted: npt.NDArray[np.float64] = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def _complete(generator: Generator, prompt: Sequence[int], result: GenerationResult) -> Continuation:
    return Continuation(prompt, result, generator.logits(token_ids=[*prompt, *result.token_ids[:-1]]))


def _greedy(generator: Generator, num_tokens: int) -> GenerationConfig:
    """Return options that ask for exactly so many of the most likely tokens, whatever the folder's defaults."""
    return GenerationConfig(
        max_new_tokens=num_tokens,
        do_sample=False,
        ignore_eos=True,
        top_logprobs=min(NUM_TOP_LOGPROBS, generator.vocab_size),
    )


def _room(generator: Generator, prompt: Sequence[int], num_tokens: int) -> int:
    return min(num_tokens, generator.context_length - len(prompt))


def _compare(name: str, each: Sequence[Continuation], max_error: float, claim: str) -> Check:
    """Compare the log-probabilities of every step's likeliest tokens with those of the whole sequence."""
    errors: list[float] = []
    for continuation in each:
        expected = log_softmax(continuation.step_logits)
        for row, entry in zip(expected, continuation.result.logprobs or (), strict=True):
            pairs = ((entry.token_id, entry.logprob), *entry.top_logprobs)
            # A token that is not the likeliest was chosen wrongly by as much as it is less likely.
            wrong = row.max() - row[entry.token_id]
            errors.append(float(np.max([wrong, *(abs(row[i] - value) for i, value in pairs)])))
    error, num_steps = float(np.max(errors, initial=0.0)), len(errors)
    figures = {"max_error": error, "num_steps": num_steps}
    detail = f"log-probabilities differ by {error:.2g} at most over {num_steps} steps"
    if error <= max_error:
        return passed(name, f"{claim}: {detail}", **figures)
    return failed(
        name, f"{detail}, more than {max_error:g}: the cache or the attention's lengths are wrong", **figures
    )
