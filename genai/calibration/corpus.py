"""The text of a calibration, and how it is cut into sequences of tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genai.errors import OptionError
from genai.text import Tokenizer, prefix_of, read_utf8

__all__ = [
    "MIN_TOKENS",
    "CalibrationText",
    "cut_sequences",
    "describe",
    "packaged_text",
    "read_calibration_text",
]

MIN_TOKENS = 2048
"""Fewer say too little about which inputs a layer gets."""

MAX_LENGTH = 1024
MAX_SEQUENCES = 128  # 131,072 tokens: as many as GPTQ's authors take, and more change little

_FOLDER = Path(__file__).parent / "texts"
_ENDINGS = (".txt", ".jsonl")
_DIGEST_DIGITS = 16


@dataclass(frozen=True, slots=True)
class CalibrationText:
    """A text to calibrate with.

    Args:
        name: What a manifest calls it: a file's or folder's name.
        content: The text.
    """

    name: str
    content: str

    @property
    def digest(self) -> str:
        """The beginning of the content's sha256, in hexadecimal."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:_DIGEST_DIGITS]


def packaged_text() -> CalibrationText:
    """Return the text that comes with the package: prose, dialogue, code, lists and some other languages.

    It was written for this purpose, and is unlike the texts that come with the package to measure models on.
    """
    return CalibrationText("genai", _read_folder(_FOLDER))


def read_calibration_text(path: Path | str) -> CalibrationText:
    """Read a text file, a file of JSON lines, or all of a folder's.

    A JSON line is a string, or an object with a "text".

    Raises:
        OptionError: There is none, or it is not UTF-8, or a JSON line holds no text.
    """
    path = Path(path)
    return CalibrationText(path.name, _read_folder(path) if path.is_dir() else _read_file(path))


def cut_sequences(
    text: CalibrationText, tokenizer: Tokenizer, *, context_length: int
) -> Sequence[NDArray[np.int64]]:
    """Return sequences of one length, of at most 1,024 tokens, evenly spread over a text: int64 [tokens] each.

    Each begins with what the tokenizer puts before a text.

    Raises:
        OptionError: The text is too short.
    """
    token_ids = tokenizer.encode(text.content, add_special_tokens=False)
    if len(token_ids) < MIN_TOKENS:
        raise OptionError(
            f'the calibration text "{text.name}" has {len(token_ids)} tokens, and at least {MIN_TOKENS} are needed: '
            "give a longer text, or none for the one that comes with genai"
        )
    prefix = prefix_of(tokenizer)
    room = min(context_length, MAX_LENGTH) - len(prefix)
    count = min(len(token_ids) // room, MAX_SEQUENCES)
    starts = np.linspace(0, len(token_ids) - room, count).astype(int)
    return [np.asarray([*prefix, *token_ids[start : start + room]], np.int64) for start in starts.tolist()]


def describe(text: CalibrationText, sequences: Sequence[NDArray[np.int64]]) -> Mapping[str, object]:
    """Return what a manifest says of the text of a calibration, and of what was taken from it."""
    return {
        "text": text.name,
        "text_sha256": text.digest,
        "num_tokens": sum(map(len, sequences)),
        "sequence_length": len(sequences[0]),
    }


def _read_folder(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in _ENDINGS)
    if not files:
        raise OptionError(f"{folder} holds no text to calibrate with: no {' or '.join(_ENDINGS)} files")
    return "\n\n".join(_read_file(path) for path in files)


def _read_file(path: Path) -> str:
    content = read_utf8(path)
    if path.suffix != ".jsonl":
        return content
    lines = enumerate(content.splitlines(), start=1)
    return "\n\n".join(_text_of(line, f"{path}:{number}") for number, line in lines if line.strip())


def _text_of(line: str, place: str) -> str:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise OptionError(f"{place}: not JSON: {error}") from error
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise OptionError(f'{place}: a line is a string, or an object with a "text", not {value!r:.100}')
    return text
