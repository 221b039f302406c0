"""Which paths are GGUF files: by what they begin with, whatever they are called, and as all that a folder holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["GGUF_SUFFIX", "gguf_file_of", "gguf_models", "gguf_parts"]

GGUF_SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_PART = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf", re.IGNORECASE)
_PROJECTOR = "mmproj"
"""What is in the names of files that hold the part of a model which sees images."""
_OTHER_WEIGHTS = ("*.safetensors", "*.onnx", "*/*.onnx")


def gguf_file_of(path: Path) -> Path | None:
    """Return the GGUF file that a path stands for: itself, or the only one of a folder without other weights."""
    if path.is_dir():
        found = gguf_models(file.name for file in path.iterdir() if file.is_file())
        if len(found) != 1 or any(next(path.glob(pattern), None) for pattern in _OTHER_WEIGHTS):
            return None
        return path / found[0]
    if not path.is_file():
        return None
    if path.suffix.lower() == GGUF_SUFFIX:
        return path
    with path.open("rb") as file:
        return path if file.read(len(_MAGIC)) == _MAGIC else None


def gguf_models(names: Iterable[str]) -> list[str]:
    """Return the names of the GGUF files that hold a language model: of one in several parts, the first.

    >>> gguf_models(["a-00002-of-00002.gguf", "a-00001-of-00002.gguf", "mmproj-a.gguf", "b.gguf", "b.txt"])
    ['a-00001-of-00002.gguf', 'b.gguf']
    """
    files = sorted(
        name for name in names if name.lower().endswith(GGUF_SUFFIX) and _PROJECTOR not in name.lower()
    )
    return [name for name in files if gguf_parts(name)[0] == name]


def gguf_parts(name: str) -> list[str]:
    """Return the names of all parts of a GGUF file, the first one first: of most, its own name alone.

    >>> gguf_parts("a-00002-of-00002.gguf"), gguf_parts("b.gguf")
    (['a-00001-of-00002.gguf', 'a-00002-of-00002.gguf'], ['b.gguf'])
    """
    match = _PART.fullmatch(name)
    if match is None or not 0 < int(match["part"]) <= int(match["parts"]):
        return [name]
    return [
        f"{match['stem']}-{part:05}-of-{match['parts']}.gguf" for part in range(1, int(match["parts"]) + 1)
    ]
