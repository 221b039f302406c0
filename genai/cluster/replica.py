"""One replica: the server's application without a socket, asked by whoever has its handle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, MutableMapping
from typing import Any

from genai.cluster.loading import ModelSource
from genai.server import LoadLimits, ServedModels, ServerSettings, make_app

__all__ = ["Messages", "Replica"]

Messages = list[MutableMapping[str, Any]]
"""What an application sends (https://asgi.readthedocs.io/en/latest/specs/www.html), as much as there is at once."""


class Replica:
    """The models of one server, loaded on the machine that Ray has chosen.

    Who may ask was seen to before: it answers whoever has its handle, and is reached by no network but the cluster's.

    Args:
        models: The models, by the names that requests use.
        source: How they are found and loaded.
        settings: How the server behaves, without keys.
        keep_alive: As `ServedModels` takes it.
        limits: As `ServedModels` takes them.

    Raises:
        GenaiError: The first model cannot be loaded.
    """

    def __init__(
        self,
        models: Mapping[str, str],
        source: ModelSource,
        settings: ServerSettings,
        *,
        keep_alive: float | None = None,
        limits: LoadLimits | None = None,
    ) -> None:
        source.check_version()
        folders = {name: source.folder(model) for name, model in models.items()}
        served = ServedModels.of_folders(folders, source.load, keep_alive=keep_alive, limits=limits)
        served.load_default()
        self._app = make_app(served, settings)
        self._life = contextlib.AsyncExitStack()
        self._is_begun = False

    async def answer(self, scope: Mapping[str, Any], body: bytes) -> AsyncIterator[Messages]:
        """Yield what the application sends in answer to a request; whoever stops reading ends it.

        The message that begins the response has "genai.route", the path of the route that answers, if there is one.
        """
        await self._begin()
        call = _Call(body)
        own_scope = {**scope, "state": dict(scope["state"])}
        answering = asyncio.create_task(self._app(own_scope, call.receive, call.send))
        answering.add_done_callback(call.finish)
        try:
            async for messages in call.messages():
                for message in messages:
                    if message["type"] == "http.response.start":
                        message["genai.route"] = getattr(own_scope.get("route"), "path", None)
                yield messages
            await answering
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def metrics(self) -> tuple[str, str]:
        """Return what it is called, and what it counts, in the text format of Prometheus."""
        from ray import serve

        text: bytes = self._app.state.server.metrics.text()
        return serve.get_replica_context().replica_id.unique_id, text.decode()

    async def check_health(self) -> None:
        """Answer Ray, which asks every few seconds, in the loop that answers requests."""
        await self._begin()

    async def _begin(self) -> None:
        """Begin what the application does beside answering; there was no loop for it before."""
        if not self._is_begun:
            self._is_begun = True
            await self._life.enter_async_context(self._app.router.lifespan_context(self._app))


class _Call:
    """One call of an ASGI application, whose messages are kept until they are taken.

    Args:
        body: Of the request.
    """

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._sent: Messages = []
        self._news = asyncio.Event()
        self._is_over = False

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the request's body, then nothing more: a client that is gone cancels the call."""
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Keep a message."""
        self._sent.append(dict(message))
        self._news.set()

    def finish(self, _: asyncio.Future[Any]) -> None:
        """Note that no more messages come."""
        self._is_over = True
        self._news.set()

    async def messages(self) -> AsyncIterator[Messages]:
        """Yield what has been sent since, whenever there is something."""
        while True:
            await self._news.wait()
            self._news.clear()
            is_over = self._is_over
            sent, self._sent = self._sent, []
            if sent:
                yield sent
            if is_over:
                return
