"""The JavaScript libraries of the web page: which, in which versions, and where the page finds them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from genai.errors import OptionError

__all__ = ["LIBRARIES", "Library", "check_libraries", "copy_libraries", "import_map"]

_CDN = "https://cdn.jsdelivr.net/npm"
_FOLDER = "libraries"


@dataclass(frozen=True, slots=True)
class Library:
    """A package of npm.

    Args:
        package: Its name.
        version: The version that the page was tested with.
        modules: The files that the page imports, by the name that it imports them under.
        others: What these load in turn.
    """

    package: str
    version: str
    modules: dict[str, str]
    others: tuple[str, ...] = ()


LIBRARIES = (
    Library(
        "onnxruntime-web",
        "1.30.0",
        {
            "onnxruntime-web/wasm": "dist/ort.wasm.bundle.min.mjs",
            "onnxruntime-web/webgpu": "dist/ort.webgpu.bundle.min.mjs",
        },
        ("dist/ort-wasm-simd-threaded.wasm", "dist/ort-wasm-simd-threaded.asyncify.wasm"),
    ),
    Library(
        "@huggingface/tokenizers",
        "0.2.0",
        {"@huggingface/tokenizers": "dist/tokenizers.min.mjs"},
        ("LICENSE",),
    ),
    Library("@huggingface/jinja", "0.5.11", {"@huggingface/jinja": "dist/index.js"}, ("LICENSE",)),
)


def import_map(*, is_local: bool) -> dict[str, dict[str, str]]:
    """Return where the page's imports lead: to files beside it, or to a CDN, in the versions it was tested with."""
    return {
        "imports": {
            name: f"./{_FOLDER}/{library.package}/{file}"
            if is_local
            else f"{_CDN}/{library.package}@{library.version}/{file}"
            for library in LIBRARIES
            for name, file in library.modules.items()
        }
    }


def check_libraries(packages: Path) -> None:
    """See that a folder of npm packages (`node_modules`) holds what the page imports.

    Raises:
        OptionError: A library is missing; the message has the command that installs all of them.
    """
    for library in LIBRARIES:
        for file in (*library.modules.values(), *library.others):
            if not (packages / library.package / file).is_file():
                wanted = " ".join(f"{each.package}@{each.version}" for each in LIBRARIES)
                raise OptionError(
                    f"{packages} has no {library.package}/{file}: web_runtime is a folder node_modules, which "
                    f"`npm install --ignore-scripts {wanted}` makes"
                )


def copy_libraries(packages: Path, site: Path) -> None:
    """Copy what the page imports from a folder of npm packages to where `import_map` says.

    Raises:
        OptionError: A library is missing.
    """
    check_libraries(packages)
    for library in LIBRARIES:
        for file in (*library.modules.values(), *library.others):
            target = site / _FOLDER / library.package / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(packages / library.package / file, target)
