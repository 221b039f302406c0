"""One model of a server: how it is loaded, whether it is, and who uses it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from genai.engine import Workload
from genai.errors import OutOfMemoryError
from genai.folder import ModelFolder
from genai.generator import Generator

__all__ = ["ServedModel", "lacks_memory"]

logger = logging.getLogger("genai.server")

_ALLOCATION = re.compile(r"bad.?alloc|fail\w* to allocate|out of memory|not enough memory", re.IGNORECASE)
"""How ONNX Runtime and the libraries below it say that memory is lacking."""


@dataclass(slots=True, eq=False)
class ServedModel:
    """One model: how it is loaded, and who uses it. Belongs to one event loop.

    Args:
        load: Loads it; runs in a thread.
        num_bytes: About how much memory it will take; 0 if that is not known.
        generator: The model while it is loaded.
        is_loading: Whether memory is being filled with it.
        num_users: Requests that it is answering, or that wait for it.
        idle_since: When the last one ended, by the monotonic clock.
        keep_alive: For how many seconds the last request wanted it to stay; `None` leaves it to the server.
        folder: Its folder, as soon as that is known.
        num_loads: How often it was loaded.
        load_seconds: How long that took in all.
        past_preemptions: How often a request gave its place up, in all the times that it was loaded before.
        is_going: Whether it is being let go.
        changing: Held by whoever lets it go.
        loading: What loads it, for all who wait.
    """

    load: Callable[[], Generator]
    num_bytes: int = 0
    generator: Generator | None = None
    is_loading: bool = False
    num_users: int = 0
    idle_since: float = 0.0
    keep_alive: float | None = None
    folder: ModelFolder | None = None
    num_loads: int = 0
    load_seconds: float = 0.0
    past_preemptions: int = 0
    is_going: bool = False
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    loading: asyncio.Task[Generator] | None = None

    @property
    def takes_memory(self) -> bool:
        """Whether it is in memory, or about to be."""
        return self.generator is not None or self.is_loading

    @property
    def is_idle(self) -> bool:
        """Whether it is in memory and nobody needs it."""
        return self.generator is not None and not self.num_users

    def workload(self) -> Workload | None:
        """Return what it has to do; `None` where it is not loaded, or just going."""
        return None if self.generator is None or self.is_going else self.generator.workload()

    def load_now(self) -> Generator:
        """Load it, and let it do what requests would wait for; blocks.

        Raises:
            GenaiError: It cannot be loaded.
        """
        begin = time.monotonic()
        generator = self.load()
        generator.warm_up()
        self.generator, self.folder = generator, generator.folder
        self.idle_since = time.monotonic()
        self.num_loads += 1
        self.load_seconds += self.idle_since - begin
        return self.generator

    async def let_go(self) -> bool:
        """Let it go, unless somebody needs it now; return whether it went."""
        async with self.changing:  # a request that comes meanwhile waits, and loads it again
            if not self.is_idle:
                return False
            await self._close()
        return True

    async def end(self) -> None:
        """Let it go for good, also if it answers."""
        if self.loading is not None:
            await asyncio.wait([self.loading])
        async with self.changing:
            await self._close()

    async def _close(self) -> None:
        if self.generator is None:
            return
        try:
            self.past_preemptions += self.generator.workload().num_preemptions
            self.is_going = True
            await asyncio.to_thread(self.generator.close)
        except Exception:
            logger.exception("a model that is let go failed; nobody uses it any more")
        finally:
            self.generator, self.is_going = None, False  # only now is its memory free


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that memory is lacking."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, (MemoryError, OutOfMemoryError)) or _ALLOCATION.search(str(found)):
            return True
        found = found.__cause__
    return False
