"""A folder's files against the sha256 that its manifest has of them."""

from __future__ import annotations

from pathlib import Path

from genai.errors import ModelFolderError
from genai.evaluation.report import Check, failed, passed, skipped
from genai.folder import MANIFEST_FILE, Manifest, sha256_of
from genai.folder.files import read_json

__all__ = ["check_checksums"]

_DOCUMENTS = ("readme", "license", "notice")


def check_checksums(path: Path) -> Check:
    """See that the files are those of the export: none missing, none changed, none more.

    Hidden files and documents about the model (README, LICENSE, NOTICE) may come and go. Nothing but the manifest has
    to be readable, so that the damaged files of a folder are named even if its configuration is one of them.

    Args:
        path: The folder.
    """
    if not (path / MANIFEST_FILE).is_file():
        return skipped("checksums", f"the folder has no {MANIFEST_FILE}: another tool made it")
    try:
        expected = Manifest.from_json(read_json(path / MANIFEST_FILE)).files
    except ModelFolderError as error:
        return skipped("checksums", str(error))
    present = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    missing = sorted(expected.keys() - present.keys())
    extra = [name for name in present if name not in expected and not _is_beside_the_model(name)]
    changed = [name for name in expected if name in present and sha256_of(present[name]) != expected[name]]
    figures = {"num_files": len(expected), "missing": missing, "changed": changed, "extra": extra}
    problems = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("missing", missing),
            ("changed since the export", changed),
            ("not of the export", extra),
        )
        if names
    ]
    if problems:
        return failed("checksums", problems, **figures)
    return passed("checksums", f"{len(expected)} files are as they were exported", **figures)


def _is_beside_the_model(name: str) -> bool:
    parts = name.split("/")
    return (
        name == MANIFEST_FILE
        or any(part.startswith(".") for part in parts)
        or parts[-1].lower().startswith(_DOCUMENTS)
    )
