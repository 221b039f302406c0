"""The names of the models, at one path for the clients of two makers: Anthropic's say so by the version that they send."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from genai.server.ascii_json import AsciiJson
from genai.server.openapi import described
from genai.server.state import ServerState
from genai.wire import MODEL, MODELS, Schema, anthropic, model_body

__all__ = ["model_routes"]

_LISTED: Schema = {"anyOf": [MODELS, anthropic.MODELS]}
_SHOWN: Schema = {"anyOf": [MODEL, anthropic.MODEL]}


def model_routes(state: ServerState) -> APIRouter:
    """Return the routes over what a server has."""
    router = APIRouter()

    @router.get("/v1/models", **described("Name the models that requests may use.", _LISTED))
    async def list_models(request: Request) -> Response:
        names, created = state.models.names, state.models.created
        if _is_anthropic(request):
            return AsciiJson(anthropic.models_body(names, request.query_params, created=created))
        return AsciiJson({"object": "list", "data": [model_body(name, created=created) for name in names]})

    router.get("/v1/models/", include_in_schema=False)(list_models)

    @router.get("/v1/models/{name:path}", **described("Tell of a model.", _SHOWN, errors=(404,)))
    async def show_model(request: Request, name: str) -> Response:
        body = anthropic.model_body if _is_anthropic(request) else model_body
        return AsciiJson(body(state.models.find(name).name, created=state.models.created))

    return router


def _is_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers
