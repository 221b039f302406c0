"""Tokenizers from metadata: byte-level BPE under every pre-tokenizer, SentencePiece's BPE, special tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, pre_tokenizers

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export.checkpoint.gguf.pre_tokenizers import PRE_TOKENIZERS
from genai.export.checkpoint.gguf.text_files import text_files
from genai.export.checkpoint.gguf.tokens import token_ids
from tests.export.gguf.texts import texts

Metadata = dict[str, Any]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, _, BYTE = range(1, 7)


def metadata(tokens: list[tuple[str, int]], **values: Any) -> Metadata:
    named = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": [token for token, _ in tokens],
        "tokenizer.ggml.token_type": np.asarray([kind for _, kind in tokens], np.int32),
        **named,
    }


def byte_level(**values: Any) -> Metadata:
    alphabet = [(token, NORMAL) for token in sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = [
        ("\u0120t", NORMAL),
        ("th", NORMAL),
        ("the", NORMAL),
        ("<|im_end|>", CONTROL),
        ("<tool>", USER_DEFINED),
    ]
    given = {"model": "gpt2", "pre": "gpt-2", "merges": ["\u0120 t", "t h", "th e"], **values}
    return metadata([*alphabet, *words], **given)


def sentence_piece(**values: Any) -> Metadata:
    pieces = ["\u2581", "h", "e", "l", "o", "he", "ll", "hell", "hello", "\u2581hello"]
    tokens = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    tokens += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    tokens += [(piece, NORMAL) for piece in pieces]
    scores = np.asarray([0.0] * 259 + [-float(index) for index in range(len(pieces), 0, -1)], np.float32)
    ids = {"unknown_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return metadata(tokens, **{"model": "llama", "scores": scores, **ids, **values})


def tokenizer_of(values: Metadata) -> Tokenizer:
    return Tokenizer.from_str(text_files(values)["tokenizer.json"])


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_every_pre_tokenizer_loses_nothing(name: str) -> None:
    tokenizer = tokenizer_of(byte_level(pre=name))
    for text in texts(40, seed=3):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_special_tokens_are_found_in_text() -> None:
    tokenizer = tokenizer_of(
        byte_level(add_bos_token=True, bos_token_id=259, eos_token_id=259, add_eos_token=True)
    )
    tokens = tokenizer.encode("the<|im_end|><tool> the").tokens
    assert tokens == ["<|im_end|>", "the", "<|im_end|>", "<tool>", "\u0120t", "h", "e", "<|im_end|>"]
    assert tokenizer.decode(tokenizer.encode("the<tool>").ids) == "the<tool>"


def test_pieces_are_merged_by_their_scores() -> None:
    tokenizer = tokenizer_of(sentence_piece())
    assert tokenizer.encode("hello hell").tokens == ["<s>", "\u2581hello", "\u2581", "hell"]
    assert tokenizer.encode("h\u00e9").tokens == ["<s>", "\u2581", "h", "<0xC3>", "<0xA9>"]
    for text in ("hello hell", "  two  spaces", "\n\u4e16\u754c"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    plain = tokenizer_of(sentence_piece(add_space_prefix=False, add_bos_token=False))
    assert plain.encode("hello").tokens == ["hello"]


def test_ends_of_answers() -> None:
    tokens = [
        ("<eos>", CONTROL),
        ("<|return|>", CONTROL),
        ("<|call|>", CONTROL),
        ("<|end|>", CONTROL),
        ("x", NORMAL),
    ]
    found = token_ids(metadata(tokens, eos_token_id=1, eot_token_id=4, bos_token_id=0, padding_token_id=3))
    assert found == {"bos_token_id": 0, "eos_token_id": [1, 4, 0, 2], "pad_token_id": 3}
    assert token_ids(metadata(tokens[3:], eos_token_id=0)) == {"eos_token_id": 0}
    assert token_ids(metadata([("<|im_end|>", NORMAL)])) == {}


def test_templates_and_sampling() -> None:
    values = byte_level() | {
        "tokenizer.chat_template": "{{ messages }}",
        "tokenizer.chat_template.tool_use": "{{ tools }}",
        "tokenizer.chat_template.../up": "{{ no }}",
        "general.sampling.temp": 0.6,
        "general.sampling.top_k": 20,
    }
    files = text_files(values)
    assert files["chat_template.jinja"] == "{{ messages }}"
    assert files["additional_chat_templates/tool_use.jinja"] == "{{ tools }}"
    assert len(files) == 5
    assert '"temperature": 0.6' in files["generation_config.json"]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (byte_level(pre="gpt2"), UnsupportedModelError, 'cuts text as "gpt2" does.*Did you mean "gpt-2"'),
        (byte_level(model="bert"), UnsupportedModelError, 'of the kind "bert"'),
        (byte_level(merges=["t q\u0416"]), CheckpointError, "whose parts are no tokens"),
        (byte_level(merges=[]), CheckpointError, "merges is missing"),
        (byte_level(eos_token_id=100_000), CheckpointError, "there are 261 tokens"),
        (byte_level(token_type=np.zeros(3, np.int32)), CheckpointError, "must hold 261 numbers"),
        (byte_level() | {"tokenizer.ggml.tokens": []}, CheckpointError, "must be a list of strings"),
        (sentence_piece(scores=np.zeros(0, np.float32)), CheckpointError, "must hold 269 numbers"),
    ],
)
def test_what_is_wrong_is_said(values: Metadata, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        text_files(values)
