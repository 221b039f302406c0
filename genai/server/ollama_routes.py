"""What else Ollama's interface has beside what generates: which models there are, what they are, and texts as vectors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from genai.errors import TokenizerError
from genai.generator import Generator
from genai.server.ascii_json import AsciiJson
from genai.server.http import read_json
from genai.server.keys import client_of
from genai.server.models import Target
from genai.server.openapi import described
from genai.server.state import ServerState
from genai.server.vectors import embed_rows
from genai.text import Tokenizer
from genai.wire import (
    OLLAMA,
    ApiError,
    ModelFacts,
    OllamaEmbedRequest,
    loaded_body,
    ollama,
    read_ollama_embed_request,
    read_show_request,
    show_body,
    tag_body,
)

__all__ = ["ollama_routes"]

_VERSION = "0.12.11"
"""The version of Ollama whose interface this is: clients ask for it, and some for a new one."""
_ELSEWHERE = {
    "pull": "genai models pull MODEL",
    "push": "hf upload",
    "create": "genai export CHECKPOINT -o DIR",
    "copy": "genai serve NAME=MODEL",
    "delete": "genai models remove MODEL",
}
"""What carries out on the command line what clients may not ask of a server."""


def ollama_routes(state: ServerState) -> APIRouter:
    """Return the routes over what a server has."""
    router = APIRouter(prefix=OLLAMA)

    @router.get(
        "/version",
        **described("Tell which version of Ollama's interface this is.", ollama.VERSION, error=ollama.ERROR),
    )
    async def version() -> Response:
        return AsciiJson({"version": _VERSION})

    @router.get("/tags", **described("List the models, as Ollama does.", ollama.TAGS, error=ollama.ERROR))
    async def tags() -> Response:
        return AsciiJson({"models": await asyncio.to_thread(_tags, state)})

    @router.get(
        "/ps",
        **described("List the models that are in memory, as Ollama does.", ollama.LOADED, error=ollama.ERROR),
    )
    async def loaded() -> Response:
        return AsciiJson({"models": _loaded(state)})

    @router.post(
        "/show",
        **described(
            "Tell what is known of a model, as Ollama does.",
            ollama.SHOWN,
            body=ollama.SHOW,
            error=ollama.ERROR,
        ),
    )
    async def show(request: Request) -> Response:
        name = read_show_request(await read_json(request))
        return AsciiJson(await _shown(state, state.models.find(name)))

    @router.post(
        "/embed",
        **described(
            "Give texts as vectors, as Ollama does.",
            ollama.EMBEDDED,
            body=ollama.EMBED,
            errors=(429,),
            error=ollama.ERROR,
        ),
    )
    async def embed_texts(request: Request) -> Response:
        wanted = read_ollama_embed_request(await read_json(request), is_old=False)
        target, begun = state.models.find(wanted.model), time.perf_counter()
        vectors, num_tokens = await _vectors(state, target, wanted, request, normalize=True)
        return AsciiJson(
            {
                "model": target.name,
                "embeddings": vectors,
                "total_duration": round((time.perf_counter() - begun) * 1e9),
                "prompt_eval_count": num_tokens,
            }
        )

    @router.post(
        "/embeddings",
        **described(
            "Give a text as a vector, as Ollama did.",
            ollama.OLD_EMBEDDED,
            body=ollama.OLD_EMBED,
            errors=(429,),
            error=ollama.ERROR,
        ),
    )
    async def embed_text(request: Request) -> Response:
        wanted = read_ollama_embed_request(await read_json(request), is_old=True)
        target = state.models.find(wanted.model)
        vectors, _ = await _vectors(state, target, wanted, request, normalize=False)
        return AsciiJson({"embedding": vectors[0] if vectors else []})

    for name, command in _ELSEWHERE.items():
        router.add_api_route(
            f"/{name}", _refusal(name, command), methods=["POST", "DELETE"], include_in_schema=False
        )
    return router


def _refusal(name: str, command: str) -> Callable[[], Awaitable[Response]]:
    async def refuse() -> Response:
        raise ApiError(
            f"a server's models are chosen where it is started, so that there is no {OLLAMA}/{name} here: {command}",
            status=501,
        )

    return refuse


def _tags(state: ServerState) -> list[dict[str, Any]]:
    """Return what is told of the models whose folders are known; the others have not been asked for yet."""
    return [
        {"name": name, "model": name} if served.folder is None else tag_body(ModelFacts(name, served.folder))
        for name, served in state.models.models.items()
    ]


def _loaded(state: ServerState) -> list[dict[str, Any]]:
    now = time.time()
    found = []
    for name, generator in state.models.loaded.items():
        expires = now + state.models.seconds_left(state.models.models[name])
        facts = ModelFacts(name, generator.folder)
        found.append(
            loaded_body(
                facts,
                expires=expires,
                context_length=generator.context_length,
                is_on_device=generator.provider != "cpu",
            )
        )
    return found


async def _shown(state: ServerState, target: Target) -> dict[str, Any]:
    """Return all that is told of a model, which is loaded only where nothing else knows its folder."""
    folder = state.models.models[target.model].folder
    if folder is None:
        async with state.models.use(target) as generator:
            folder = generator.folder
    facts = ModelFacts(target.name, folder)

    def told() -> dict[str, Any]:
        try:
            tokenizer = Tokenizer.from_folder(facts.folder.tokenizer_path)
        except TokenizerError:
            return show_body(facts, None)
        return show_body(facts, tokenizer)

    return await asyncio.to_thread(told)


async def _vectors(
    state: ServerState, target: Target, wanted: OllamaEmbedRequest, request: Request, *, normalize: bool
) -> tuple[list[list[float]], int]:
    """Return the vectors of texts, and how many tokens they have."""
    if not wanted.texts and wanted.keep_alive == 0:
        await state.models.unload(target)
        return [], 0
    with state.admitted(client_of(request.scope)):
        async with state.models.use(target, keep_alive=wanted.keep_alive) as generator:
            if not wanted.texts:
                return [], 0
            rows = await asyncio.to_thread(_tokenized, generator, wanted)
            vectors = await embed_rows(request, generator, rows, normalize=normalize)
            return vectors.tolist(), sum(map(len, rows))


def _tokenized(generator: Generator, wanted: OllamaEmbedRequest) -> list[list[int]]:
    rows = [generator.tokenize(text) for text in wanted.texts]
    return [_cut(generator, row) for row in rows] if wanted.is_cut else rows


def _cut(generator: Generator, row: list[int]) -> list[int]:
    """Return the tokens of as much of a text as the context has room for, with those that begin and end every text.

    What is cut within a word may get more tokens again.
    """
    room, shorter = generator.context_length, row
    while len(shorter) > generator.context_length:
        shorter = generator.tokenize(generator.tokenizer.decode(row[:room]))
        room -= max(len(shorter) - generator.context_length, 1)
    return shorter
