"""Asking replicas: one that the session belongs to, and another where one is lost before its answer has begun."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, MutableMapping
from typing import Any, cast

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from genai.cluster.errors import ReplicaLostError
from genai.cluster.replica import Messages
from genai.errors import GenerationError

__all__ = ["Replicas"]

logger = logging.getLogger("genai.server")

_MAX_TRIES = 8
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
"""Between tries: longer each time, since a node's end is noticed only after a while."""


class Replicas:
    """The replicas behind one handle.

    Args:
        handle: Of the deployment of `Replica`.
    """

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def ask(
        self, scope: Mapping[str, Any], body: bytes, *, session: str
    ) -> AsyncGenerator[MutableMapping[str, Any]]:
        """Yield the messages of an answer, the first of them when there is something of its body.

        Args:
            scope: The request, as ASGI has it.
            body: Its body.
            session: What it belongs to; "" is nothing.

        Raises:
            ReplicaLostError: The replica is gone before the end of its answer; where nothing was yielded yet, several were, one
                after another.
        """
        for number in range(_MAX_TRIES):
            has_begun = is_whole = False
            try:
                answer = _held_until_body(self._ask_one(scope, body, session))
                async with contextlib.aclosing(answer) as messages:
                    async for message in messages:
                        has_begun, is_whole = True, _is_last(message)
                        yield message
                return
            except ReplicaLostError:
                if is_whole:
                    return
                if has_begun or number == _MAX_TRIES - 1:
                    raise
                logger.warning("a replica is lost; its request is tried again")
            await asyncio.sleep(min(_FIRST_PAUSE_SECONDS * 2**number, _LONGEST_PAUSE_SECONDS))

    async def metrics(self, *, timeout_seconds: float) -> Mapping[str, str]:
        """Return what each replica counts, by what it is called; one that does not answer in time is left out."""
        try:
            answers = await self._handle.broadcast("metrics").results_async(
                timeout_s=timeout_seconds, return_exceptions=True
            )
        except (RayError, RayServeException, TimeoutError):
            return {}
        return dict(answer for answer in answers if not isinstance(answer, BaseException))

    async def _ask_one(self, scope: Mapping[str, Any], body: bytes, session: str) -> AsyncGenerator[Messages]:
        handle = self._handle.options(method_name="answer", session_id=session, stream=True)
        answer = cast("DeploymentResponseGenerator[Messages]", handle.remote(scope, body))
        is_over = False
        try:
            async for messages in answer:
                yield messages
            is_over = True
        except (RayError, RayServeException) as error:
            is_over = True
            raise _explained(error) from error
        finally:
            if not is_over:
                answer.cancel()  # type: ignore[no-untyped-call]


def _explained(error: Exception) -> Exception:
    """Return what an error of Ray's means to who asked."""
    if isinstance(error, RayTaskError):  # the replica is there, and raised it
        return GenerationError(f"a replica failed: {error.cause}")
    return ReplicaLostError()


def _is_last(message: Mapping[str, Any]) -> bool:
    """Whether a message ends its response."""
    return message["type"] == "http.response.body" and not message.get("more_body", False)


async def _held_until_body(answer: AsyncGenerator[Messages]) -> AsyncGenerator[MutableMapping[str, Any]]:
    """Yield messages one by one, the response's beginning together with the first bytes of its body."""
    held: Messages = []
    async with contextlib.aclosing(answer) as several:
        async for messages in several:
            for message in messages:
                held.append(message)
                if message["type"] == "http.response.start":
                    continue
                for each in held:
                    yield each
                held = []
