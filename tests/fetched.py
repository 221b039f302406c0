"""What tests fetch and build, kept between runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["cache_folder", "cached", "pip_packages"]


def cache_folder() -> Path:
    """Return the folder of everything: GENAI_TEST_CACHE, else one in the user's cache."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("GENAI_TEST_CACHE") or user_cache / "genai-tests")


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, which `make` fills if it is not there; a run that is cut off leaves none."""
    root = cache_folder()
    folder = root / name
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
        try:
            make(draft)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def pip_packages(*requirements: str) -> Path:
    """Return a folder with exact versions of packages unpacked, without what they depend on.

    They stay out of the environment, where they would be loaded in every other test too.
    """

    def install(folder: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        subprocess.run([*command, "--target", str(folder), *requirements], check=True)

    return cached("+".join(requirements), install)
