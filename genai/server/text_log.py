"""What was asked and answered, word for word, for whoever wants that: a second line of JSON for each request that has a body.

Not to be had by accident: a server has this layer only where its settings say so.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import MutableMapping
from typing import Any

from genai.server.guards import App, Receive, Scope, Send
from genai.server.keys import client_of

__all__ = ["TextLog"]

logger = logging.getLogger("genai.server")


class TextLog:
    """Logs bodies as they came and went, also those of answers that were cut; the line of the request itself is the next.

    Args:
        app: What answers.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        asked, answered = bytearray(), bytearray()

        async def receive_noting() -> MutableMapping[str, Any]:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def send_noting(message: MutableMapping[str, Any]) -> None:
            answered.extend(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive_noting, send_noting)
        finally:
            entry = {
                "time": time.time(),
                "request_id": scope["state"]["request_id"],
                "client": client_of(scope),
                "path": scope["path"],
                "request": asked.decode(errors="replace"),
                "answer": answered.decode(errors="replace"),
            }
            logger.info("%s", json.dumps(entry))
