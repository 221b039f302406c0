"""The document that describes all paths to programs (https://spec.openapis.org/oas/v3.1.1): GET /openapi.json.

A route says what it takes and gives where it is made, by `described`, or is not listed; what all of them have in common is
added here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from genai._version import __version__
from genai.server.guards import OPEN_PATHS
from genai.wire import ERROR, LINES, TEXT, Schema, Schemas

__all__ = ["described", "described_interface", "openapi_document"]

_JSON = "application/json"
_REASONS: Mapping[int, str] = {
    400: "The body is no JSON, or a field is missing, unknown or impossible; param names it.",
    401: "A key is needed, or is not known.",
    403: "Pages of that origin, or requests for that host, are not answered.",
    404: "There is no such model.",
    408: "Nothing of the body came for long, and it is not whole.",
    413: "The body is too large.",
    415: "The body is compressed.",
    429: "Too many requests run or wait.",
    500: "The server failed; its log says more.",
    503: "The server is about to end, or has no room for the model now.",
}
_FOR_ALL = (401, 403, 408, 413, 415, 500)
_OF_MODELS = (400, 404, 503)
_RETRY = {
    "Retry-After": {"description": "Seconds until it is worth another try.", "schema": {"type": "integer"}}
}
_KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def described(
    summary: str,
    answer: Schema,
    *,
    body: Schema | None = None,
    errors: tuple[int, ...] = (),
    media_type: str = _JSON,
    error: Schema = ERROR,
    unready: Schema | None = None,
) -> dict[str, Any]:
    """Return what a route says of itself, as arguments of a router's decorators.

    Args:
        summary: What it does, in a few words.
        answer: What it gives.
        body: What it takes, if it takes a body; it then answers 400, 404 and 503, too.
        errors: The statuses of its errors beside those.
        media_type: What its answer is called.
        error: What reports an error.
        unready: What it gives with 503 where that is no error.
    """
    statuses = errors if body is None else (*_OF_MODELS, *errors)
    found = _described(summary, {media_type: {"schema": answer}}, body, statuses, error)
    if unready is not None:
        found["openapi_extra"]["responses"]["503"] = {
            "description": "Not now.",
            "content": {_JSON: {"schema": unready}},
        }
    return found


def described_interface(summary: str, schemas: Schemas) -> dict[str, Any]:
    """Return what the route of an interface says of itself, as `described` does."""
    return _described(summary, _contents(schemas), schemas.body, (*_OF_MODELS, 429), schemas.error)


def openapi_document(routers: Iterable[APIRouter], *, has_keys: bool) -> dict[str, Any]:
    """Return the document of some routers' routes.

    Args:
        routers: The routers.
        has_keys: Whether a key is asked for.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in (route for router in routers for route in router.routes):
        if not isinstance(route, APIRoute) or not route.include_in_schema or not route.openapi_extra:
            continue
        for method in sorted(route.methods or ()):
            path = paths.setdefault(route.path_format, {})
            path[method.lower()] = _operation(route, method, has_keys=has_keys)
    return {
        "openapi": "3.1.0",
        "info": {"title": "genai", "version": __version__},
        "paths": paths,
        **({"components": {"securitySchemes": _KEY_SCHEMES}} if has_keys else {}),
    }


def _described(
    summary: str,
    contents: dict[str, Any],
    body: Schema | None,
    errors: tuple[int, ...],
    error: Schema = ERROR,
) -> dict[str, Any]:
    responses = {"200": {"description": "What was asked for.", "content": contents}}
    responses |= {str(status): _error(status, error) for status in (*errors, *_FOR_ALL)}
    extra: dict[str, Any] = {"responses": dict(sorted(responses.items()))}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {_JSON: {"schema": body}}}
    return {"summary": summary, "openapi_extra": extra}


def _contents(schemas: Schemas) -> dict[str, Any]:
    """Return a whole answer and a stream, whose items are described as OpenAPI 3.2 does it."""
    item = schemas.event if schemas.framing is LINES else _server_sent(schemas)
    stream = {"schema": TEXT, "itemSchema": item}
    return {_JSON: {"schema": schemas.answer}, schemas.framing.media_type: stream}


def _server_sent(schemas: Schemas) -> dict[str, Any]:
    """Return the schema of an event that a server sends, which has JSON for its data, or says that it is the last."""
    data = {**TEXT, "contentMediaType": _JSON, "contentSchema": schemas.event}
    last = schemas.framing.end.decode().removeprefix("data:").strip()
    return {
        "type": "object",
        "properties": {"event": TEXT, "data": {"anyOf": [{"const": last}, data]} if last else data},
        "required": ["data"],
    }


def _error(status: int, error: Schema) -> dict[str, Any]:
    headers = {"headers": _RETRY} if status in (429, 503) else {}
    return {"description": _REASONS[status], **headers, "content": {_JSON: {"schema": error}}}


def _operation(route: APIRoute, method: str, *, has_keys: bool) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}
        for name in route.param_convertors
    ]
    needs_key = has_keys and route.path not in OPEN_PATHS
    return {
        "summary": route.summary or route.name,
        "operationId": f"{route.name}_{method.lower()}",
        **({"parameters": parameters} if parameters else {}),
        **(route.openapi_extra or {}),
        **({"security": [{name: []} for name in _KEY_SCHEMES]} if needs_key else {}),
    }
