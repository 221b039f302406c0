"""The names of models, as Anthropic's clients list them (https://docs.anthropic.com/en/api/models-list)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from genai.wire.fields import BodyError
from genai.wire.schemas import FLAG, TEXT, Schema, list_of, nullable, object_of

__all__ = ["MODEL", "MODELS", "model_body", "models_body"]

MODEL: Schema = object_of(
    {
        "type": {"const": "model"},
        "id": TEXT,
        "display_name": TEXT,
        "created_at": {**TEXT, "format": "date-time"},
    }
)
MODELS: Schema = object_of(
    {"data": list_of(MODEL), "has_more": FLAG, "first_id": nullable(TEXT), "last_id": nullable(TEXT)}
)
_MOST = 1000


def model_body(name: str, *, created: int) -> dict[str, Any]:
    """Return what is told of a model."""
    moment = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    return {"type": "model", "id": name, "display_name": name, "created_at": moment}


def models_body(names: Sequence[str], query: Mapping[str, str], *, created: int) -> dict[str, Any]:
    """Return a page of the models.

    Args:
        names: All of them.
        query: What the client says of the page: `limit`, the most models of it, all if it says nothing; and `after_id` or
            `before_id`, the model that stands before or behind it.
        created: Since when they are there, in seconds since 1970.

    Raises:
        BodyError: The limit is no number, there is no such model, or both are named.
    """
    limit, after, before = query.get("limit", str(_MOST)), query.get("after_id"), query.get("before_id")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4 and 1 <= int(limit) <= _MOST):
        raise BodyError(f"limit must be an integer from 1 to {_MOST}, not {limit!r:.100}", "limit")
    if after is not None and before is not None:
        raise BodyError("after_id and before_id exclude each other: leave one of them out", "before_id")
    if before is not None:
        rest = names[: _place(names, before, "before_id")]
        page = rest[-int(limit) :]
    else:
        rest = names if after is None else names[_place(names, after, "after_id") + 1 :]
        page = rest[: int(limit)]
    return {
        "data": [model_body(name, created=created) for name in page],
        "has_more": len(page) < len(rest),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def _place(names: Sequence[str], name: str, field: str) -> int:
    if name not in names:
        raise BodyError(f'{field}: there is no model "{name:.100}" here', field)
    return names.index(name)
