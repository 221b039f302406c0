"""OpenAI's interface: models, chat completions, text completions and embeddings."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from genai.answering import Answering
from genai.errors import GenaiError
from genai.generator import Generator
from genai.server.ascii_json import AsciiJson
from genai.server.http import EventStream, event, read_json, while_connected
from genai.server.state import ServerState
from genai.wire import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    CompletionChunks,
    CompletionRequest,
    EmbeddingRequest,
    completion_body,
    embedding_body,
    error_body,
    model_body,
    read_embedding_request,
    read_request,
)

__all__ = ["openai_routes"]


def openai_routes(state: ServerState) -> APIRouter:
    """Return the routes over what a server has."""
    router = APIRouter()

    @router.get("/v1/models")
    async def list_models() -> Response:
        models = [model_body(name, created=state.models.created) for name in state.models.names]
        return AsciiJson({"object": "list", "data": models})

    @router.get("/v1/models/{name:path}")
    async def show_model(name: str) -> Response:
        return AsciiJson(model_body(state.models.find(name).name, created=state.models.created))

    @router.post(CHAT)
    async def chat(request: Request) -> Response:
        return await _complete(state, request, read_request(CHAT, await read_json(request)))

    @router.post(COMPLETIONS)
    async def complete(request: Request) -> Response:
        return await _complete(state, request, read_request(COMPLETIONS, await read_json(request)))

    @router.post(EMBEDDINGS)
    async def embed(request: Request) -> Response:
        wanted = read_embedding_request(await read_json(request))
        target = state.models.find(wanted.model)
        with state.admitted():
            async with state.models.use(target) as generator:
                return AsciiJson(await asyncio.to_thread(_embedded, generator, wanted, target.name))

    return router


async def _complete(state: ServerState, request: Request, wanted: CompletionRequest) -> Response:
    target, created = state.models.find(wanted.model), int(time.time())
    if target.adapter is not None:
        wanted = wanted.with_adapter(target.adapter)
    name = target.name
    async with contextlib.AsyncExitStack() as needed:
        needed.enter_context(state.admitted())
        generator = await needed.enter_async_context(state.models.use(target))
        answering = await Answering.begin(generator, wanted)
        needed.callback(answering.cancel)
        facts: dict[str, Any] = {
            "model": name,
            "created": created,
            "tokenizer": lambda: generator.tokenizer,
        }
        if wanted.stream:
            chunks = CompletionChunks(wanted, **facts)
            return EventStream(_events(state, name, wanted, answering, chunks), needed.pop_all())
        results = await while_connected(request, answering.results())
        state.metrics.add(name, results)
        return AsciiJson(completion_body(wanted, results, **facts))


async def _events(
    state: ServerState, name: str, wanted: CompletionRequest, answering: Answering, chunks: CompletionChunks
) -> AsyncIterator[bytes]:
    """Yield the events of a streamed answer; what goes wrong is the last of them."""
    clock = state.metrics.clock(name)
    try:
        async for number, piece in answering.pieces():
            clock.tick()
            for chunk in chunks.of_piece(number * wanted.num_choices + piece.index, piece):
                yield event(chunk)
    except GenaiError as error:
        yield event(error_body(error))
    else:
        for chunk in chunks.end(answering.finished):
            yield event(chunk)
        state.metrics.add(name, answering.finished)
    yield event("[DONE]")


def _embedded(generator: Generator, wanted: EmbeddingRequest, name: str) -> Mapping[str, Any]:
    vectors = generator.embed(wanted.texts, **wanted.options)
    num_tokens = sum(len(generator.tokenize(text)) for text in wanted.texts)
    return embedding_body(wanted, vectors, model=name, num_tokens=num_tokens)
