"""A static page that chats with a model folder in the browser, by onnxruntime-web."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from pathlib import Path
from string import Template

from genai.deploy.contents import FolderContents
from genai.deploy.web_libraries import check_libraries, copy_libraries, import_map
from genai.errors import ModelFolderError
from genai.folder import CONFIG_FILE, ModelFolder, check_target, staged_folder

__all__ = ["check_web_target", "write_web_page"]

_TEMPLATES = files("genai.deploy") / "templates" / "web"
_MODEL = "model"
_MARK = f"{_MODEL}/{CONFIG_FILE}"
_MAX_NEW_TOKENS = 512
"""The longest answer where the folder names no limit."""


def check_web_target(target: Path, *, libraries: Path | None = None, overwrite: bool) -> None:
    """See that a page may be made at the target, of these libraries.

    Raises:
        ExportError: Something is there already, or something that is no such page would be overwritten.
        OptionError: A library is missing.
    """
    check_target(target, overwrite=overwrite, mark=_MARK)
    if libraries is not None:
        check_libraries(libraries)


def write_web_page(
    folder: ModelFolder, target: Path, *, libraries: Path | None = None, overwrite: bool = False
) -> None:
    """Write a folder that any static server can serve: the page, its programs and the model.

    Args:
        folder: The model.
        target: The folder to make.
        libraries: A folder of npm packages to copy the page's libraries from, so that it needs no network; `None` has
            the page load them from a CDN.
        overwrite: Whether a page at the target may be replaced.

    Raises:
        ExportError: The target exists already, or the disk refuses.
        ModelFolderError: The folder is not in onnxruntime-genai's layout, or has no chat template or tokenizer.json.
        OptionError: A library is missing.
    """
    contents = FolderContents.read(folder)
    for name in ("tokenizer.json", "chat_template.jinja"):
        if name not in contents.text_files:
            raise ModelFolderError(f"{folder.path}: {name} is missing, which a page that chats needs")
    settings = {
        "graph": folder.decoder.filename,
        "dataFiles": contents.data_files,
        "tokenizerFolder": folder.decoder.tokenizer_dir,
        "eosTokenIds": folder.eos_token_ids,
        "states": [value.name for value in contents.outputs if value.name != folder.decoder.names.logits],
        "hasFloat16": contents.has_float16,
        "contextLength": folder.decoder.context_length,
        "maxNewTokens": folder.generation.max_new_tokens or _MAX_NEW_TOKENS,
    }
    with staged_folder(target, overwrite=overwrite, mark=_MARK) as staging:
        contents.copy_to(staging / _MODEL)
        if libraries is not None:
            copy_libraries(libraries, staging)
        (staging / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        for name in ("chat.js", "decoder.js", "page.css"):
            (staging / name).write_bytes((_TEMPLATES / name).read_bytes())
        page = Template((_TEMPLATES / "index.html").read_text(encoding="utf-8"))
        values = {
            "name": html.escape(folder.path.resolve().name),
            "imports": json.dumps(import_map(is_local=libraries is not None), indent=2),
        }
        (staging / "index.html").write_text(page.substitute(values), encoding="utf-8")
