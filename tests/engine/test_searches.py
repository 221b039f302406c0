"""Groups of beams, what is told of beams' tokens, and the best of several draws."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from genai.config import GenerationConfig
from genai.engine import Engine
from genai.engine.strategies.beam_search import Hypothesis
from genai.engine.strategies.beams import BeamStrategy
from genai.errors import OptionError
from genai.sampling import log_softmax
from genai.text import StopMatcher
from tests.engine.test_engine import PROMPT, request, run
from tests.fakes import FakeModel, fake_logits

VOCAB = 30
LENGTH = 6
Scored = tuple[float, tuple[int, ...]]


def log_probs_after(ids: tuple[int, ...]) -> np.ndarray:
    whole = [*PROMPT, *ids]
    return log_softmax(fake_logits(whole, [0] * len(whole), VOCAB))


def search(num_beams: int, num_groups: int, penalty: float) -> list[Scored]:
    """Diverse beam search by its definition (Vijayakumar et al., 2016, algorithm 1), without ends and without caches."""
    groups: list[list[Scored]] = [[(0.0, ())] for _ in range(num_groups)]
    for _ in range(LENGTH):
        chosen: Counter[int] = Counter()
        for place, beams in enumerate(groups):
            candidates = [
                (total + float(row[token_id]) - penalty * chosen[token_id], (*ids, token_id))
                for total, ids in beams
                for row in [log_probs_after(ids)]
                for token_id in range(VOCAB)
            ]
            groups[place] = sorted(candidates, key=lambda each: -each[0])[: num_beams // num_groups]
            chosen.update(ids[-1] for _, ids in groups[place])
    return sorted((each for beams in groups for each in beams), key=lambda each: -each[0])


@pytest.mark.parametrize(("num_beams", "num_groups"), [(2, 2), (4, 2), (6, 3), (4, 4)])
@pytest.mark.parametrize("penalty", [0.2, 1.0, 5.0])
def test_groups_follow_their_definition(num_beams: int, num_groups: int, penalty: float) -> None:
    (result,) = run(
        Engine(FakeModel(vocab_size=VOCAB, max_batch=8)),
        request(
            num_beams=num_beams,
            num_beam_groups=num_groups,
            diversity_penalty=penalty,
            num_return_sequences=num_beams,
            max_new_tokens=LENGTH,
        ),
    )
    expected = search(num_beams, num_groups, penalty)
    assert [choice.token_ids for choice in result.choices] == [ids for _, ids in expected]
    scores = [choice.score for choice in result.choices]
    np.testing.assert_allclose(scores, [total / LENGTH for total, _ in expected], rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"length_penalty": 2.0}])
def test_the_first_group_is_a_search_of_its_own(options: dict[str, Any]) -> None:
    """Nothing is less likely for it; groups that end at other steps go on alone."""
    for eos in range(0, VOCAB, 5):
        model = FakeModel(vocab_size=VOCAB, max_batch=8)
        (alone,) = run(
            Engine(model),
            request(eos=[eos], num_beams=2, num_return_sequences=2, max_new_tokens=12, **options),
        )
        (grouped,) = run(
            Engine(model),
            request(
                eos=[eos],
                num_beams=4,
                num_beam_groups=2,
                diversity_penalty=2.0,
                num_return_sequences=4,
                max_new_tokens=12,
                **options,
            ),
        )
        found = {choice.token_ids for choice in grouped.choices}
        assert {choice.token_ids for choice in alone.choices} <= found
        scores = [choice.score or 0 for choice in grouped.choices]
        assert scores == sorted(scores, reverse=True)


def test_log_probabilities_of_beams_are_the_models() -> None:
    for options in ({}, {"num_beam_groups": 2, "diversity_penalty": 1.0}, {"repetition_penalty": 1.5}):
        for eos in (None, 3, 8):
            each = request(
                eos=[] if eos is None else [eos],
                stream=True,
                num_beams=4,
                num_return_sequences=3,
                top_logprobs=2,
                max_new_tokens=LENGTH,
                **options,
            )
            (result,) = run(Engine(FakeModel(vocab_size=VOCAB)), each)
            for choice, piece in zip(result.choices, each.pieces, strict=True):
                assert choice.logprobs is not None
                assert piece.logprobs == choice.logprobs
                assert [entry.token_id for entry in choice.logprobs] == list(choice.token_ids)
                for place, entry in enumerate(choice.logprobs):
                    row = log_probs_after(choice.token_ids[:place])
                    assert entry.logprob == pytest.approx(row[entry.token_id], abs=1e-4)
                    assert [i for i, _ in entry.top_logprobs] == np.argsort(-row)[:2].tolist()
                if not options:
                    total = sum(entry.logprob for entry in choice.logprobs)
                    assert choice.score == pytest.approx(total / len(choice.token_ids), abs=1e-4)


@pytest.mark.parametrize("penalty", [-200.0, -1e9, 155.0, 1e9])
def test_any_penalty_on_length_ends_with_an_answer(penalty: float) -> None:
    options: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 110, "stop_token_ids": [1, 2, 3]}
    model = FakeModel(vocab_size=VOCAB, context_length=200)
    (result,) = run(Engine(model), request(length_penalty=penalty, num_return_sequences=3, **options))
    assert len(result.choices) == 3


@pytest.mark.parametrize("stop", [["abc", "b"], ["bc", "abcd"], ["c"]])
def test_beams_are_cut_where_draws_are(stop: list[str]) -> None:
    strategy = BeamStrategy(request(num_beams=2, stop=stop), FakeModel())
    choice = strategy._choice(Hypothesis(tuple(b"xabcd"), 0.0, "stop"))
    assert choice.text == StopMatcher(stop).push("xabcd").emit


@pytest.mark.parametrize("stream", [False, True])
def test_the_best_of_several_draws_is_returned(stream: bool) -> None:
    options: dict[str, Any] = {"temperature": 2.0, "seed": 4, "max_new_tokens": 6}
    (drawn,) = run(
        Engine(FakeModel(vocab_size=VOCAB)), request(num_return_sequences=4, logprobs=True, **options)
    )
    means = [np.mean([e.logprob for e in c.logprobs or ()]) for c in drawn.choices]
    ranked = [drawn.choices[i].token_ids for i in np.argsort(means)[::-1]]
    each = request(best_of=4, num_return_sequences=2, stream=stream, **options)
    (best,) = run(Engine(FakeModel(vocab_size=VOCAB)), each)
    assert [choice.token_ids for choice in best.choices] == ranked[:2]
    assert best.logprobs is None
    assert best.stats.generated_tokens == 24
    if stream:
        assert [(piece.index, piece.token_ids) for piece in each.pieces] == list(enumerate(ranked[:2]))
    (first,) = run(Engine(FakeModel(vocab_size=VOCAB)), request(best_of=4, **options))
    assert (first.token_ids, first.choices) == (ranked[0], ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": 1.0},
            "must be a multiple of num_beam_groups",
        ),
        ({"num_beams": 4, "num_beam_groups": 2}, "needs a diversity_penalty above 0"),
        (
            {"num_beams": 4, "diversity_penalty": 1.0},
            "diversity_penalty means nothing without num_beam_groups",
        ),
        ({"num_beam_groups": 2, "diversity_penalty": 1.0}, "num_beam_groups means nothing without num_beams"),
        ({"best_of": 2}, "best_of chooses among sequences that were drawn"),
        ({"best_of": 2, "num_beams": 2}, "best_of chooses among sequences that were drawn"),
        (
            {"best_of": 2, "num_return_sequences": 3, "temperature": 1.1},
            "must be at least num_return_sequences",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GenerationConfig(**options)
