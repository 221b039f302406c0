"""The checks that run the folder by itself: it loads, its logits are finite, and every way of running it agrees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genai.errors import GenaiError
from genai.evaluation.continuation import (
    Continuation,
    continue_prompt,
    greedy_config,
    log_softmax,
    room_after,
    with_logits,
)
from genai.evaluation.report import Check, failed, passed, skipped
from genai.generator import Generator

__all__ = ["check_batched", "check_cached", "check_run"]

NUM_RUN_TOKENS = 4

NO_ROOM = "the context has no room for a token after the prompt"


def check_run(generator: Generator, prompt: Sequence[int]) -> Check:
    """See that a prompt has finite logits at all its tokens, and that it can be continued."""
    try:
        logits = generator.logits(token_ids=prompt)
        num_wrong = logits.size - int(np.isfinite(logits).sum())
        if num_wrong:
            problem = f"{num_wrong} of {logits.size} logits of a prompt are NaN or infinite: the weights are damaged"
            return failed("run", f"{problem}, or their precision overflows", num_not_finite=num_wrong)
        if room := room_after(generator, prompt, NUM_RUN_TOKENS):
            generator.generate(token_ids=prompt, config=greedy_config(generator, room))
    except GenaiError as error:
        return failed("run", str(error))
    peak = float(np.abs(logits).max())
    detail = f"{len(prompt)} tokens, logits from {logits.min():.3g} to {logits.max():.3g}"
    return passed("run", detail, num_tokens=len(prompt), max_logit=peak)


def check_cached(generator: Generator, prompt: Sequence[int], *, num_tokens: int, max_error: float) -> Check:
    """See that decoding token by token over the cache gives what the whole sequence gives at once."""
    if not room_after(generator, prompt, num_tokens):
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
    num_tokens = min(room_after(generator, prompt, num_tokens) for prompt in prompts)
    if not num_tokens:
        return skipped("batched", NO_ROOM)
    try:
        results = generator.generate(token_ids=prompts, config=greedy_config(generator, num_tokens))
        each = [
            with_logits(generator, prompt, result) for prompt, result in zip(prompts, results, strict=True)
        ]
        return _compare("batched", each, max_error, f"{len(prompts)} prompts in a batch are each alone")
    except GenaiError as error:
        return failed("batched", str(error))


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
