"""The models of a server: known by name, loaded when the first request asks for one, let go when nobody has for a while.

Owns which of them are in memory together.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from genai.errors import GenaiError, ModelNotFoundError, OptionError, did_you_mean
from genai.folder import MemoryNeed, ModelFolder
from genai.generator import Generator
from genai.server.served_model import ServedModel, lacks_memory
from genai.wire import ApiError

__all__ = ["LoadLimits", "ServedModels", "Target"]

logger = logging.getLogger("genai.server")

_ANY_TAG = ":latest"
"""What Ollama's clients put behind a name that has no other tag."""
_LOOK_SECONDS = 1.0
"""How often idle models are looked for."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is for.

    Args:
        name: What it called that.
        model: The model.
        adapter: Its adapter, if the name is an adapter's.
    """

    name: str
    model: str
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """How much of a server's models may be in memory at a time.

    Args:
        max_loaded: Most models; `None` is all.
        max_bytes: Most bytes that they are expected to take; `None` is no limit.
        max_wait_seconds: How long a request waits for others to need a model no more, where its own does not fit beside theirs.
    """

    max_loaded: int | None = None
    max_bytes: int | None = None
    max_wait_seconds: float = 60.0

    def allow(self, models: Sequence[ServedModel]) -> bool:
        """Whether these may be in memory together; one alone always may."""
        if len(models) <= 1:
            return True
        too_many = self.max_loaded is not None and len(models) > self.max_loaded
        num_bytes = sum(model.num_bytes for model in models)
        return not too_many and (self.max_bytes is None or num_bytes <= self.max_bytes)


