"""Streaming detokenization: token ids in, text that can no longer change out.

A tokenizer's decoder works on the whole list of tokens, and what a token reads as depends on its neighbours: a
character may be spread over several tokens, the first token loses its leading space, a byte that completes no
character becomes U+FFFD. Each class below handles one kind of decoder exactly: the pieces joined equal the decoding
of all ids. Nothing here reads files or knows how text is encoded.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import tokenizers

__all__ = ["Detokenizer", "DetokenizerFactory", "clean_up_spaces"]

TokenOf = Callable[[int], str | None]
"""Gives a token's string, or `None` where the id is unknown or to be skipped."""


class Detokenizer(Protocol):
    """Turns one sequence of token ids into text, piece by piece."""

    def push(self, token_id: int, /) -> str:
        """Take the next token and return the text that is now certain, which may be empty."""
        ...

    def finish(self) -> str:
        """Return the text that was held back; the detokenizer is then spent."""
        ...


class DetokenizerFactory:
    """Makes detokenizers for one tokenizer; what they learn about its tokens is kept and shared between them.

    Args:
        decoder: The tokenizer's decoder; `None` joins tokens with spaces, as the tokenizers library does.
        token_of: Gives a token's string, or `None` where the id is unknown or to be skipped.
        clean_up: Whether decoded text goes through `clean_up_spaces`.
    """

    def __init__(
        self, decoder: tokenizers.decoders.Decoder | None, token_of: TokenOf, *, clean_up: bool
    ) -> None:
        steps = _decoder_steps(decoder)
        kinds = [step["type"] for step in steps]
        self._make: Callable[[], Detokenizer]
        if kinds == ["ByteLevel"]:
            token_bytes = _TokenBytes(token_of)
            self._make = lambda: _ByteLevelDetokenizer(token_bytes)
        elif _is_local(steps):
            pieces = _Pieces(decoder, token_of, byte_fallback="ByteFallback" in kinds)
            self._make = lambda: _PieceDetokenizer(pieces)
        else:
            self._make = lambda: _HoldingDetokenizer(decoder, token_of)
        self._clean_up = clean_up

    def __call__(self) -> Detokenizer:
        """Return a fresh detokenizer."""
        return _CleaningDetokenizer(self._make()) if self._clean_up else self._make()


def clean_up_spaces(text: str) -> str:
    """Remove the spaces that WordPiece-like tokenizers leave around punctuation, exactly as transformers does.

    >>> clean_up_spaces("Yes , it is n't .")
    "Yes, it isn't."
    """
    for spaced, clean in _CLEAN_UPS:
        text = text.replace(spaced, clean)
    return text


# In transformers' order; every pattern starts with a space and has at most four characters.
_CLEAN_UPS = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


# --- byte-level decoders: GPT-2, Llama 3, Qwen, Phi-4, ... ---


