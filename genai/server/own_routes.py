"""What no maker's interface has: whether the server is well, what it counts, and texts as tokens and back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from genai.generator import Generator
from genai.server.ascii_json import AsciiJson
from genai.server.http import read_json
from genai.server.keys import client_of
from genai.server.openapi import described
from genai.server.state import ServerState
from genai.wire import (
    DETOKENIZE,
    DETOKENIZED,
    TEXT,
    TOKENIZE,
    TOKENIZED,
    BodyError,
    Schema,
    TokenizeRequest,
    list_of,
    object_of,
    read_detokenize_request,
    read_tokenize_request,
)

__all__ = ["own_routes"]

_STATUS: Schema = object_of({"status": TEXT})
_READY: Schema = object_of({"status": TEXT, "loaded": list_of(TEXT), "loading": list_of(TEXT)})


def own_routes(state: ServerState) -> APIRouter:
    """Return the routes over what a server has."""
    router = APIRouter()

    @router.get("/health/live", **described("Say whether the server is there.", _STATUS))
    async def live() -> Response:
        return AsciiJson({"status": "ok"})

    router.get("/health", include_in_schema=False)(live)

    @router.get("/health/ready", **described("Say whether it takes requests.", _READY, unready=_STATUS))
    async def ready() -> Response:
        if state.is_draining:
            return AsciiJson({"status": "draining"}, 503, headers={"Retry-After": "10"})
        loading = sorted(name for name, each in state.models.models.items() if each.is_loading)
        return AsciiJson({"status": "ok", "loaded": sorted(state.models.loaded), "loading": loading})

    @router.get("/metrics", **described("Tell counters.", TEXT, media_type="text/plain"))
    async def metrics() -> Response:
        return Response(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.post(
        "/tokenize", **described("Give the tokens of a text or a conversation.", TOKENIZED, body=TOKENIZE)
    )
    async def tokenize(request: Request) -> Response:
        wanted = read_tokenize_request(await read_json(request))
        with state.admitted(client_of(request.scope)):
            async with state.models.use(state.models.find(wanted.model)) as generator:
                return AsciiJson(await asyncio.to_thread(_tokenized, generator, wanted))

    @router.post("/detokenize", **described("Give the text of tokens.", DETOKENIZED, body=DETOKENIZE))
    async def detokenize(request: Request) -> Response:
        model, token_ids = read_detokenize_request(await read_json(request))
        with state.admitted(client_of(request.scope)):
            async with state.models.use(state.models.find(model)) as generator:
                return AsciiJson(await asyncio.to_thread(_text_of, generator, token_ids))

    return router


def _tokenized(generator: Generator, wanted: TokenizeRequest) -> Mapping[str, Any]:
    token_ids = generator.build_request(**wanted.prompt).prompt_token_ids
    return {"tokens": token_ids, "count": len(token_ids), "max_model_len": generator.context_length}


def _text_of(generator: Generator, token_ids: list[int]) -> Mapping[str, Any]:
    """Return the text of tokens; those of the model that stand for none, as where its vocabulary is padded, are none in it."""
    if min(token_ids) < 0 or max(token_ids) >= generator.vocab_size:
        raise BodyError(
            f"tokens must be at least 0 and less than {generator.vocab_size}, the vocabulary", "tokens"
        )
    return {"prompt": generator.tokenizer.decode(token_ids, skip_special_tokens=False)}
