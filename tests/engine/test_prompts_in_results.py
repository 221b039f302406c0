"""What a result says of its prompt: the log-probabilities of its tokens, and its text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genai.engine import Engine
from genai.engine.sequence import MAX_SCORED
from genai.errors import GenerationError, OptionError
from genai.sampling import log_softmax
from tests.engine.test_engine import request, run
from tests.fakes import ByteTokenizer, FakeModel, fake_logits

VOCAB = 300


def expected(prompt: list[int]) -> list[np.ndarray]:
    """Return the log-probabilities after each token, computed without cache, chunks or batch."""
    return [log_softmax(fake_logits(prompt[:end], [0] * end, VOCAB)) for end in range(1, len(prompt))]


@pytest.mark.parametrize("length", [1, 2, 3, 9, MAX_SCORED, MAX_SCORED + 1, 2 * MAX_SCORED + 9])
@pytest.mark.parametrize("chunk", [4, 500])
def test_they_are_the_models(length: int, chunk: int) -> None:
    prompt = np.random.default_rng(length).integers(0, 250, length).tolist()
    model = FakeModel(context_length=400)
    engine = Engine(model, prefill_chunk=chunk)
    for _ in range(2):  # the second time all of the prompt is in the cache
        (result,) = run(engine, request(prompt, prompt_logprobs=3))
        assert result.prompt_logprobs is not None
        first, *others = result.prompt_logprobs
        assert first is None
        for token_id, row, entry in zip(prompt[1:], expected(prompt), others, strict=True):
            assert entry is not None
            assert entry.token_id == token_id
            assert entry.logprob == pytest.approx(row[token_id], abs=1e-4)
            assert [i for i, _ in entry.top_logprobs] == np.argsort(-row)[:3].tolist()
        assert list(result.token_ids) == model.expected(prompt, 8)


def test_no_more_logits_than_a_chunks_are_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(context_length=400)
    most = []
    model_run = model.run
    monkeypatch.setattr(
        model, "run", lambda batch: (most.append(sum(span.num_logits for span in batch)), model_run(batch))[1]
    )
    run(Engine(model), request(list(range(200)), prompt_logprobs=0))
    assert max(most) == MAX_SCORED


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"temperature": 1.0, "num_return_sequences": 3}])
def test_they_are_computed_once_for_several_sequences(options: dict[str, Any]) -> None:
    prompt = list(range(20))
    model = FakeModel()
    (result,) = run(Engine(model), request(prompt, prompt_logprobs=0, seed=1, **options))
    assert result.prompt_logprobs is not None
    assert len(result.prompt_logprobs) == 20
    (plain,) = run(Engine(FakeModel()), request(prompt, seed=1, **options))
    assert result.token_ids == plain.token_ids
    assert plain.prompt_logprobs is None


def test_without_room_for_a_token_after_the_prompt_they_are_refused() -> None:
    with pytest.raises(OptionError, match="prompt_logprobs: the prompt fills the context of 64 tokens"):
        Engine(FakeModel()).submit(request([1] * 64, prompt_logprobs=0))


def test_unusable_logits_of_a_prompt_fail_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    original = model._logits

    def broken(slot: Any) -> Any:
        return original(slot) * (np.nan if slot.token_ids[0] == 9 and len(slot.token_ids) == 2 else 1)

    monkeypatch.setattr(model, "_logits", broken)
    engine = Engine(model)
    good, bad = request(), request([9, 8, 7], prompt_logprobs=0)
    engine.submit(good)
    engine.submit(bad)
    while engine.has_work:
        engine.advance()
        engine.check()
    assert good.result is not None
    with pytest.raises(GenerationError, match="logits are NaN"):
        raise bad.error or AssertionError


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 2, "num_return_sequences": 2},
        {"temperature": 1.0, "num_return_sequences": 2, "seed": 3},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_echo_puts_the_prompt_before_every_text(options: dict[str, Any], stream: bool) -> None:
    prompt = list(b"Say: ")
    (plain,) = run(Engine(FakeModel()), request(prompt, **options))
    each = request(prompt, stream=stream, echo=True, **options)
    (echoed,) = run(Engine(FakeModel()), each)
    assert echoed.text == "Say: " + plain.text
    assert echoed.token_ids == plain.token_ids
    assert [choice.text for choice in echoed.choices] == ["Say: " + choice.text for choice in plain.choices]
    if stream:
        streamed: dict[int, str] = {}
        for piece in each.pieces:
            streamed[piece.index] = streamed.get(piece.index, "") + piece.text
        texts = [choice.text for choice in echoed.choices] or [echoed.text]
        assert [streamed[index] for index in sorted(streamed)] == texts


def test_stop_texts_are_not_looked_for_in_the_prompt() -> None:
    assert ByteTokenizer().decode(list(b"Say: ")) == "Say: "
    (result,) = run(Engine(FakeModel()), request(list(b"Say: "), echo=True, stop="Say"))
    assert result.text.startswith("Say: ")
