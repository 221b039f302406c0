"""Which paths are GGUF files: by what they begin with, whatever they are called, and as all that a folder holds."""

from __future__ import annotations

from pathlib import Path

from genai.folder.files import CONFIG_FILE, HF_CONFIG_FILE

__all__ = ["GGUF_SUFFIX", "gguf_file_of", "gguf_models"]

GGUF_SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_PROJECTOR = "mmproj"
"""What the names of files begin with, or have in them, that hold the part of a model which sees images."""


def gguf_file_of(path: Path) -> Path | None:
    """Return the GGUF file that a path stands for: itself, or the only one of a folder without a config of its own."""
    if path.is_dir():
        if (path / CONFIG_FILE).is_file() or (path / HF_CONFIG_FILE).is_file():
            return None
        found = gguf_models([file.name for file in path.iterdir() if file.is_file()])
        return path / found[0] if len(found) == 1 else None
    if not path.is_file():
        return None
    if path.suffix.lower() == GGUF_SUFFIX:
        return path
    with path.open("rb") as file:
        return path if file.read(len(_MAGIC)) == _MAGIC else None


def gguf_models(names: list[str]) -> list[str]:
    """Return the names of the GGUF files that hold a language model: of one in several parts, the first.

    >>> gguf_models(["a-00002-of-00002.gguf", "a-00001-of-00002.gguf", "mmproj-a.gguf", "b.gguf", "b.txt"])
    ['a-00001-of-00002.gguf', 'b.gguf']
    """
    files = sorted(name for name in names if name.lower().endswith(GGUF_SUFFIX))
    return [name for name in files if _PROJECTOR not in name.lower() and not _is_later_part(name)]


def _is_later_part(name: str) -> bool:
    stem, _, total = name[: -len(GGUF_SUFFIX)].rpartition("-of-")
    part = stem.rpartition("-")[2]
    return total.isdecimal() and part.isdecimal() and len(part) == 5 and int(part) > 1