class ServedModels:
    """Models by name, of which each is loaded once and shared by all who ask for it. Belongs to one event loop.

    Args:
        loaders: How each is loaded, by the name that requests use; the first answers requests that name none.
        adapters: The model of each adapter, by the adapter's name, which requests may use as a model's.
        keep_alive: Seconds without a request after which a model is let go; `None` keeps it.
        sizes: About how many bytes of memory each takes, as far as it is known.
        limits: How many may be in memory.
    """

    def __init__(
        self,
        loaders: Mapping[str, Callable[[], Generator]],
        *,
        adapters: Mapping[str, str] | None = None,
        keep_alive: float | None = None,
        sizes: Mapping[str, int] | None = None,
        limits: LoadLimits | None = None,
    ) -> None:
        sizes = sizes or {}
        self._served = {name: ServedModel(load, sizes.get(name, 0)) for name, load in loaders.items()}
        self._limits = limits or LoadLimits()
        self._freed = asyncio.Event()  # wakes those that wait for room
        self._used = asyncio.Event()  # wakes whoever looks for idle models
        self._adapters = dict(adapters or {})
        self._keep_alive = keep_alive
        self.created = int(time.time())

    @classmethod
    def of_folders(
        cls,
        folders: Mapping[str, ModelFolder],
        options: Mapping[str, Any],
        *,
        keep_alive: float | None = None,
        limits: LoadLimits | None = None,
    ) -> Self:
        """Return the models of some folders, under their names and those of their adapters.

        Args:
            folders: The folders, by the names that requests use.
            options: Of `Generator`, for each of them.
            keep_alive: As the class takes it.
            limits: As the class takes them.

        Raises:
            OptionError: A name means two.
        """
        adapters: dict[str, str] = {}
        for name, folder in folders.items():
            for adapter in folder.adapter_files:
                if adapter in folders or adapter in adapters:
                    raise OptionError(
                        f"\"{adapter}\" is an adapter's name and another's: serve one of both by another server, or, if that "
                        "is a model, give it another name as NAME=MODEL"
                    )
                adapters[adapter] = name
        loaders = {name: functools.partial(Generator, folder, **options) for name, folder in folders.items()}
        sizes = {
            name: MemoryNeed.of_folder(folder).total_bytes(
                kv_cache_bytes=options.get("kv_cache_bytes"),
                max_context=options.get("max_context"),
                has_copy=options.get("optimize_for") != "memory",
            )
            for name, folder in folders.items()
        }
        served = cls(loaders, adapters=adapters, keep_alive=keep_alive, sizes=sizes, limits=limits)
        for name, folder in folders.items():
            served.models[name].folder = folder
        return served

    @property
    def names(self) -> list[str]:
        """What requests may name: models, the default first, and adapters."""
        return [*self._served, *self._adapters]

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """All models by name, loaded or not."""
        return self._served

    @property
    def loaded(self) -> Mapping[str, Generator]:
        """The models that are in memory now."""
        return {name: each.generator for name, each in self._served.items() if each.generator is not None}

    @property
    def too_large(self) -> Mapping[str, int]:
        """How many bytes each model is expected to take that alone takes more than all may; it is loaded all the same."""
        most = self._limits.max_bytes
        sizes = {name: each.num_bytes for name, each in self._served.items()}
        return {} if most is None else {name: size for name, size in sizes.items() if size > most}

    def find(self, name: str | None) -> Target:
        """Return what a request means that names this.

        Raises:
            ModelNotFoundError: There is nothing of this name.
        """
        if name is None:
            name = self.names[0]
        if name not in self.names and name.endswith(_ANY_TAG):
            name = name.removesuffix(_ANY_TAG)
        if name in self._adapters:
            return Target(name, self._adapters[name], name)
        if name not in self._served:
            raise ModelNotFoundError(
                f'there is no model "{name}" here; there are: {", ".join(self.names)}.{did_you_mean(name, self.names)}'
            )
        return Target(name, name)

    def load_default(self) -> None:
        """Load the first model now, before there is an event loop that waits for it.

        Raises:
            GenaiError: It cannot be loaded.
        """
        self._served[self.names[0]].load_now()

    @contextlib.asynccontextmanager
    async def use(self, target: Target, *, keep_alive: float | None = None) -> AsyncIterator[Generator]:
        """Give a model, loaded if it is not, which stays as long as the block lasts.

        Args:
            target: What is used.
            keep_alive: For how many seconds it is to stay afterwards; `None` is what the server has for all.

        Raises:
            GenaiError: It cannot be loaded.
            ApiError: It does not fit beside those that others need, and that did not change for long.
        """
        served = self._served[target.model]
        served.num_users += 1
        served.keep_alive = keep_alive
        try:
            yield await self._loaded(served)
        finally:
            served.num_users -= 1
            served.idle_since = time.monotonic()
            self._used.set()
            self._freed.set()

    async def let_idle_go(self) -> None:
        """Let go, until cancelled, what nobody has used for as long as it is kept."""
        step = min(_LOOK_SECONDS, max(self._keep_alive or math.inf, 0.01))
        while True:
            self._used.clear()
            for served in self._served.values():
                if served.is_idle and self.seconds_left(served) <= 0:
                    await served.let_go()
            await _wait(self._used, step)

    def seconds_left(self, served: ServedModel) -> float:
        """Return how long a model that is loaded stays if nobody asks for it."""
        kept = self._keep_alive if served.keep_alive is None else served.keep_alive
        if kept is None:
            return math.inf
        return kept if served.num_users else served.idle_since + kept - time.monotonic()

    async def unload(self, target: Target) -> None:
        """Let a model go now, or as soon as nobody uses it."""
        served = self._served[target.model]
        served.keep_alive = 0.0
        await served.let_go()

    async def close(self) -> None:
        """Let all go, also those that answer."""
        for served in self._served.values():
            await served.end()

    async def _loaded(self, served: ServedModel) -> Generator:
        """Return a model, loaded once for all who wait for it, and not in vain if one of them goes away."""
        async with served.changing:  # or it might be going just now
            if served.generator is not None:
                return served.generator
            if served.loading is None:
                served.loading = asyncio.create_task(self._load(served))
                served.loading.add_done_callback(_look_at)
        return await asyncio.shield(served.loading)

    async def _load(self, served: ServedModel) -> Generator:
        try:
            await self._make_room(served)
            served.is_loading = True
            try:
                return await asyncio.to_thread(served.load_now)
            except (GenaiError, MemoryError) as error:
                if not lacks_memory(error) or not await self._let_all_idle_go():
                    raise
                logger.warning("idle models were let go, since there was no memory for another: %s", error)
            return await asyncio.to_thread(served.load_now)
        finally:
            served.loading, served.is_loading = None, False
            self._freed.set()

    async def _make_room(self, served: ServedModel) -> None:
        """Let idle models go until another one fits, the one first that was used longest ago; wait for those in use.

        Raises:
            ApiError: That took too long, or nobody waits any more.
        """
        end = time.monotonic() + self._limits.max_wait_seconds
        while not self._limits.allow(
            [served, *(each for each in self._served.values() if each.takes_memory)]
        ):
            self._freed.clear()
            idle = [each for each in self._served.values() if each.is_idle]
            if idle and await min(idle, key=lambda each: each.idle_since).let_go():
                continue
            left = end - time.monotonic()
            if left <= 0 or not served.num_users:
                raise ApiError(
                    "the model is not loaded, and those that are loaded are answering, beside which there is no room for it: "
                    "come back later",
                    status=503,
                    code="model_not_loaded",
                    headers={"Retry-After": "10"},
                )
            await _wait(self._freed, min(left, _LOOK_SECONDS))

    async def _let_all_idle_go(self) -> int:
        """Let go whatever nobody needs now; return how many went."""
        return sum([await each.let_go() for each in self._served.values() if each.is_idle])


async def _wait(event: asyncio.Event, max_seconds: float) -> None:
    """Wait for an event for some time; `asyncio.wait_for` of Python 3.11 may lose a cancellation that comes with it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max_seconds):
            await event.wait()


def _look_at(load: asyncio.Task[Generator]) -> None:
    """Look at the error of a load, which is nobody's where all who waited for it have gone."""
    if not load.cancelled():
        load.exception()
