"""Several tokens of a slot in one run, as drafts are looked at: the same logits, and the same texts, as one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genai.config import GenerationConfig
from genai.engine import Engine, GenerationResult, Request, Speculation
from genai.errors import OptionError
from genai.folder import ModelFolder
from genai.model import Span
from genai.runtime import Decoder
from tests.engine.speculation.guessing import FixedCosts, Prompter
from tests.runtime.test_any_graph import KINDS
from tests.spans import decode, prefill

Folders = Callable[..., tuple[Path, Path]]

FAMILIES = (
    "llama",
    "mistral",
    "gemma2",
    "gemma3_text",
    "deepseek_v3",
    "gpt2",
    "bloom",
    "phi3",
    "gpt_oss",
    "llama4_text",
)
"""Plain, with windows (of 12 tokens), of both kinds, with latent attention, without rotary positions, with sinks, within
chunks (of 10 tokens)."""


def decoder_of(model_folder: Folders, family: str, **options: Any) -> Decoder:
    return Decoder(ModelFolder.load(model_folder(family)[1]), num_threads=1, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_verification_gives_the_logits_of_its_tokens_one_by_one(model_folder: Folders, family: str) -> None:
    decoder = decoder_of(model_folder, family)
    first, second = decoder.cache.acquire([1] * 20), decoder.cache.acquire([2])
    assert first is not None
    assert second is not None
    decoder.cache.reserve(64)
    prompt, tokens = [5, 9, 11, 4] * 5, [7, 5, 9, 11, 4, 5, 9]
    prefill(decoder, first, prompt)
    expected = np.concatenate([decode(decoder, [token_id], [first]) for token_id in tokens])
    for count in (7, 2, 4, 7):  # bound anew, and again
        decoder.cache.truncate(first, len(prompt))
        output = decoder.run([Span(first, tokens[:count], count)])
        np.testing.assert_allclose(output.logits_of(0, count), expected[:count], atol=5e-5)
        assert output.best_id(0, count - 1) == expected[count - 1].argmax()
    decoder.cache.truncate(first, len(prompt))
    prefill(decoder, second, prompt)
    spans = [Span(second, tokens[:1], 1), Span(first, tokens[:5], 5)]  # beside a row of one token
    output = decoder.run(spans)
    np.testing.assert_allclose(output.logits_of(0, 1), expected[:1], atol=5e-5)
    np.testing.assert_allclose(output.logits_of(1, 5), expected[:5], atol=5e-5)
    decoder.cache.check()


def test_a_verification_of_a_shape_is_bound_once(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = decoder_of(model_folder, "llama")
    slot = decoder.cache.acquire([1])
    assert slot is not None
    decoder.cache.reserve(64)
    for count in (2, 4):
        decoder.run([Span(slot, [3] * count, count)])
    monkeypatch.setattr(decoder._session, "bind", lambda **_: pytest.fail("bound again"))
    for count in (4, 2, 4):
        decoder.run([Span(slot, [3] * count, count)])
        decoder.cache.truncate(slot, len(slot.token_ids) - 1)


def test_rows_that_are_gathered_are_verified_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(KINDS["growing"]().folder(tmp_path), max_batch=4, num_threads=1)
    slots = [decoder.cache.acquire([place]) for place in range(3)]
    append, runs = decoder._append, []
    for slot, count in zip(slots, (4, 7, 1), strict=True):
        assert slot is not None
        prefill(decoder, slot, [1, 2, 0, 1, 2, 0, 2][:count])
    monkeypatch.setattr(
        decoder, "_append", lambda slots, rows, **how: runs.append(rows) or append(slots, rows, **how)
    )
    tokens = [[1, 2, 0], [2, 1], [0, 0, 1]]
    spans = [Span(slot, row, len(row)) for slot, row in zip(slots, tokens, strict=True) if slot is not None]
    together = decoder.run(spans)
    logits = [together.logits_of(index, len(row)).copy() for index, row in enumerate(tokens)]
    assert runs == [tokens]
    for span, expected in zip(spans, logits, strict=True):
        decoder.cache.truncate(span.slot, len(span.slot.token_ids) - len(span.token_ids))
        np.testing.assert_allclose(decoder.run([span]).logits_of(0, span.num_logits), expected, atol=1e-4)


REQUESTS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.8, "seed": 5},
    {"repetition_penalty": 1.4, "top_logprobs": 2},
    {"temperature": 1.2, "top_p": 0.9, "seed": 6, "num_return_sequences": 2},
    {"min_new_tokens": 12, "stop_token_ids": [4, 5, 6, 7, 8, 9]},
]


def run_all(engine: Engine, **options: Any) -> list[GenerationResult]:
    prompts: Sequence[Sequence[int]] = ([5, 9, 11, 4] * 4, [3, 1, 4, 1, 5], [2, 7] * 6, [8], [6, 6, 6, 6])
    requests = [
        Request(prompt, GenerationConfig().merge(max_new_tokens=40, **kind, **options))
        for prompt, kind in zip(prompts, REQUESTS, strict=True)
    ]
    for request in requests:
        engine.submit(request)
    while engine.has_work:
        engine.advance()
        engine.check()
    return [request.result for request in requests if request.result is not None]


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_the_same_with_drafts_right_and_wrong(model_folder: Folders, family: str) -> None:
    decoder = decoder_of(model_folder, family, max_batch=3)
    plain = run_all(Engine(decoder), speculative="off")
    answers = {result.prompt_token_ids: result for result in plain}

    def answer_of(sequence: Any) -> Sequence[int]:
        result = answers[sequence.request.prompt_token_ids]
        tokens: Sequence[int] = (result.choices or (result,))[sequence.index].token_ids
        return tokens

    prompter = Prompter(answer_of, lambda place: place % 7 == 5)
    speculation = Speculation(decoder, drafters={"ngram": prompter}, costs=FixedCosts(another_row=1.0))
    guessed = run_all(Engine(decoder, speculation=speculation))
    assert [each.token_ids for each in guessed] == [each.token_ids for each in plain]
    num_accepted = sum(each.stats.accepted_tokens for each in guessed)
    assert sum(each.stats.drafted_tokens for each in guessed) > num_accepted > 20
    for each, expected in zip(guessed, plain, strict=True):
        assert [choice.token_ids for choice in each.choices] == [c.token_ids for c in expected.choices]
        for ours, theirs in zip(each.logprobs or (), expected.logprobs or (), strict=True):
            assert ours.token_id == theirs.token_id
            assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)


@pytest.mark.parametrize("family", ["qwen3_next", "lfm2"])
def test_states_are_not_guessed_for(model_folder: Folders, family: str) -> None:
    engine = Engine(decoder_of(model_folder, family))
    assert all(result.stats.drafted_tokens == 0 for result in run_all(engine))
    with pytest.raises(OptionError, match="states"):
        engine.submit(Request([1, 2, 3], GenerationConfig(speculative="ngram")))


def test_a_draft_model_of_the_same_weights_is_nearly_always_right(model_folder: Folders) -> None:
    model, draft = (decoder_of(model_folder, "llama", max_batch=3) for _ in range(2))
    plain = run_all(Engine(model), speculative="off")
    speculation = Speculation(model, draft, costs=FixedCosts(another_row=1.0))
    guessed = run_all(Engine(model, speculation=speculation))
    assert [each.token_ids for each in guessed] == [each.token_ids for each in plain]
    drafted = sum(each.stats.drafted_tokens for each in guessed)
    assert sum(each.stats.accepted_tokens for each in guessed) > 0.9 * drafted > 50
