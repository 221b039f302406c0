"""The shape of what `genai evaluate` and `genai validate` leave in a manifest, as far as it is read again.

A folder may come from anywhere: results of another shape, such as a later version's, are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["as_evaluation", "as_validation"]


@dataclass(frozen=True, slots=True)
class _Optional:
    """What may be null or missing."""

    shape: Any


_NUMBER = int | float
_COMPARISON = _Optional({"perplexity_ratio": _NUMBER, "mean_kl": _NUMBER, "top1": _NUMBER})
_TEXT = {"name": str, "num_tokens": int, "perplexity": _NUMBER, "comparison": _COMPARISON}
_TASK = {"name": str, "num_questions": int, "accuracy": _NUMBER, "standard_error": _NUMBER}
_EVALUATION = {
    "date": str,
    "provider": str,
    "windows": {"size": int},
    "reference": _Optional({"source": str, "precision": str}),
    "texts": [_TEXT],
    "overall": _TEXT,
    "tasks": [_TASK],
}
_VALIDATION = {
    "passed": bool,
    "date": str,
    "checks": [{"name": str, "status": str}],
    "against": _Optional({"source": str}),
}


def as_evaluation(value: object) -> Mapping[str, Any]:
    """Return an evaluation; an empty one if the value is none."""
    return value if isinstance(value, Mapping) and _has_shape(value, _EVALUATION) else {}


def as_validation(value: object) -> Mapping[str, Any]:
    """Return a validation; an empty one if the value is none."""
    return value if isinstance(value, Mapping) and _has_shape(value, _VALIDATION) else {}


def _has_shape(value: Any, shape: Any) -> bool:
    match shape:
        case dict():
            return isinstance(value, Mapping) and all(
                _has_shape(value.get(name), part) for name, part in shape.items()
            )
        case [part]:
            return isinstance(value, list) and all(_has_shape(each, part) for each in value)
        case _Optional(part):
            return value is None or _has_shape(value, part)
    return isinstance(value, shape)
