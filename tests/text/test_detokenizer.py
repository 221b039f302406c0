import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai.text import Detokenizer, Tokenizer
from genai.text.detokenizer import clean_up_spaces
from genai.text.tokenizer_files import TokenizerFiles
from tests.text.tokenizers_for_tests import CORPUS, KINDS


@functools.cache
def tokenizer_of(kind: str, *, clean_up: bool = False) -> Tokenizer:
    backend = KINDS[kind]()
    return Tokenizer(
        TokenizerFiles(
            backend=backend,
            special_tokens={"bos_token": "<s>", "eos_token": "</s>"},
            special_ids=frozenset(i for i, t in backend.get_added_tokens_decoder().items() if t.special),
            clean_up_spaces=clean_up,
            chat_templates={},
        )
    )


def stream(detokenizer: Detokenizer, token_ids: list[int]) -> list[str]:
    return [*map(detokenizer.push, token_ids), detokenizer.finish()]


def ids_of(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    """Random ids, some of them unknown, mixed with the ids of real text."""
    anything = st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=12)
    text = st.sampled_from(CORPUS[:4]).map(lambda text: tokenizer.encode(text)[:40])
    return st.lists(anything | text, max_size=3).map(
        lambda parts: [token_id for part in parts for token_id in part]
    )


@pytest.mark.parametrize("clean_up", [False, True])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_joined_equal_the_decoding_of_all(kind, skip, clean_up):
    tokenizer = tokenizer_of(kind, clean_up=clean_up)

    @settings(max_examples=60, deadline=None)
    @given(token_ids=ids_of(tokenizer))
    def check(token_ids):
        whole = tokenizer.decode(token_ids, skip_special_tokens=skip)
        assert "".join(stream(tokenizer.detokenizer(skip_special_tokens=skip), token_ids)) == whole

    check()


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece", "gemma"])
@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(st.binary(min_size=1, max_size=4) | st.sampled_from(["é", "日", "👩‍👧", "a"]), max_size=8)
)
def test_any_bytes_at_all(kind, data):
    tokenizer = tokenizer_of(kind)
    raw = b"".join(part.encode() if isinstance(part, str) else part for part in data)
    if kind == "byte_level":
        from genai.text.detokenizer import _byte_of_character

        spelled = {byte: character for character, byte in _byte_of_character().items()}
        token_ids = [tokenizer.token_to_id(spelled[byte]) for byte in raw]
    else:
        token_ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in raw]
    assert None not in token_ids
    assert "".join(stream(tokenizer.detokenizer(), token_ids)) == tokenizer.decode(token_ids)


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece", "gemma"])
def test_no_half_character_is_ever_emitted(kind):
    tokenizer = tokenizer_of(kind)
    text = "a 👩‍👩‍👧 日本 ü. b"
    pieces = stream(tokenizer.detokenizer(), tokenizer.encode(text))
    assert "".join(pieces) == text
    assert not any("�" in piece for piece in pieces)


@pytest.mark.parametrize(
    "kind", ["byte_level", "sentencepiece", "gemma", "unigram", "word_piece", "word_level"]
)
def test_text_comes_without_delay(kind):
    tokenizer = tokenizer_of(kind)
    token_ids = tokenizer.encode("Once upon a time there was a model")
    detokenizer = tokenizer.detokenizer()
    for i, token_id in enumerate(token_ids):
        before = tokenizer.decode(token_ids[:i])
        assert detokenizer.push(token_id) == tokenizer.decode(token_ids[: i + 1])[len(before) :]


def test_an_invalid_byte_is_told_as_soon_as_it_is_certain():
    tokenizer = tokenizer_of("byte_level")
    lead = tokenizer.token_to_id("æ")  # byte 0xE6, which begins three-byte characters
    detokenizer = tokenizer.detokenizer()
    assert tokenizer.decode([lead]) == "�"
    assert detokenizer.push(lead) == ""
    assert detokenizer.push(lead) == "�"
    assert detokenizer.finish() == "�"


def test_detokenizers_of_one_tokenizer_are_independent():
    tokenizer = tokenizer_of("sentencepiece")
    token_ids = tokenizer.encode("the small model")
    first, second = tokenizer.detokenizer(), tokenizer.detokenizer()
    joined = ["", ""]
    for token_id in token_ids:
        joined[0] += first.push(token_id)
        joined[1] += second.push(token_id)
    assert joined == ["the small model"] * 2


def test_text_that_needs_cleaning_is_held_only_briefly():
    tokenizer = tokenizer_of("word_piece_uncleaned", clean_up=True)
    detokenizer = tokenizer.detokenizer()
    pieces = stream(detokenizer, tokenizer.encode("The model didn't jump, it's lazy."))
    assert "".join(pieces) == clean_up_spaces("".join(pieces))
    assert sum(map(bool, pieces)) > 5


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=15)
def test_special_tokens_can_be_kept(kind: str, data: st.DataObject) -> None:
    """What is kept reads as it does where nothing is skipped; the rest is as if it had not been there."""
    tokenizer = tokenizer_of(kind)
    ids = data.draw(ids_of(tokenizer))
    kept = frozenset(data.draw(st.sets(st.sampled_from(sorted(tokenizer.special_ids)))))
    keeping = tokenizer.keeping(kept)
    shown = [each for each in ids if each in kept or each not in tokenizer.special_ids]
    assert keeping.decode(ids) == tokenizer.decode(shown, skip_special_tokens=False)
    assert "".join(stream(keeping.detokenizer(), ids)) == keeping.decode(ids)
    assert tokenizer.keeping(()).decode(ids) == tokenizer.decode(ids)
