"""The options of a generation as JSON schemas: what each may be, and what it does."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from genai.config.docstring import read_docstring
from genai.config.generation import CODE_OPTIONS, GenerationConfig
from genai.config.option import options_of

__all__ = ["option_schemas"]


@functools.cache
def option_schemas() -> Mapping[str, Mapping[str, Any]]:
    """Return the schema of each option that JSON has values of, by name.

    >>> option_schemas()["top_k"]["description"]
    'Keep the k most likely tokens; 0 keeps all.'
    """
    _, descriptions = read_docstring(inspect.getdoc(GenerationConfig) or "")
    return {
        name: {**known.check.schema, "description": descriptions[name]}
        for name, known in options_of(GenerationConfig).items()
        if name not in CODE_OPTIONS
    }
