"""The application: routes, the layers that guard them, and what happens when it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from genai._version import __version__
from genai.errors import GenaiError
from genai.server.access_log import AccessLog
from genai.server.anthropic_routes import anthropic_routes
from genai.server.ascii_json import AsciiJson
from genai.server.bodies import BodyCheck
from genai.server.errors import LastResort, error_response, report_error
from genai.server.generation_routes import generation_routes
from genai.server.guards import KeyCheck, OriginCheck
from genai.server.http import HeadAsGet
from genai.server.model_metrics import ModelMetrics
from genai.server.model_routes import model_routes
from genai.server.models import ServedModels
from genai.server.ollama_routes import ollama_routes
from genai.server.openai_routes import openai_routes
from genai.server.openapi import openapi_document
from genai.server.own_routes import own_routes
from genai.server.page_routes import page_routes
from genai.server.settings import ServerSettings
from genai.server.state import Admission, ServerState
from genai.server.text_log import TextLog
from genai.wire import ApiError

if TYPE_CHECKING:
    from genai.server.traces import Traces

__all__ = ["guarded_app", "make_app"]


def make_app(models: ServedModels, settings: ServerSettings, *, traces: Traces | None = None) -> FastAPI:
    """Return the application over some models; `app.state.server` is what its routes share.

    Args:
        models: The models, which are let go when it ends.
        settings: How it behaves.
        traces: What traces its requests, if they are traced.
    """
    state = ServerState(
        models=models,
        max_requests=settings.max_requests,
        max_requests_per_key=settings.max_requests_per_key,
    )
    state.metrics.watch(ModelMetrics(models.models))

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(models.let_idle_go())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            await models.close()

    app = guarded_app(state, settings, life, traces=traces)
    routers = [
        generation_routes(state),
        model_routes(state),
        openai_routes(state),
        anthropic_routes(state),
        ollama_routes(state),
        own_routes(state),
        page_routes(),
    ]
    for router in routers:
        app.include_router(router)
    document = openapi_document(routers, has_keys=bool(settings.api_keys))

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return AsciiJson(document)

    return app


def guarded_app(
    state: Admission,
    settings: ServerSettings,
    life: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    *,
    traces: Traces | None = None,
) -> FastAPI:
    """Return an application that has everything but routes: who may ask, the log, and how errors are told.

    Args:
        state: What its routes share, then `app.state.server`.
        settings: How it behaves.
        life: Held from its beginning to its end.
        traces: What traces its requests, if they are traced.
    """
    app = FastAPI(
        title="genai",
        version=__version__,
        lifespan=life,
        middleware=[*([] if traces is None else [traces.layer()]), *_layers(state, settings)],
        exception_handlers={GenaiError: report_error, HTTPException: _report_http},
        openapi_url=None,  # `openapi_document` says more
    )
    app.state.server = state
    return app


def _layers(state: Admission, settings: ServerSettings) -> list[Middleware]:
    """Return the layers, the outermost first."""
    layers = [
        Middleware(AccessLog, metrics=state.metrics),
        Middleware(
            OriginCheck,
            allowed_origins=settings.allowed_origins,
            is_local=settings.is_local,
            host=settings.host,
        ),
    ]
    if settings.allowed_origins:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "retry-after"],
            )
        )
    return [
        *layers,
        Middleware(KeyCheck, keys=settings.keys),
        Middleware(
            BodyCheck, max_bytes=settings.max_body_bytes, timeout_seconds=settings.body_timeout_seconds
        ),
        *([Middleware(TextLog)] if settings.log_texts else []),
        Middleware(HeadAsGet),
        Middleware(LastResort, state=state),
    ]


async def _report_http(request: Request, error: Exception) -> Response:
    """Say in the same form what the framework refuses: no such path, or not by this method."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    message = f"{request.method} {path}: {error.detail}"
    if error.status_code == 404:
        message += (
            "; the base URL ends in a slash too many" * ("//" in path) + "; /openapi.json has the paths"
        )
    refusal = ApiError(message, status=error.status_code, headers=error.headers)
    return error_response(refusal, request.url.path)
