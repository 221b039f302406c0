"""Everything that generates, whichever interface asks for it: a body is read, carried out, and answered whole or as events."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from genai.answering import Answering
from genai.server.ascii_json import AsciiJson
from genai.server.errors import told_error
from genai.server.http import EventStream, read_json, while_connected
from genai.server.keys import client_of
from genai.server.observed import ObservedGeneration, note_generation
from genai.server.openapi import described_interface
from genai.server.state import ServerState
from genai.text import Tokenizer
from genai.wire import INTERFACES, AnswerEvents, AnswerFacts, Event, Exchange, Interface

__all__ = ["generation_routes"]


def generation_routes(state: ServerState) -> APIRouter:
    """Return the routes over what a server has, one for each interface."""
    router = APIRouter()
    for path, interface in INTERFACES.items():
        described = described_interface(interface.summary, interface.schemas())
        router.post(path, name=path.strip("/").replace("/", "_"), **described)(_route(state, interface))
    return router


def _route(state: ServerState, interface: Interface) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await _answer(state, request, interface, interface.read(await read_json(request)))

    return answer


async def _answer(state: ServerState, request: Request, interface: Interface, exchange: Exchange) -> Response:
    wanted = exchange.request
    client = client_of(request.scope)
    target, created = state.models.find(wanted.model), time.time()
    if target.adapter is not None:
        wanted = wanted.with_adapter(target.adapter)
    async with contextlib.AsyncExitStack() as needed:
        needed.enter_context(state.admitted(client))
        if not wanted.prompts:
            wanted.check_options()
            if wanted.keep_alive == 0:
                await state.models.unload(target)
                return _nothing(exchange, AnswerFacts(target.name, created, _no_tokenizer))
        generation = ObservedGeneration(interface.operation, wanted, target.name)
        if wanted.prompts:
            note_generation(request.scope, generation)
        use = needed.enter_async_context(state.models.use(target, keep_alive=wanted.keep_alive))
        generator = await while_connected(request, use)
        load_seconds = time.time() - created
        generation.answering = answering = await Answering.begin(generator, wanted, client=client)
        needed.callback(answering.cancel)
        needed.enter_context(state.ended_by(answering.cancel))
        state.check_not_cut()
        facts = AnswerFacts(
            target.name,
            created,
            lambda: generator.tokenizer,
            num_prompt_tokens=answering.num_prompt_tokens,
            load_seconds=load_seconds,
        )
        if wanted.stream:
            pieces = _events(state, request, generation, answering, exchange.events(facts))
            return EventStream(pieces, exchange.framing, needed.pop_all())
        generation.results = await while_connected(request, answering.results())
        state.check_not_cut()
        state.metrics.add(target.name, generation.results)
        return AsciiJson(exchange.answer(generation.results, facts))


def _nothing(exchange: Exchange, facts: AnswerFacts) -> Response:
    """Return the answer to a request without prompts."""
    if not exchange.request.stream:
        return AsciiJson(exchange.answer([], facts))
    lines = b"".join(map(exchange.framing.encode, exchange.events(facts).end([])))
    return Response(lines, media_type=exchange.framing.media_type)


def _no_tokenizer() -> Tokenizer:
    raise AssertionError("an answer to nothing shows no tokens")


async def _events(
    state: ServerState,
    request: Request,
    generation: ObservedGeneration,
    answering: Answering,
    events: AnswerEvents,
) -> AsyncIterator[Event]:
    """Yield the events of a streamed answer; what goes wrong is the last of them."""
    clock = state.metrics.clock(generation.model)
    for event in events.begin():
        yield event
    try:
        async for number, piece in answering.pieces():
            clock.tick(len(piece.token_ids))
            for event in events.of_piece(number, piece):
                yield event
        state.check_not_cut()
        for event in events.end(answering.finished):
            yield event
        generation.results = answering.finished
    except Exception as error:  # noqa: BLE001 - there is no other way to tell it
        for event in events.fail(told_error(error, request.scope)):
            yield event
    finally:  # also where the client has left
        state.metrics.add(generation.model, answering.finished, num_streamed=clock.num_tokens)
