"""Classifier-free guidance against its definition, and who it runs beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation import logits_process as hf

from genai.config import GenerationConfig
from genai.engine import Engine
from genai.errors import GenerationError, OptionError, UnusableOptionsError
from genai.sampling import log_softmax, processors
from tests.engine.test_engine import PROMPT, request, run
from tests.fakes import FakeModel, fake_logits
from tests.sampling.strategies import logits_rows

VOCAB = 300


@given(st.data(), st.floats(0.1, 4))
def test_it_is_transformers(data: st.DataObject, scale: float) -> None:
    logits = np.maximum(data.draw(logits_rows(max_size=12)), -1e20)
    other = np.random.default_rng(0).normal(size=logits.size).astype(np.float32)

    class Output(dict[str, Any]):
        logits = torch.from_numpy(other)[None, None]

    processor = hf.UnbatchedClassifierFreeGuidanceLogitsProcessor(scale, lambda *_, **__: Output())
    reference = processor(torch.tensor([[0]]), torch.from_numpy(logits)[None])[0].numpy()
    np.testing.assert_allclose(processors.guide(logits, other, scale), reference, rtol=1e-4, atol=1e-4)


def test_what_cannot_follow_without_the_prompt_stays() -> None:
    logits = np.array([1, 2, -np.inf], np.float32)
    guided = processors.guide(logits, np.array([0, -np.inf, -np.inf], np.float32), 3.0)
    np.testing.assert_array_equal(guided[1:], log_softmax(logits)[1:])


def guided_greedily(prompt: list[int], negative: list[int], scale: float, count: int) -> list[int]:
    """Return the continuation, computed without any cache."""
    generated: list[int] = []
    for _ in range(count):
        rows = [
            log_softmax(fake_logits([*ids, *generated], [0] * (len(ids) + len(generated)), VOCAB))
            for ids in (prompt, negative)
        ]
        generated.append(int((rows[1] + scale * (rows[0] - rows[1])).argmax()))
    return generated


@pytest.mark.parametrize("scale", [0.5, 1.5, 4.0])
@pytest.mark.parametrize("negative", [None, [9, 8], list(range(30))])
def test_greedy_is_as_defined_alone_and_beside_others(scale: float, negative: list[int] | None) -> None:
    expected = guided_greedily(PROMPT, negative or PROMPT[-1:], scale, 8)
    model = FakeModel()
    guided = request(guidance_scale=scale, negative_prompt=negative)
    plain = request([5, 5])
    results = run(Engine(model), guided, plain)
    assert list(results[0].token_ids) == expected
    assert list(results[1].token_ids) == model.expected([5, 5], 8)
    assert results[0].stats.generated_tokens == 8


def test_a_negative_text_is_encoded() -> None:
    (by_text,) = run(Engine(FakeModel()), request(guidance_scale=2.0, negative_prompt="no"))
    ids = [256, *b"no"]
    (by_ids,) = run(Engine(FakeModel()), request(guidance_scale=2.0, negative_prompt=ids))
    assert by_text.token_ids == by_ids.token_ids


def test_log_probabilities_are_those_of_the_model_with_the_prompt() -> None:
    (result,) = run(Engine(FakeModel()), request(guidance_scale=3.0, logprobs=True))
    assert result.logprobs is not None
    for place, entry in enumerate(result.logprobs):
        ids = [*PROMPT, *result.token_ids[:place]]
        row = log_softmax(fake_logits(ids, [0] * len(ids), VOCAB))
        assert entry.logprob == pytest.approx(row[entry.token_id], abs=1e-4)


def test_sequences_draw_for_themselves_and_end_for_themselves() -> None:
    options: dict[str, Any] = {
        "guidance_scale": 1.2,
        "temperature": 3.0,
        "num_return_sequences": 2,
        "seed": 3,
    }
    model = FakeModel(max_batch=6)
    (both,) = run(Engine(model), request(max_new_tokens=12, **options))
    first, second = (choice.token_ids for choice in both.choices)
    assert first != second
    (cut,) = run(Engine(model), request(max_new_tokens=12, stop_token_ids=first[4], **options))
    assert cut.choices[0].token_ids == first[: first.index(first[4]) + 1]
    assert cut.choices[1].token_ids[:3] == second[:3]
    (best,) = run(
        Engine(model), request(max_new_tokens=12, **{**options, "num_return_sequences": 1, "best_of": 2})
    )
    assert best.token_ids in (first, second)


def test_the_longer_of_both_prompts_leaves_the_room() -> None:
    (result,) = run(
        Engine(FakeModel(context_length=20)),
        request(max_new_tokens=None, guidance_scale=2.0, negative_prompt=list(range(15))),
    )
    assert (len(result.token_ids), result.finish_reason) == (5, "length")


def test_a_pair_needs_two_slots_and_logits_that_are_usable() -> None:
    with pytest.raises(OptionError, match=r"2 sequences .* guidance_scale"):
        Engine(FakeModel(max_batch=1)).submit(request(guidance_scale=2.0))
    with pytest.raises(OptionError, match="negative_prompt: token ids must be"):
        Engine(FakeModel()).submit(request(guidance_scale=2.0, negative_prompt=[999]))
    model = FakeModel()
    logits = model._logits
    model._logits = lambda slot: logits(slot) * (np.nan if slot.token_ids[0] == 7 else 1)  # type: ignore[method-assign]
    with pytest.raises(GenerationError, match="are not usable"):
        run(Engine(model), request(guidance_scale=2.0, negative_prompt=[7]))


def test_the_shorter_prompt_is_computed_once_under_its_own_table_of_positions() -> None:
    model = FakeModel(switch_length=12)
    run(Engine(model), request(range(20), guidance_scale=2.0, negative_prompt=[7, 8, 9], max_new_tokens=1))
    assert sum(count for kind, count in model.runs if kind == "prefill") == 19 + 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance_scale": 2.0, "num_beams": 2}, "guidance_scale cannot be combined with num_beams"),
        ({"negative_prompt": "x"}, "negative_prompt means nothing without guidance_scale"),
        ({"negative_prompt": [], "guidance_scale": 2.0}, "negative_prompt has no tokens"),
        ({"guidance_scale": 0}, "guidance_scale must be a number > 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GenerationConfig(**options)


def test_a_scale_beyond_all_numbers_is_named_and_not_the_weights() -> None:
    engine = Engine(FakeModel(vocab_size=VOCAB))
    with pytest.raises(UnusableOptionsError, match=r"guidance_scale \(1e\+90\)") as caught:
        run(engine, request(guidance_scale=1e90))
    assert caught.value.option == "guidance_scale"
