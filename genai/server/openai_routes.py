"""What else OpenAI's interface has beside what generates, and Anthropic's does not: texts as vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from genai.errors import OptionError
from genai.generator import Generator
from genai.server.ascii_json import AsciiJson
from genai.server.http import read_json
from genai.server.keys import client_of
from genai.server.openapi import described
from genai.server.state import ServerState
from genai.server.vectors import embed_rows
from genai.wire import (
    EMBEDDING,
    EMBEDDINGS,
    EmbeddingRequest,
    embedding_body,
    read_embedding_request,
)

__all__ = ["openai_routes"]


def openai_routes(state: ServerState) -> APIRouter:
    """Return the routes over what a server has."""
    router = APIRouter()

    @router.post(
        "/v1/embeddings",
        **described("Give texts as vectors.", EMBEDDINGS, body=EMBEDDING, errors=(429,)),
    )
    async def embed(request: Request) -> Response:
        wanted = read_embedding_request(await read_json(request))
        target = state.models.find(wanted.model)
        with state.admitted(client_of(request.scope)):
            async with state.models.use(target) as generator:
                rows = await asyncio.to_thread(_tokenized, generator, wanted)
                try:
                    vectors = await embed_rows(request, generator, rows, **wanted.options)
                except OptionError as error:
                    raise wanted.in_its_words(error) from error
        num_tokens = sum(map(len, rows))
        return AsciiJson(embedding_body(wanted, vectors, model=target.name, num_tokens=num_tokens))

    return router


def _tokenized(generator: Generator, wanted: EmbeddingRequest) -> list[Sequence[int]]:
    return [generator.tokenize(each) if isinstance(each, str) else each for each in wanted.inputs]
