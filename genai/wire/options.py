"""The options of a generation among the fields of a body: by their own names, or by those that an interface has for them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from genai.config import CODE_OPTIONS, GenerationConfig
from genai.errors import did_you_mean
from genai.wire.fields import BodyError

__all__ = ["plain_options"]

_TOKEN_ID = re.compile(r"[0-9]{1,9}")


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
        options[option] = _biases(value, name) if option == "logit_bias" else value
    return options


def _biases(value: Any, name: str) -> Any:
    """Return numbers by token id, which are texts in JSON."""
    if not isinstance(value, Mapping):
        return value
    if not all(isinstance(token_id, str) and _TOKEN_ID.fullmatch(token_id) for token_id in value):
        raise BodyError(f"{name} must map token ids to numbers", name)
    return {int(token_id): bias for token_id, bias in value.items()}