def _byte_of_character() -> dict[str, int]:
    """Return GPT-2's map of printable characters to bytes, which byte-level vocabularies are written in."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


class _TokenBytes(dict[int, bytes]):
    """The bytes of each token, worked out when first asked for."""

    def __init__(self, token_of: TokenOf) -> None:
        self._token_of = token_of
        self._byte_of = _byte_of_character()

    def __missing__(self, token_id: int) -> bytes:
        token = self._token_of(token_id) or ""
        try:
            value = bytes([self._byte_of[character] for character in token])
        except KeyError:  # an added token, written as plain text
            value = token.encode()
        self[token_id] = value
        return value


class _ByteLevelDetokenizer:
    """Tokens are bytes: an incremental UTF-8 decoder holds back exactly the unfinished character."""

    __slots__ = ("_decode", "_token_bytes")

    def __init__(self, token_bytes: _TokenBytes) -> None:
        self._token_bytes = token_bytes
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def push(self, token_id: int, /) -> str:
        return self._decode(self._token_bytes[token_id])

    def finish(self) -> str:
        return self._decode(b"", True)


# --- decoders that treat each token on its own: SentencePiece style, Metaspace, WordPiece, ... ---


class _Piece(NamedTuple):
    """What one token reads as.

    Args:
        first: Its text at the start of a sequence.
        text: Its text anywhere else.
        tail: What follows that text if another token comes (the space after a word's end).
        byte: The token itself if it stands for one byte: its text depends on the run of bytes it is part of.
        is_skipped: The token leaves no trace.
    """

    first: str = ""
    text: str = ""
    tail: str = ""
    byte: str = ""
    is_skipped: bool = False


_BYTE_TOKEN = re.compile(r"<0x[+0-9A-Fa-f][0-9A-Fa-f]>")
_ANCHOR = "a"
"""A token that reads as itself under every decoder; putting it beside a token shows what the neighbours get."""


class _Pieces(dict[int, _Piece]):
    """The piece of each token, worked out with the real decoder when first asked for."""

    def __init__(
        self, decoder: tokenizers.decoders.Decoder | None, token_of: TokenOf, *, byte_fallback: bool
    ) -> None:
        self._token_of = token_of
        self._decode: Callable[[list[str]], str] = decoder.decode if decoder is not None else " ".join
        self._byte_fallback = byte_fallback
        self._anchor_size = len(self._decode([_ANCHOR, _ANCHOR])) - len(_ANCHOR)

    def __missing__(self, token_id: int) -> _Piece:
        piece = self[token_id] = self._make(token_id)
        return piece

    def _make(self, token_id: int) -> _Piece:
        token = self._token_of(token_id)
        if token is None:
            return _Piece(is_skipped=True)
        if self._byte_fallback and _BYTE_TOKEN.fullmatch(token):
            return _Piece(byte=token)
        text = self.read([token], is_first=False)
        followed = self._decode([_ANCHOR, token, _ANCHOR])[len(_ANCHOR) :]
        tail = followed[: len(followed) - self._anchor_size].removeprefix(text)
        return _Piece(first=self.read([token], is_first=True), text=text, tail=tail)

    def read(self, tokens: list[str], *, is_first: bool) -> str:
        """Return the text of consecutive tokens, at the start of a sequence or after other tokens."""
        if is_first:
            return self._decode(tokens)
        return self._decode([_ANCHOR, *tokens])[len(_ANCHOR) :]


class _PieceDetokenizer:
    """Joins pieces; a run of byte tokens waits for its end, since one wrong byte makes all of it U+FFFD."""

    __slots__ = ("_bytes", "_is_first", "_pieces", "_tail")

    def __init__(self, pieces: _Pieces) -> None:
        self._pieces = pieces
        self._is_first = True
        self._tail = ""
        self._bytes: list[str] = []

    def push(self, token_id: int, /) -> str:
        first, text, tail, byte, is_skipped = self._pieces[token_id]
        if is_skipped:
            return ""
        if byte:
            self._bytes.append(byte)
            return ""
        before = self._end_bytes() if self._bytes else ""
        if self._is_first:
            self._is_first = False
            text = first
        if self._tail:
            before += self._tail
        self._tail = tail
        return before + text

    def finish(self) -> str:
        return self._end_bytes() if self._bytes else ""

    def _end_bytes(self) -> str:
        text = self._tail + self._pieces.read(self._bytes, is_first=self._is_first)
        self._is_first = False
        self._tail = ""
        self._bytes = []
        return text


# --- everything else ---


class _HoldingDetokenizer:
    """For decoders under which any token may change any text before it: all text comes at the end."""

    def __init__(self, decoder: tokenizers.decoders.Decoder | None, token_of: TokenOf) -> None:
        assert decoder is not None, "without a decoder, tokens are joined one by one"
        self._decoder = decoder
        self._token_of = token_of
        self._tokens: list[str] = []

    def push(self, token_id: int, /) -> str:
        token = self._token_of(token_id)
        if token is not None:
            self._tokens.append(token)
        return ""

    def finish(self) -> str:
        return str(self._decoder.decode(self._tokens))


class _CleaningDetokenizer:
    """Applies `clean_up_spaces` to another detokenizer's text.

    Text may be cut where the three characters before hold no space: patterns start with a space and have at most
    four characters, and cleaning only ever removes spaces, so none reaches across such a cut.
    """

    def __init__(self, inner: Detokenizer) -> None:
        self._inner = inner
        self._held = ""

    def push(self, token_id: int, /) -> str:
        self._held += self._inner.push(token_id)
        cut = next((i for i in range(len(self._held), 2, -1) if " " not in self._held[i - 3 : i]), 0)
        settled, self._held = self._held[:cut], self._held[cut:]
        return clean_up_spaces(settled)

    def finish(self) -> str:
        return clean_up_spaces(self._held + self._inner.finish())


# --- what kind of decoder it is ---


def _decoder_steps(decoder: tokenizers.decoders.Decoder | None) -> list[Mapping[str, Any]]:
    """Return the decoder's steps in order, nested sequences flattened."""

    def flatten(step: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        if step["type"] != "Sequence":
            return [step]
        return [inner for outer in step["decoders"] for inner in flatten(outer)]

    return flatten(json.loads(decoder.__getstate__())) if decoder is not None else []


def _is_local(steps: list[Mapping[str, Any]]) -> bool:
    """Whether the decoder's text is a join of per-token texts, of which only the first may differ."""
    is_fused = False
    for step in steps:
        kind = step["type"]
        if kind == "Fuse":
            is_fused = True
        elif not is_fused:
            if kind not in ("ByteFallback", "Replace", "Strip", "Metaspace", "WordPiece", "BPEDecoder"):
                return False
        # On the whole text, a step is local if it looks at single characters or strips one at the start.
        elif kind == "Replace":
            if len(step["pattern"].get("String", "")) != 1:
                return False
        elif kind != "Strip" or step["start"] > 1 or step["stop"] > 0:
            return False
    return True
