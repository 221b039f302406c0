"""Reports as entries of the folder's manifest.json, and its model card, so that whoever gets the folder sees them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genai.errors import ModelFolderError
from genai.evaluation.report import Report
from genai.folder import CARD_FILE, MANIFEST_FILE, Manifest, model_card
from genai.folder.files import read_json
from genai.folder.model_card import is_own_card

__all__ = ["record", "record_report"]


def record_report(report: Report) -> bool:
    """Write a report into its folder's manifest.json, as `record` does."""
    return record(report.path, validation=report.to_json())


def record(folder: Path, **entries: Mapping[str, Any]) -> bool:
    """Write entries into a folder's manifest.json, in place of earlier ones, and its model card anew.

    Nothing else of the manifest changes, and a killed process leaves the old one whole. A card that somebody has made
    their own stays as it is.

    Returns:
        Whether there was a manifest to write to: another tool's folder is left as it is, and so is one in Hugging
        Face's cache, whose files are links to what was downloaded.

    Raises:
        ModelFolderError: The manifest cannot be read, or a file not written.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file() or path.is_symlink():
        return False
    content = {**read_json(path), **entries}
    card = folder / CARD_FILE
    try:
        _replace(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        if is_own_card(card):
            _replace(card, model_card(Manifest.from_json(content)))
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be written: {error.strerror or error}") from error
    return True


def _replace(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.chmod(temporary, path.stat().st_mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
