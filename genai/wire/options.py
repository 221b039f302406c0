"""The options of a generation among the fields of a body: by their own names, or by those that an interface has for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from genai.config import CODE_OPTIONS, GenerationConfig
from genai.errors import did_you_mean
from genai.wire.fields import BodyError

__all__ = ["plain_options"]


def plain_options(
    fields: Mapping[str, Any],
    *,
    renamed: Mapping[str, str],
    hints: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the options that fields stand for.

    Args:
        fields: What is left of a body, all of which must be options.
        renamed: What an interface calls options, where it is another name.
        hints: What to say of fields that are unknown here and known elsewhere.

    Raises:
        BodyError: A field is unknown, or an option is given twice.
    """
    known = {field.name for field in dataclasses.fields(GenerationConfig)}.difference(CODE_OPTIONS)
    options: dict[str, Any] = {}
    for name, value in fields.items():
        option = renamed.get(name, name)
        if option not in known:
            hint = (hints or {}).get(name) or did_you_mean(name, {*known, *renamed})
            raise BodyError(f'unknown field "{name}".{hint}', name)
        if option in options:
            raise BodyError(f"{name} is given twice, by another name too", name)
        options[option] = value
    return options
