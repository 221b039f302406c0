"""JSON that any text survives."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse

__all__ = ["AsciiJson"]


class AsciiJson(JSONResponse):
    """A JSON value in ASCII, since a text that a client sent may hold halves of characters, which UTF-8 has not."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, separators=(",", ":")).encode()
