"""Whatever goes wrong with one request, or with a guess, ends that request, or that guess, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from genai.config import GenerationConfig
from genai.engine import Engine, Request
from genai.engine.speculation import Speculation
from genai.errors import GenerationError, OutOfMemoryError
from genai.model import Span
from genai.tools import AnswerDelta, AnswerParser
from tests.engine.speculation.guessing import FixedCosts, Prompter
from tests.engine.test_engine import PROMPT, request, run
from tests.fakes import ByteTokenizer, FakeModel


class BrokenParser(AnswerParser):
    """A parser with a mistake, which shows at the end or at any text."""

    def __init__(self, *, at_end: bool, error: type[BaseException]) -> None:
        super().__init__()
        self._at_end = at_end
        self._error = error

    def push(self, text: str) -> AnswerDelta:
        if not self._at_end:
            raise self._error("a mistake")
        return super().push(text)

    def finish(self) -> AnswerDelta:
        raise self._error("a mistake")


class Panic(BaseException):
    """What a library in Rust, such as tokenizers, raises where it fails by a mistake of its own."""


def broken(
    *, at_end: bool = True, stream: bool = True, error: type[BaseException] = KeyError, **options: Any
) -> Request:
    config = GenerationConfig().merge(**{"max_new_tokens": 4, **options})
    return Request(
        [7, 8],
        config,
        tokenizer=ByteTokenizer(),
        eos_token_ids=(),
        stream=stream,
        make_parser=lambda: BrokenParser(at_end=at_end, error=error),
    )


@pytest.mark.parametrize("error", [KeyError, Panic])
@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stream": False},
        {"num_beams": 2},
        {"best_of": 2, "temperature": 1.0, "seed": 1},
        {"guidance_scale": 1.5, "negative_prompt": [2, 1]},
    ],
    ids=str,
)
def test_a_mistake_with_one_answer_ends_no_other(
    options: dict[str, Any], at_end: bool, error: type[BaseException]
) -> None:
    model = FakeModel()
    engine = Engine(model)
    good, bad = request(), broken(at_end=at_end, error=error, **options)
    for each in (good, bad):
        engine.submit(each)
    while engine.has_work:
        engine.advance()
        engine.check()
    assert good.result is not None
    assert list(good.result.token_ids) == model.expected(PROMPT, 8)
    assert isinstance(bad.error, GenerationError)
    assert isinstance(bad.error.__cause__, error)


@pytest.mark.parametrize("num_steps", [0, 3])
@pytest.mark.parametrize("options", [{}, {"num_beams": 2}])
def test_a_mistake_with_a_cancelled_answer_is_its_own(num_steps: int, options: dict[str, Any]) -> None:
    model = FakeModel()
    engine = Engine(model)
    good, bad = request(), broken(max_new_tokens=30, **options)
    for each in (good, bad):
        engine.submit(each)
    for _ in range(num_steps):
        engine.advance()
    engine.cancel(bad)
    engine.check()
    assert bad.is_finished
    engine.run([good])
    assert good.result is not None
    assert list(good.result.token_ids) == model.expected(PROMPT, 8)


class Forgetful:
    """A constraint that bears no guesses: its copies take no token."""

    option = "forgetful"
    is_done = is_waiting = False

    def __init__(self, *, is_copy: bool = False) -> None:
        self._is_copy = is_copy

    def apply(self, logits: Any) -> None:
        pass

    def accept(self, token_id: int) -> None:
        if self._is_copy:
            raise GenerationError("over the limits")

    def forced_token(self) -> int | None:
        return None

    def copy(self) -> Forgetful:
        return Forgetful(is_copy=True)


@pytest.mark.parametrize("error", [OutOfMemoryError("no memory"), GenerationError("failed"), KeyError(7)])
def test_a_draft_model_that_fails_ends_only_its_guess(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    model, draft = FakeModel(context_length=400), FakeModel(context_length=400)
    engine = Engine(model, speculation=Speculation(model, draft, costs=FixedCosts(another_row=1.0)))
    run_draft, num_failed = draft.run, 0

    def run_or_fail(batch: Sequence[Span]) -> Any:
        nonlocal num_failed
        if len(batch[0].slot.token_ids) > 20 and not num_failed:
            num_failed += 1
            raise error
        return run_draft(batch)

    monkeypatch.setattr(draft, "run", run_or_fail)
    each = request(max_new_tokens=380, speculative="draft")
    (result,) = run(engine, each)
    assert list(result.token_ids) == model.expected(PROMPT, 380)
    assert num_failed == 1
    assert result.stats.accepted_tokens > 100  # it guesses again later


def test_options_that_fail_at_a_guess_end_only_the_guess() -> None:
    model = FakeModel()
    engine = Engine(model, speculation=Speculation(model, FakeModel(), costs=FixedCosts()))
    each = Request(
        PROMPT,
        GenerationConfig().merge(max_new_tokens=8, temperature=0),
        eos_token_ids=(),
        make_constraint=Forgetful,
    )
    (result,) = run(engine, each)
    assert list(result.token_ids) == model.expected(PROMPT, 8)


@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("options", [{"prompt_logprobs": 0}, {}], ids=str)
def test_no_memory_after_rows_have_run_ends_only_who_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, has_state: bool, options: dict[str, Any]
) -> None:
    model = FakeModel(context_length=400, has_state=has_state)
    engine = Engine(model, prefill_chunk=40)
    decoding, scored, late = request(max_new_tokens=20), request(range(20), **options), request(range(50, 60))
    run_model = model.run

    def run_without_memory(batch: Sequence[Span]) -> Any:
        fitting = [span for span in batch if len(span.slot.token_ids) + len(span.token_ids) < 19]
        output = run_model(fitting) if fitting else None
        if len(fitting) < len(batch) and scored.error is None:
            raise OutOfMemoryError("no memory for a chunk")
        return output

    engine.submit(decoding)
    for _ in range(4):
        engine.advance()
    monkeypatch.setattr(model, "run", run_without_memory)
    for each in (scored, late):
        engine.submit(each)
    while engine.has_work and scored.error is None:
        engine.advance()
        engine.check()
    monkeypatch.undo()
    (again,) = run(engine, request(range(20)))
    assert list(again.token_ids) == model.expected(range(20), 8)
    assert isinstance(scored.error, OutOfMemoryError)
    for each in (decoding, late):
        assert each.result is not None
        assert list(each.result.token_ids) == model.expected(
            each.prompt_token_ids, each.config.max_new_tokens or 0
        )


def test_no_memory_to_look_at_drafts_ends_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(context_length=400)
    answer = model.expected(PROMPT, 380)
    prompter = Prompter(lambda _: answer)
    engine = Engine(model, speculation=Speculation(model, drafters={"ngram": prompter}, costs=FixedCosts()))
    run_model, num_failed = model.run, 0

    def run_without_memory(batch: Sequence[Span]) -> Any:
        nonlocal num_failed
        if any(span.num_logits > 1 for span in batch) and not num_failed:
            num_failed += 1
            raise OutOfMemoryError("no memory for the logits of a draft")
        return run_model(batch)

    monkeypatch.setattr(model, "run", run_without_memory)
    (result,) = run(engine, request(max_new_tokens=380))
    assert list(result.token_ids) == answer
    assert num_failed == 1
    assert result.stats.accepted_tokens
