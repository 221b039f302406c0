"""The page before a server that answers what a test has written down."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from genai.server.page_routes import page_routes

__all__ = ["Answer", "Refusal", "Script", "calling", "scripted_app", "text", "thinking", "token"]

Chunk = Mapping[str, Any]
USAGE = {"prompt_tokens": 40, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 30}}


@dataclass(frozen=True)
class Answer:
    """A stream: its chunks, and whether it then ends as it should, is cut off, or waits until nobody listens."""

    chunks: Sequence[Chunk]
    then: Literal["end", "cut", "wait"] = "end"
    finish_reason: str = "stop"


@dataclass(frozen=True)
class Refusal:
    """An error instead of a stream."""

    status: int
    message: str
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Script:
    """What the server will answer, and what it was asked."""

    def __init__(self) -> None:
        self.turns: deque[Answer | Refusal] = deque()
        self.bodies: list[dict[str, Any]] = []
        self.was_left = threading.Event()

    def then(self, *turns: Answer | Refusal) -> None:
        self.turns.extend(turns)


def text(content: str) -> Chunk:
    return _delta({"content": content})


def thinking(reasoning: str) -> Chunk:
    return _delta({"reasoning": reasoning})


def calling(name: str, arguments: str) -> Chunk:
    function = {"name": name, "arguments": arguments}
    return _delta({"tool_calls": [{"index": 0, "id": "call-1", "type": "function", "function": function}]})


def token(content: str, probability: float, *others: tuple[str, float]) -> Chunk:
    """Return the chunk of one token, with other tokens that might have been."""

    def entry(text: str, share: float) -> dict[str, Any]:
        return {"token": text, "logprob": math.log(share), "bytes": list(text.encode())}

    alternatives = sorted([(content, probability), *others], key=lambda pair: -pair[1])
    top = [entry(*pair) for pair in alternatives]
    logprobs = {"content": [{**entry(content, probability), "top_logprobs": top}]}
    return _delta({"content": content}, logprobs)


def scripted_app(script: Script) -> FastAPI:
    """Return the application: the page, one model, and a count of tokens that is the number of words."""
    app = FastAPI()
    app.include_router(page_routes())

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"data": [{"id": "scripted"}]})

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        messages = (await request.json())["messages"]
        count = sum(len(message["content"].split()) for message in messages)
        return JSONResponse({"count": count, "max_model_len": 1000})

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        script.bodies.append(await request.json())
        turn = script.turns.popleft()
        if isinstance(turn, Answer):
            return StreamingResponse(_events(script, turn), media_type="text/event-stream")
        kind = "server_error" if turn.status >= 500 else "invalid_request_error"
        error = {"message": turn.message, "type": kind, "param": None, "code": turn.code}
        return JSONResponse({"error": error}, turn.status, dict(turn.headers))

    return app


async def _events(script: Script, turn: Answer) -> AsyncIterator[str]:
    for chunk in turn.chunks:
        yield _event(chunk)
        await asyncio.sleep(0.005)
    if turn.then == "cut":
        return
    if turn.then == "wait":
        try:
            await asyncio.Event().wait()
        finally:
            script.was_left.set()
    yield _event(_delta({}, finish_reason=turn.finish_reason))
    yield _event({"choices": [], "usage": USAGE})
    yield "data: [DONE]\n\n"


def _event(chunk: Chunk) -> str:
    return f"data: {json.dumps(chunk)}\n\n"


def _delta(delta: Chunk, logprobs: Chunk | None = None, finish_reason: str | None = None) -> Chunk:
    return {"choices": [{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}]}
