"""One line of JSON for each request: who asked for what, how it ended, and how long it took; never a word of the texts."""

from __future__ import annotations

import json
import logging
import sys
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from genai.server.guards import App, Receive, Scope, Send
from genai.server.http import CLIENT_CLOSED_REQUEST
from genai.server.keys import client_of
from genai.server.metrics import Metrics
from genai.server.observed import noted_error
from genai.server.page_routes import PAGE, PAGE_FILES

__all__ = ["AccessLog", "log_to_stderr"]

logger = logging.getLogger("genai.server")

_ID_HEADER = "x-request-id"
_MAX_ID = 128


class AccessLog:
    """Logs and counts requests, and gives each an id, which its response carries; a client's own id is kept.

    Args:
        app: What answers.
        metrics: Where they are counted.
    """

    def __init__(self, app: App, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(_ID_HEADER, "")
        request_id = given if given.isprintable() and 0 < len(given) <= _MAX_ID else uuid.uuid4().hex
        begun, status, is_whole = time.monotonic(), 0, False
        scope["state"]["request_id"] = request_id

        async def send_with_id(message: MutableMapping[str, Any]) -> None:
            nonlocal status, is_whole
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[_ID_HEADER] = request_id
            await send(message)
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            route = scope.get("route")
            self._metrics.count("other" if route is None else route.path, status)
            entry = {
                "time": time.time(),
                "request_id": request_id,
                "client": client_of(scope),
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "seconds": round(time.monotonic() - begun, 4),
            }
            if (ended := _ended(scope, status, is_whole=is_whole)) is not None:
                entry["ended"] = ended
            if (trace_id := scope["state"].get("trace_id")) is not None:
                entry["trace_id"] = trace_id
            if status >= 400 or "ended" in entry or not _is_of_the_page(scope["path"]):
                logger.info("%s", json.dumps(entry))


def _ended(scope: Scope, status: int, *, is_whole: bool) -> str | None:
    """Return who ended an answer that did not end by itself."""
    if (noted_error(scope) is not None and status == 200) or sys.exception() is not None:
        return "server"
    return "client" if status == CLIENT_CLOSED_REQUEST or not is_whole else None


def _is_of_the_page(path: str) -> bool:
    """Whether it is one of the many files that a browser asks for by itself."""
    return path == PAGE or path.startswith(PAGE_FILES)


def log_to_stderr() -> None:
    """Have the log of requests written to stderr, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
