"""Requests written by hand into a socket, for what no client does on purpose."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from tests.server.conftest import Running


def connect(server: Running) -> socket.socket:
    """Return a connection, with a generous limit on how long it waits."""
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head(start: str, **headers: str | int) -> bytes:
    """Return a request up to its body; `content_length=3` is the header Content-Length."""
    lines = [
        start,
        "Host: 127.0.0.1",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: Any, **headers: str) -> bytes:
    """Return a whole request."""
    content = json.dumps(body).encode()
    return head(f"POST {path} HTTP/1.1", content_length=len(content), **headers) + content


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def reset(connection: socket.socket) -> None:
    """Close it as a process that was killed does, with what it has not read thrown away."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
