"""What else Anthropic's interface has beside what generates: how many tokens a conversation has."""

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
from genai.wire import COUNTED, MESSAGES, CompletionRequest, anthropic, count_schema, read_count_request

__all__ = ["anthropic_routes"]


def anthropic_routes(state: ServerState) -> APIRouter:
    """Return the routes over what a server has."""
    router = APIRouter()

    @router.post(
        f"{MESSAGES}/count_tokens",
        **described(
            "Count the tokens of a conversation.", COUNTED, body=count_schema(), error=anthropic.ERROR
        ),
    )
    async def count_tokens(request: Request) -> Response:
        wanted = read_count_request(await read_json(request))
        with state.admitted(client_of(request.scope)):
            async with state.models.use(state.models.find(wanted.model)) as generator:
                return AsciiJson(await asyncio.to_thread(_counted, generator, wanted))

    return router


def _counted(generator: Generator, wanted: CompletionRequest) -> Mapping[str, Any]:
    (prompt,) = wanted.prompts
    built = generator.build_request(**wanted.arguments(prompt, lambda: generator.tokenizer))
    return {"input_tokens": len(built.prompt_token_ids)}
