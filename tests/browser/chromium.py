"""A Chromium without windows: the one that is installed, else Debian's, unpacked and not installed, which needs no root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fetched import cached

__all__ = ["Chromium", "find_chromium"]

PACKAGE = "chromium-headless-shell"
PROGRAM = Path("usr/lib/chromium") / PACKAGE


@dataclass(frozen=True)
class Chromium:
    """A program, and what its environment has to have."""

    program: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def find_chromium() -> Chromium:
    """Return the browser that GENAI_CHROMIUM names or the PATH has; where there is none, fetch one."""
    installed = os.environ.get("GENAI_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if installed:
        return Chromium(Path(installed))
    folder = cached("chromium", _fetch)
    libraries = sorted({str(path.parent) for path in folder.glob("usr/lib/**/*.so*")})
    return Chromium(folder / PROGRAM, {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)})


def _fetch(folder: Path) -> None:
    """Unpack the package, and of what it depends on what this machine has not got."""
    simulated = subprocess.run(
        ["apt-get", "install", "--simulate", "--no-install-recommends", PACKAGE],
        check=True,
        capture_output=True,
        text=True,
    )
    packages = [line.split()[1] for line in simulated.stdout.splitlines() if line.startswith("Inst ")]
    subprocess.run(["apt-get", "download", "-qq", *packages], cwd=folder, check=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
        package.unlink()
    shutil.rmtree(folder / "usr" / "share")
