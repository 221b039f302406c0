"""A folder's files against the sha256 that its manifest has of them."""

from __future__ import annotations

from genai.evaluation.report import Check, failed, passed, skipped
from genai.folder import MANIFEST_FILE, ModelFolder, sha256_of

__all__ = ["check_checksums"]

_DOCUMENTS = ("readme", "license", "notice")


def check_checksums(folder: ModelFolder) -> Check:
    """See that the files are those of the export: none missing, none changed, none more.

    Hidden files and documents about the model (README, LICENSE, NOTICE) may come and go.
    """
    if folder.manifest is None:
        return skipped("checksums", f"the folder has no {MANIFEST_FILE}: another tool made it")
    expected = folder.manifest.files
    present = {
        path.relative_to(folder.path).as_posix(): path
        for path in sorted(folder.path.rglob("*"))
        if path.is_file()
    }
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
