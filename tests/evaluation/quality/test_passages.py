"""Every token is scored once, in as much context as was promised, within the window."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors

from genai.errors import OptionError
from genai.evaluation.quality.passages import MIN_TOKENS, Windows, cut_passages
from genai.text import Tokenizer, prefix_of
from tests.text.tokenizers_for_tests import byte_level, sentencepiece, write_folder


@given(
    num_tokens=st.integers(MIN_TOKENS, 700),
    num_prefix=st.integers(0, 2),
    size=st.integers(16, 300),
    data=st.data(),
)
def test_every_token_is_scored_once(num_tokens: int, num_prefix: int, size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size - num_prefix - 1))
    token_ids = list(range(num_tokens))
    prefix = [-1] * num_prefix
    passages = cut_passages(token_ids, prefix, Windows(size, stride))
    scored = [token_id for each in passages for token_id in each.token_ids[-each.num_scored :]]
    assert scored == token_ids[0 if prefix else 1 :]
    for each in passages:
        assert len(each.token_ids) <= size
        assert list(each.token_ids[:num_prefix]) == prefix
        text = each.token_ids[num_prefix:]
        assert list(text) == list(range(text[0], text[0] + len(text)))
        first_scored = each.token_ids[-each.num_scored]
        context = len(each.token_ids) - each.num_scored
        assert context >= min(size - stride, first_scored + num_prefix)
        assert context >= 1


def test_windows_by_default() -> None:
    assert Windows.choose(4096) == Windows(1024, 512)
    assert Windows.choose(256) == Windows(256, 128)
    assert Windows.choose(4096, size=2048) == Windows(2048, 1024)
    assert Windows.choose(4096, stride=100) == Windows(1024, 100)


@pytest.mark.parametrize(
    ("size", "stride", "message"),
    [
        (257, None, "window must be at least 16 and at most 256"),
        (8, None, "window must be at least 16"),
        (64, 64, "stride must be at least 1 and less than the window of 64, not 64"),
        (None, 0, "stride must be at least 1"),
    ],
)
def test_impossible_windows(size: int | None, stride: int | None, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Windows.choose(256, size=size, stride=stride)


def test_a_text_that_is_too_short_says_how_much_is_needed() -> None:
    with pytest.raises(OptionError, match=f"it has 63 tokens, and at least {MIN_TOKENS} are needed"):
        cut_passages(range(63), [], Windows(256, 128))


def test_a_prefix_that_leaves_no_room() -> None:
    with pytest.raises(OptionError, match="no room for a stride of 15 after the 1 tokens"):
        cut_passages(range(100), [0], Windows(16, 15))


def test_what_a_tokenizer_puts_before_a_text(tmp_path: Path) -> None:
    plain, with_bos, with_both = (tmp_path / name for name in ("plain", "bos", "both"))
    for folder in (plain, with_bos, with_both):
        folder.mkdir()
    assert prefix_of(Tokenizer.from_folder(write_folder(plain, byte_level()))) == []
    backend = sentencepiece()
    assert prefix_of(Tokenizer.from_folder(write_folder(with_bos, backend))) == [1]
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert prefix_of(Tokenizer.from_folder(write_folder(with_both, backend))) == [1]
