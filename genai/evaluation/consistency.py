"""The checks that run the folder by itself: its logits are finite, and every way of running it agrees.

Two ways of running differ by float error. Where products round activations to 8 bits, that error now and then decides
on a step of a code, and on a trained model the log-probability of some unlikely token then differs by half a nat, though
nothing is wrong. So such a folder is compared twice: as it runs, by the mean divergence, which unlikely tokens add little
to; and with float activations (`genai.evaluation.float_activations`), by the greatest difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from genai.engine import TokenLogprob
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
from genai.evaluation.tolerance import SelfTolerance
from genai.generator import Generator

__all__ = ["check_batched", "check_cached", "check_exact", "check_run", "divergence_of_step"]

NUM_RUN_TOKENS = 4
NUM_TOKENS = 16

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


def check_cached(generator: Generator, prompt: Sequence[int], tolerance: SelfTolerance) -> Check:
    """See that decoding token by token over the cache gives what the whole sequence gives at once."""
    if not room_after(generator, prompt, NUM_TOKENS):
        return skipped("cached", NO_ROOM)
    try:
        each = [continue_prompt(generator, prompt, NUM_TOKENS)]
        return _compare("cached", each, tolerance, "token by token is the whole at once")
    except GenaiError as error:
        return failed("cached", str(error))


def check_batched(generator: Generator, prompts: Sequence[Sequence[int]], tolerance: SelfTolerance) -> Check:
    """See that prompts of several lengths in one batch give what each gives alone."""
    if not _room(generator, prompts):
        return skipped("batched", NO_ROOM)
    try:
        each = _continue_together(generator, prompts)
        return _compare("batched", each, tolerance, f"{len(prompts)} prompts in a batch are each alone")
    except GenaiError as error:
        return failed("batched", str(error))


def check_exact(generator: Generator, prompts: Sequence[Sequence[int]], tolerance: SelfTolerance) -> Check:
    """See both for a folder with float activations: the first prompt by itself, the others in a batch."""
    first, *others = prompts
    if not _room(generator, prompts):
        return skipped("exact", NO_ROOM)
    try:
        each = [continue_prompt(generator, first, NUM_TOKENS), *_continue_together(generator, others)]
        return _compare("exact", each, tolerance, "with float activations, cache and batch change nothing")
    except GenaiError as error:
        return failed("exact", str(error))


def divergence_of_step(expected: npt.NDArray[np.float64], entry: TokenLogprob) -> float:
    """Return KL(expected || step) in nats over a step's likeliest tokens and, as one more, all others together.

    That is at most the divergence over the whole vocabulary, of which a step gives no more.

    Args:
        expected: Log-probabilities of the vocabulary, [vocab].
        entry: The step's token, with its likeliest ones.
    """
    step = dict([(entry.token_id, entry.logprob), *entry.top_logprobs])
    target, found = expected[list(step)], np.array(list(step.values()))
    rest, found_rest = (max(1 - float(np.exp(part).sum()), 1e-9) for part in (target, found))
    divergence = float((np.exp(target) * (target - found)).sum()) + rest * float(np.log(rest / found_rest))
    return max(divergence, 0.0)


def _room(generator: Generator, prompts: Sequence[Sequence[int]]) -> int:
    return min(room_after(generator, prompt, NUM_TOKENS) for prompt in prompts)


def _continue_together(generator: Generator, prompts: Sequence[Sequence[int]]) -> list[Continuation]:
    config = greedy_config(generator, _room(generator, prompts))
    results = generator.generate(token_ids=prompts, config=config)
    return [with_logits(generator, prompt, result) for prompt, result in zip(prompts, results, strict=True)]


def _compare(name: str, each: Sequence[Continuation], tolerance: SelfTolerance, claim: str) -> Check:
    """Compare the distribution of every step with that of the whole sequence, as far as a step tells it."""
    errors: list[float] = []
    divergences: list[float] = []
    for continuation in each:
        expected = log_softmax(continuation.step_logits)
        for row, entry in zip(expected, continuation.result.logprobs or (), strict=True):
            pairs = ((entry.token_id, entry.logprob), *entry.top_logprobs)
            # A token that is not the likeliest was chosen wrongly by as much as it is less likely.
            wrong = row.max() - row[entry.token_id]
            errors.append(float(np.max([wrong, *(abs(row[i] - value) for i, value in pairs)])))
            divergences.append(divergence_of_step(row, entry))
    error, mean_kl = float(np.max(errors, initial=0.0)), float(np.mean(divergences))
    figures = {"max_error": error, "mean_kl": mean_kl, "num_steps": len(errors)}
    if tolerance.is_mean:
        found, detail = mean_kl, f"distributions differ by {mean_kl:.2g} nats in the mean"
    else:
        found, detail = error, f"log-probabilities differ by {error:.2g} at most"
    detail += f" over {len(errors)} steps"
    if found <= tolerance.limit:
        return passed(name, f"{claim}: {detail}", **figures)
    problem = f"{detail}, more than {tolerance.limit:g}: the cache or the attention's lengths are wrong"
    return failed(name, problem, **figures)
