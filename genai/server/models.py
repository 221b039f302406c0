"""The models of a server: known by name, loaded when the first request asks for one, let go when nobody has for a while."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from genai.errors import ModelNotFoundError, OptionError, did_you_mean
from genai.folder import ModelFolder
from genai.generator import Generator

__all__ = ["ServedModels", "Target"]

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


@dataclass(slots=True)
class _Served:
    """One model: how it is loaded, and who uses it.

    Args:
        load: Loads it; runs in a thread.
        generator: The model while it is loaded.
        num_users: Requests that it is answering.
        idle_since: When the last one ended, by the monotonic clock.
        loading: Held by whoever loads it or lets it go.
    """

    load: Callable[[], Generator]
    generator: Generator | None = None
    num_users: int = 0
    idle_since: float = 0.0
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


class ServedModels:
    """Models by name, of which each is loaded once and shared by all who ask for it. Belongs to one event loop.

    Args:
        loaders: How each is loaded, by the name that requests use; the first answers requests that name none.
        adapters: The model of each adapter, by the adapter's name, which requests may use as a model's.
        keep_alive: Seconds without a request after which a model is let go; `None` keeps it.
    """

    def __init__(
        self,
        loaders: Mapping[str, Callable[[], Generator]],
        *,
        adapters: Mapping[str, str] | None = None,
        keep_alive: float | None = None,
    ) -> None:
        self._served = {name: _Served(load) for name, load in loaders.items()}
        self._adapters = dict(adapters or {})
        self._keep_alive = keep_alive
        self.created = int(time.time())

    @classmethod
    def of_folders(
        cls,
        folders: Mapping[str, ModelFolder],
        load: Callable[[ModelFolder], Generator],
        *,
        keep_alive: float | None = None,
    ) -> Self:
        """Return the models of some folders, under their names and those of their adapters.

        Args:
            folders: The folders, by the names that requests use.
            load: Loads the model of one.
            keep_alive: As the class takes it.

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
        loaders = {name: functools.partial(load, folder) for name, folder in folders.items()}
        return cls(loaders, adapters=adapters, keep_alive=keep_alive)

    @property
    def names(self) -> list[str]:
        """What requests may name: models, the default first, and adapters."""
        return [*self._served, *self._adapters]

    @property
    def loaded(self) -> Mapping[str, Generator]:
        """The models that are in memory now."""
        return {name: each.generator for name, each in self._served.items() if each.generator is not None}

    def find(self, name: str | None) -> Target:
        """Return what a request means that names this.

        Raises:
            ModelNotFoundError: There is nothing of this name.
        """
        if name is None:
            name = self.names[0]
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
        first = self._served[self.names[0]]
        first.generator, first.idle_since = first.load(), time.monotonic()

    @contextlib.asynccontextmanager
    async def use(self, target: Target) -> AsyncIterator[Generator]:
        """Give a model, loaded if it is not, which stays as long as the block lasts.

        Raises:
            GenaiError: It cannot be loaded.
        """
        served = self._served[target.model]
        served.num_users += 1
        try:
            async with served.loading:
                if served.generator is None:
                    served.generator = await asyncio.to_thread(served.load)
            yield served.generator
        finally:
            served.num_users -= 1
            served.idle_since = time.monotonic()

    async def let_idle_go(self) -> None:
        """Let go, until cancelled, what nobody has used for as long as it is kept."""
        while self._keep_alive is not None:
            await asyncio.sleep(min(_LOOK_SECONDS, max(self._keep_alive, 0.01)))
            for served in self._served.values():
                await self._let_go(served, idle_for=self._keep_alive)

    async def close(self) -> None:
        """Let all go, also those that answer."""
        for served in self._served.values():
            generator, served.generator = served.generator, None
            if generator is not None:
                await asyncio.to_thread(generator.close)

    async def _let_go(self, served: _Served, *, idle_for: float) -> None:
        if served.generator is None or served.num_users or time.monotonic() - served.idle_since < idle_for:
            return
        async with served.loading:  # a request that comes meanwhile waits, and loads it again
            generator, served.generator = served.generator, None
            await asyncio.to_thread(generator.close)
