"""The store of exports: model folders that were made once and are kept under GENAI_HOME.

It owns the layout on disk, the locks that make two processes export a model once, and the cleaning up after
killed ones. It knows neither hub nor exporter: who makes a folder passes in how.

```
GENAI_HOME/
  models/<owner>--<name>/<revision>-<settings>-v<version>/   one model folder each
  refs/<owner>--<name>/<branch or tag>                       the commit that it stood for when last asked
  locks/
```
Exports of an earlier version of what an export writes are not found; they stay listed until they are removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genai.config import EXPORT_VERSION, ExportSettings
from genai.errors import ExportError, GenaiError, ModelFolderError
from genai.folder import Manifest, ModelFolder

__all__ = ["ExportKey", "Store", "StoredExport", "fingerprint", "genai_home"]

_REVISION_DIGITS = 12


def genai_home() -> Path:
    """Return the folder of genai's own files: GENAI_HOME, else one in the platform's cache folder."""
    if home := os.environ.get("GENAI_HOME"):
        return Path(home).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local) / "genai" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "genai"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genai"


@dataclass(frozen=True, slots=True)
class ExportKey:
    """What makes one export differ from another.

    Args:
        source: "owner/name[:subfolder]", or the path of a local checkpoint.
        revision: Commit hash of the repository, or `fingerprint` of the local checkpoint.
        settings: How it is exported.
        version: The version of what an export writes.
    """

    source: str
    revision: str
    settings: ExportSettings
    version: int = EXPORT_VERSION

    @property
    def name(self) -> str:
        """The folder's name within its source's.

        >>> ExportKey("owner/name", "0123456789abcdef", ExportSettings(), version=2).name
        '0123456789ab-int4-v2'
        """
        revision = urllib.parse.quote(self.revision[:_REVISION_DIGITS], safe="")
        return f"{revision}-{self.settings.name}-v{self.version}"


@dataclass(frozen=True, slots=True)
class StoredExport:
    """An export that the store holds.

    Args:
        path: The model folder.
        source: "owner/name[:subfolder]", or the path of a local checkpoint.
        revision: Commit hash, or fingerprint, perhaps only its beginning.
        precision: Its precision.
        size_bytes: Size of its files.
        manifest: Its manifest.json; `None` if the folder is damaged.
    """

    path: Path
    source: str
    revision: str
    precision: str
    size_bytes: int
    manifest: Manifest | None

    @property
    def is_current(self) -> bool:
        """Whether it is whole and of this version of what an export writes; others are not used, only listed."""
        return self.manifest is not None and self.manifest.export_version == EXPORT_VERSION


class Store:
    """The exports under one folder.

    Args:
        home: The folder; by default `genai_home()`.
    """

    def __init__(self, home: Path | None = None) -> None:
        self._home = (home or genai_home()).absolute()

    def path(self, key: ExportKey) -> Path:
        """Return where an export is or would be."""
        return self._home / "models" / _folder_name(key.source) / key.name

    def find(self, key: ExportKey) -> ModelFolder | None:
        """Return the folder of an export if the store has it and it is not damaged."""
        path = self.path(key)
        if not path.is_dir():
            return None
        try:
            return ModelFolder.load(path)
        except GenaiError:
            return None

    def find_or_make(
        self,
        key: ExportKey,
        make: Callable[[Path], ModelFolder],
        *,
        on_wait: Callable[[], None] | None = None,
    ) -> ModelFolder:
        """Return the folder of an export, made now if the store lacks it or it is damaged, once however many ask.

        Args:
            key: Which export.
            make: Writes the folder at the path it is given, whole or not at all (as `staged_folder` does), and
                returns it.
            on_wait: Called once if somebody else is making it.

        Raises:
            ExportError: The store cannot be written, or `make` failed to.
        """
        if (found := self.find(key)) is not None:
            return found
        path = self.path(key)
        with self._locked(path, on_wait):
            _remove_leftovers(path)
            if (found := self.find(key)) is not None:
                return found
            shutil.rmtree(path, ignore_errors=True)
            return make(path)

    def exports(self) -> tuple[StoredExport, ...]:
        """List the exports, damaged ones included."""
        folders = (self._home / "models").glob("*/*")
        return tuple(_read_export(path) for path in sorted(folders) if _is_visible_folder(path))

    def remove(self, export: StoredExport) -> None:
        """Remove an export from the disk; at no moment does a part of it look whole.

        Raises:
            ExportError: The disk refuses.
        """
        path = export.path
        with self._locked(path, None):
            _remove_leftovers(path)
            try:
                aside = tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent)
                path.replace(Path(aside) / path.name)
                shutil.rmtree(aside)
            except OSError as error:
                raise ExportError(f"{path} cannot be removed: {error.strerror}") from error

    def commit(self, source: str, revision: str) -> str | None:
        """Return the commit that a branch or tag stood for when it was last remembered."""
        try:
            return self._ref_path(source, revision).read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def remember_commit(self, source: str, revision: str, commit: str) -> None:
        """Keep the commit that a branch or tag stands for now.

        Raises:
            ExportError: The store cannot be written.
        """
        path = self._ref_path(source, revision)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(commit)
            os.replace(temporary, path)
        except OSError as error:
            raise ExportError(f"cannot write {path}: {error.strerror}; set GENAI_HOME elsewhere") from error

    def _ref_path(self, source: str, revision: str) -> Path:
        return self._home / "refs" / _folder_name(source) / urllib.parse.quote(revision, safe="")

    @contextlib.contextmanager
    def _locked(self, path: Path, on_wait: Callable[[], None] | None) -> Iterator[None]:
        from filelock import FileLock, Timeout

        path = self._home / "locks" / f"{path.parent.name}--{path.name}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0.2)
            except Timeout:
                if on_wait is not None:
                    on_wait()
                lock.acquire()
        except (OSError, NotImplementedError) as error:
            raise ExportError(f"cannot lock {path} ({error}); set GENAI_HOME to another disk") from error
        try:
            yield
        finally:
            lock.release()


def fingerprint(checkpoint: Path) -> str:
    """Return a digest of a local checkpoint's path and its files' names, sizes and times of change.

    Args:
        checkpoint: A folder, or a GGUF file.
    """
    import hashlib

    digest = hashlib.sha256(str(checkpoint.resolve()).encode())
    for path in sorted(checkpoint.iterdir()) if checkpoint.is_dir() else [checkpoint]:
        if path.is_file():
            stat = path.stat()
            digest.update(f"\0{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def _folder_name(source: str) -> str:
    """Return a source's folder: no two repositories or subfolders share one; local checkpoints of one name do.

    >>> _folder_name("owner/name:cpu/int4")
    'owner--name--cpu--int4'
    """
    if os.path.isabs(source):
        return f"local--{Path(source).name}"
    return source.replace("--", "-%2D").replace("/", "--").replace(":", "--")


def _is_visible_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _read_export(path: Path) -> StoredExport:
    revision, _, precision = path.name.partition("-")
    size_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    try:
        manifest = ModelFolder.load(path).manifest
    except ModelFolderError:
        manifest = None
    if manifest is None:
        owner_and_name = path.parent.name.replace("--", "/", 1)
        return StoredExport(path, owner_and_name, revision, precision.partition("-")[0], size_bytes, None)
    return StoredExport(
        path, manifest.source, manifest.revision or revision, manifest.precision, size_bytes, manifest
    )


def _remove_leftovers(path: Path) -> None:
    """Remove what killed exports left beside the path; its lock is held, so nobody is writing there."""
    if not path.parent.is_dir():
        return
    for other in path.parent.iterdir():
        if other.name.startswith((f".{path.name}.partial-", f".{path.name}.old-")):
            shutil.rmtree(other, ignore_errors=True)
