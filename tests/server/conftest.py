"""A server over the demo model, in a thread of this process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from genai import Generator
from genai.server import ServedModels, ServerSettings, listen, make_app


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    app: FastAPI
    url: str

    @property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[Running]:
    """Serve an application until the block ends."""
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=30
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Running(app, f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def demo(**options: Any) -> Generator:
    return Generator("demo", **options)


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Start servers, which end with the test: `serve(loaders, keep_alive=…, **settings)`."""
    with contextlib.ExitStack() as stack:

        def start(
            loaders: dict[str, Callable[[], Generator]] | None = None,
            *,
            keep_alive: float | None = None,
            **settings: Any,
        ) -> Running:
            models = ServedModels(loaders or {"demo": demo}, keep_alive=keep_alive)
            return stack.enter_context(running(make_app(models, ServerSettings(**settings))))

        yield start


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """A server that the tests of a module share."""
    with running(make_app(ServedModels({"demo": demo, "other": demo}), ServerSettings())) as server:
        yield server


def until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.01)
