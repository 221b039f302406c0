"""How a folder is written whole or not at all: staged beside its target, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from genai.errors import ExportError
from genai.folder.files import CONFIG_FILE

__all__ = ["check_target", "sha256_of", "staged_folder"]


def check_target(target: Path, *, overwrite: bool, mark: str = CONFIG_FILE) -> None:
    """See that a folder may be made at the target.

    Args:
        target: The folder to make.
        overwrite: Whether a folder of the same kind may be replaced.
        mark: The file that every folder of this kind has; a model folder's is genai_config.json.

    Raises:
        ExportError: Something is there already, or something of another kind would be overwritten.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise ExportError(f"{target} exists already; choose another folder or pass overwrite (--overwrite)")
    if not (target / mark).is_file():
        kind = "is no model folder" if mark == CONFIG_FILE else f"has no {mark}"
        raise ExportError(
            f"{target} {kind}, and overwriting would remove all that is there; choose another folder or remove it "
            "yourself"
        )


@contextlib.contextmanager
def staged_folder(target: Path | str, *, overwrite: bool = False, mark: str = CONFIG_FILE) -> Iterator[Path]:
    """Yield an empty folder beside the target, which becomes the target when the block ends well.

    Until then nothing exists at the target; if the block fails or the process dies, nothing ever does (a killed
    process leaves only a hidden folder named `.<target>.partial-*`). The arguments are those of `check_target`.

    Raises:
        ExportError: The target exists already and is not empty, or the disk refuses.
    """
    target = Path(target)
    check_target(target, overwrite=overwrite, mark=mark)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise ExportError(f"cannot write beside {target}: {error.strerror}") from error
    try:
        yield staging
        staging.chmod(0o755)
        for path in sorted(staging.rglob("*")):
            if path.is_file():
                _fsync(path)
        check_target(target, overwrite=overwrite, mark=mark)  # another export may have been quicker
        _replace_folder(staging, target)
    except OSError as error:
        raise ExportError(f"writing {target} failed: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    import hashlib  # with all of OpenSSL, which generating does not need

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace_folder(staging: Path, target: Path) -> None:
    """Rename staging to target; an existing target is moved aside first and removed last."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
        target.replace(aside / target.name)
        staging.replace(target)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        staging.replace(target)
    _fsync(target.parent)


def _fsync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder for syncing
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
