"""Fetch the libraries of the server's page into genai/server/page/vendor, as the package registry has them.

    python scripts/vendor_page.py

A new version is a new line in LIBRARIES; what was fetched is written down in vendor/README.md. Needs npm.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).parents[1] / "genai" / "server" / "page" / "vendor"


@dataclass(frozen=True)
class Library:
    """One file of a package, under the name that the page has for it, and the file of its licence."""

    package: str
    version: str
    file: str
    name: str
    licence_file: str
    purpose: str


LIBRARIES = (
    Library("marked", "18.2.1", "lib/marked.esm.js", "marked.js", "LICENSE", "reads Markdown"),
    Library(
        *("@highlightjs/cdn-assets", "11.12.0", "es/highlight.min.js", "highlight.js", "LICENSE"),
        "colours code",
    ),
)


def main() -> None:
    """Fetch all of them, and write down what they are."""
    rows = ["| File | Package | Licence | What for | SHA-256 |", "|---|---|---|---|---|"]
    VENDOR.mkdir(parents=True, exist_ok=True)
    for library in LIBRARIES:
        files = _fetch(library)
        content = files[library.file]
        (VENDOR / library.name).write_bytes(content)
        (VENDOR / f"{library.name}.LICENSE.txt").write_bytes(files[library.licence_file])
        licence = json.loads(files["package.json"])["license"]
        digest = hashlib.sha256(content).hexdigest()
        package = f"{library.package} {library.version}, {library.file}"
        rows.append(f"| {library.name} | {package} | {licence} | {library.purpose} | `{digest}` |")
    text = (
        "Files of other projects, unchanged, fetched by scripts/vendor_page.py.\n\n" + "\n".join(rows) + "\n"
    )
    (VENDOR / "README.md").write_text(text, "utf-8")


def _fetch(library: Library) -> dict[str, bytes]:
    """Return the files of a package that are of use, by their paths in it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "npm",
            "pack",
            f"{library.package}@{library.version}",
            "--silent",
            "--pack-destination",
            folder,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as package:
            return {
                name: _content(package, name) for name in ("package.json", library.file, library.licence_file)
            }


def _content(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(f"package/{name}")
    assert file is not None, name
    return file.read()


if __name__ == "__main__":
    main()
