"""Running an application until a signal ends it: at once not ready, over when all answers are, and at a second signal now.

Until the answers are over the server listens, so that who asks meanwhile is told to ask another.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from genai.errors import OptionError
from genai.server.state import Admission

__all__ = ["listen", "run_server"]

logger = logging.getLogger("genai.server")

_LOOK_SECONDS = 0.05
_LAST_WORDS_SECONDS = 2.0
"""How long answers that are cut have to say so."""


class _Server(uvicorn.Server):
    """uvicorn, which drains at the first signal and hurries at the second, whichever they are."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Note a signal; uvicorn would raise it again at the end, but ending well is what was asked for."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._state.is_draining = True
        logger.info(json.dumps({"signal": signal.Signals(sig).name, "waits": not self.force_exit}))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what was admitted end, while others are told that it drains; then close the port, and let the rest end."""
        while self._state.num_requests and not self.force_exit:
            await asyncio.sleep(_LOOK_SECONDS)
        if self.force_exit:
            await self._cut()
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn leaves the application to be cancelled
            await self._cut()
            await self.lifespan.shutdown()

    async def _cut(self) -> None:
        """End what runs: by its own last words, and what has none left by cancelling it."""
        self._state.cut()
        for task in await self._late():
            task.cancel()
        await self._late()

    async def _late(self) -> set[asyncio.Task[None]]:
        """Return the requests that have not ended in time."""
        tasks = set(self.server_state.tasks)
        return (await asyncio.wait(tasks, timeout=_LAST_WORDS_SECONDS))[1] if tasks else tasks

    @property
    def _state(self) -> Admission:
        state: Admission = self.config.app.state.server  # type: ignore[union-attr]
        return state


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        OptionError: The address is none of this machine's, or the port is taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        try:
            if hasattr(signal, "SIGHUP"):  # elsewhere it would let two servers share a port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        raise OptionError(
            f"cannot listen on {host}, port {port}: {error}; choose others: --host, --port"
        ) from error
    return listening


def run_server(app: FastAPI, listening: socket.socket) -> bool:
    """Serve until a signal comes and what runs has ended; return whether it was let end.

    Args:
        app: The application of `make_app`.
        listening: Where.
    """
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", server_header=False)
    server = _Server(config)
    server.run(sockets=[listening])
    return not server.force_exit
