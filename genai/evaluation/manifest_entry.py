"""The report as an entry of the folder's manifest.json, so that whoever gets the folder sees what was checked."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from genai.errors import ModelFolderError
from genai.evaluation.report import Report
from genai.folder import MANIFEST_FILE
from genai.folder.files import read_json

__all__ = ["record_report"]


def record_report(report: Report) -> bool:
    """Write a report into its folder's manifest.json, in place of an earlier one.

    Nothing else of the manifest changes, and a killed process leaves the old one whole.

    Returns:
        Whether there was a manifest to write to: another tool's folder is left as it is, and so is one in Hugging
        Face's cache, whose files are links to what was downloaded.

    Raises:
        ModelFolderError: The manifest cannot be read or written.
    """
    path = report.path / MANIFEST_FILE
    if not path.is_file() or path.is_symlink():
        return False
    content = {**read_json(path), "validation": report.to_json()}
    try:
        _replace(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
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
