"""Packages that tests with the mark `deploy` need: fetched once, into a folder that GENAI_TEST_CACHE names."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from genai.deploy import web_libraries
from tests.fetched import cache_folder, cached

__all__ = ["npm_packages", "python_environment", "web_packages"]


def npm_packages(*packages: str) -> Path:
    """Return a folder `node_modules` with these packages ("name@version"); their install scripts do not run."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")

    def install(target: Path) -> None:
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(target)]
        subprocess.run(["npm", "install", *options, *packages], check=True, capture_output=True)

    return cached(_name("npm", packages), install) / "node_modules"


def web_packages() -> Path:
    """Return a folder `node_modules` with the libraries of the web page, in the versions that it names."""
    return npm_packages(*(f"{library.package}@{library.version}" for library in web_libraries.LIBRARIES))


def python_environment(*packages: str) -> Path:
    """Return the Python of an environment with these packages ("name==version"), which sees genai's own too.

    It is made where it stays, since programs in it name the place; one that was stopped on the way is made again.
    """
    target = cache_folder() / _name("python", packages)
    done = target / ".complete"
    if not done.exists():
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        venv.create(target, with_pip=True)
        here = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
        (site_packages,) = target.glob("lib/python*/site-packages")
        subprocess.run(
            [str(target / "bin" / "python"), "-m", "pip", "install", "-q", *packages],
            check=True,
            capture_output=True,
        )
        (site_packages / "beside.pth").write_text("\n".join(here.split(os.pathsep)) + "\n")
        done.touch()
    return target / "bin" / "python"


def _name(kind: str, packages: tuple[str, ...]) -> str:
    return f"{kind}-{hashlib.sha256(repr(packages).encode()).hexdigest()[:12]}"
