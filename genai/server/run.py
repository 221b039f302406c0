"""Running an application until a signal ends it: at once not ready, over when all answers are, and at a second signal now."""

from __future__ import annotations

import json
import logging
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from genai.errors import OptionError

__all__ = ["listen", "run_server"]

logger = logging.getLogger("genai.server")


class _Server(uvicorn.Server):
    """uvicorn, which drains at the first signal and hurries at the second, whichever they are."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Note a signal; uvicorn would raise it again at the end, but ending well is what was asked for."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self.config.app.state.server.is_draining = True  # type: ignore[union-attr]
        logger.info(json.dumps({"signal": signal.Signals(sig).name, "waits": not self.force_exit}))


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


def run_server(app: FastAPI, listening: socket.socket) -> None:
    """Serve until a signal comes and what runs has ended.

    Args:
        app: The application of `make_app`.
        listening: Where.
    """
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", server_header=False)
    _Server(config).run(sockets=[listening])
