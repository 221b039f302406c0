"""Who may ask: checks that stand before everything else, each a layer of ASGI (https://asgi.readthedocs.io).

A web page that somebody visits can send requests to a server on their own machine; so whatever a browser sends for a page of
another origin is refused unless that page was named, as are other names for this machine, by which a page gets round that.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers

from genai.server.errors import error_response
from genai.server.keys import ApiKey
from genai.server.page_routes import PAGE, PAGE_FILES
from genai.wire import ApiError

__all__ = ["OPEN_PATHS", "KeyCheck", "OriginCheck"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/health", "/health/live", "/health/ready", PAGE})
"""What those may ask who have no key: whether the server is well, and the page that asks people for theirs."""
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class _Guard:
    """A layer that lets through what it has nothing against."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope, Headers(scope=scope))
            except ApiError as error:
                await error_response(error, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        raise NotImplementedError


class OriginCheck(_Guard):
    """Refuses what pages of other origins send, and other names for this machine.

    Args:
        app: What is guarded.
        allowed_origins: The origins that may; "*" is all.
        is_local: Whether only this machine can reach the server.
        host: The name that it listens under.
    """

    def __init__(self, app: App, *, allowed_origins: Sequence[str], is_local: bool, host: str) -> None:
        super().__init__(app)
        self._origins = frozenset(allowed_origins)
        self._names = frozenset({*_LOCAL_NAMES, host.lower()}) if is_local else None

    def _check(self, scope: Scope, headers: Headers) -> None:  # noqa: ARG002
        host = headers.get("host", "")
        if self._names is not None and _without_port(host) not in self._names:
            raise ApiError(
                f'the server is for this machine alone and does not answer to the name "{host}"', status=403
            )
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return
        if origin.partition("://")[2] != host:
            raise ApiError(
                f"pages of {origin} may not ask here: start the server with --allow-origin", status=403
            )


class KeyCheck(_Guard):
    """Asks for a key, in the same time whichever is wrong, and notes whose it is (`client_of`).

    Args:
        app: What is guarded.
        keys: Those that are right; none asks for none.
    """

    def __init__(self, app: App, *, keys: Sequence[ApiKey]) -> None:
        super().__init__(app)
        self._keys = keys

    def _check(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        if not self._keys or path in OPEN_PATHS or path.startswith(PAGE_FILES):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        key = given.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        sent = key.encode("latin-1")  # as it was decoded
        matching = [
            each for each in self._keys if hmac.compare_digest(sent, each.secret.encode())
        ]  # all, always
        if not matching:
            raise ApiError(
                "a key is needed here: send it as Authorization: Bearer KEY"
                if not key
                else "this key is not known here",
                status=401,
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        scope["state"]["client"] = matching[0].client


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()
