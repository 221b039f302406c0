"""The licence that a checkpoint states of itself: in its README.md's metadata, or in a GGUF file's."""

from __future__ import annotations

import re
from pathlib import Path

from genai.export.checkpoint.gguf.reader import read_gguf
from genai.folder.gguf_files import gguf_file_of

__all__ = ["stated_license"]

_MAX_BYTES = 65536
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)


def stated_license(checkpoint: Path) -> str | None:
    """Return the identifier or name of a checkpoint's licence; `None` if it states none.

    Raises:
        CheckpointError: A GGUF file cannot be read.
    """
    if (file := gguf_file_of(checkpoint)) is not None:
        metadata = read_gguf(file).metadata
        stated = {key: metadata.get(f"general.{key}") for key in ("license", "license.name")}
    else:
        text = _front_matter(checkpoint / "README.md")
        stated = {"license": _value("license", text), "license.name": _value("license_name", text)}
    named = {key: value.strip() for key, value in stated.items() if isinstance(value, str) and value.strip()}
    if named.get("license", "other").lower() == "other":
        return named.get("license.name") or named.get("license")
    return named["license"]


def _front_matter(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES).decode("utf-8", errors="replace").replace("\r\n", "\n")
    found = _FRONT_MATTER.search(text)
    return found[1] if found else ""


def _value(key: str, text: str) -> str | None:
    """Return a plain scalar of YAML's, which is all that the hub has here."""
    found = re.search(rf"^{key}:[ \t]*([\"']?)([^\"'\n#\[\]{{}}]+)\1[ \t]*(#.*)?$", text, re.MULTILINE)
    return found[2] if found else None
