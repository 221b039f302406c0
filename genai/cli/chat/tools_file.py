"""The functions of `genai chat --tools FILE`: JSON schemas, or Python functions that are called."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genai.errors import OptionError

if TYPE_CHECKING:
    from genai.tools import Tool

__all__ = ["read_tools"]


def read_tools(path: Path) -> list[Tool]:
    """Return the functions that a file holds.

    Args:
        path: A Python file, which is run, and whose functions with `@tool` are taken; or a JSON file, a list of schemas or an
            object with the key "tools".

    Raises:
        OptionError: The file cannot be read, or holds no such thing.
    """
    from genai.tools import as_tools

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"cannot read {path}: {reason}") from error
    if path.suffix == ".py":
        return _functions_of(path)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise OptionError(f"{path} is no JSON: {error}; a Python file's name ends in .py") from error
    schemas = values.get("tools") if isinstance(values, dict) else values
    if not isinstance(schemas, list):
        raise OptionError(f"{path} must hold a list of JSON schemas of functions")
    return list(as_tools(schemas))


def _functions_of(path: Path) -> list[Tool]:
    from genai.tools import Tool, as_tools

    spec = importlib.util.spec_from_file_location("genai_chat_tools", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise OptionError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    found = [value for value in vars(module).values() if isinstance(value, Tool)]
    if not found:
        raise OptionError(f"{path} has no function that is marked as a tool: put `@genai.tool` before each")
    return list(as_tools(found))
