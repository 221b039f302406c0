"""`Generator.score` is the log-softmax of all logits, wherever the chunks begin and end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genai import Generator, Message, OptionError, scoring
from genai.sampling import log_softmax

Folders = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def generator(model_folder: Folders) -> Generator:
    return Generator(model_folder("llama")[1])


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_scores_are_those_of_all_logits(
    generator: Generator, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "CHUNK", chunk)
    token_ids = [5 + 3 * index % 50 for index in range(40)]
    found = generator.score(token_ids=token_ids)
    expected = log_softmax(generator.logits(token_ids=token_ids))[np.arange(39), token_ids[1:]]
    assert found.token_ids == tuple(token_ids[1:])
    np.testing.assert_allclose(found.logprobs, expected, atol=1e-4)
    assert found.total == pytest.approx(expected.sum(), abs=1e-3)
    assert found.perplexity == pytest.approx(np.exp(-expected.mean()), rel=1e-4)


def test_texts_and_contexts() -> None:
    with Generator("demo") as demo:
        context = "What is a token?"
        whole = demo.score(context + " A piece of text.")
        end, other = demo.score([" A piece of text.", " The moon."], context=context)
        assert whole.token_ids[-len(end.token_ids) :] == end.token_ids
        assert whole.logprobs[-len(end.logprobs) :] == pytest.approx(end.logprobs, abs=1e-4)
        assert len(end.token_ids) == demo.count_tokens(context + " A piece of text.") - demo.count_tokens(
            context
        )
        assert other.token_ids != end.token_ids


def test_what_cannot_be_scored(generator: Generator) -> None:
    with pytest.raises(OptionError, match="no token to score"):
        generator.score(token_ids=[3])
    with pytest.raises(OptionError, match="pass either"):
        generator.score()
    with pytest.raises(OptionError, match="pass either a text or token_ids"):
        generator.score(["a"], token_ids=[1, 2])  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="text must be a text or a list of texts, not 5"):
        generator.score(5)  # type: ignore[call-overload]
    assert generator.score([]) == []


def test_tokens_are_counted_as_a_prompt_has_them() -> None:
    with Generator("demo") as demo:
        text = "What is a KV cache?"
        assert demo.tokenize(text) == demo.tokenizer.encode(text)
        assert demo.count_tokens(text) == len(demo.tokenize(text))
        messages = [Message("user", text)]
        reply = demo.chat(messages, max_new_tokens=1)
        assert demo.count_tokens(messages=messages) == reply.stats.prompt_tokens
