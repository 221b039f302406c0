"""A batch on a cluster: actors with a model each, among which its requests are dealt out, and who runs those of a lost one.

Plain actors, and neither Ray Data nor Ray Serve. Data hands results over by blocks, and takes up a job where it was by files of
its own; a batch writes each result when it is there, and goes on from its file of results. And what Serve runs outlives who asked
for it, while a batch that is killed should leave nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

from genai.batch import BatchLine, failed_result, result_of
from genai.cluster.connection import even_cpus
from genai.cluster.loading import ModelSource
from genai.errors import GenerationError

__all__ = ["BatchActors", "batch_actors"]

_MAX_TRIES = 3
"""Of a request whose actor is lost: perhaps by the request."""
_LOOK_SECONDS = 0.5
"""How often an actor that begins anew is looked for."""


class BatchActor:
    """One model, which answers the requests of a batch.

    Args:
        model: The model.
        source: How it is found and loaded.

    Raises:
        GenaiError: It cannot be loaded.
    """

    def __init__(self, model: str, source: ModelSource) -> None:
        source.check_version()
        self._generator = source.generator(source.folder(model))

    async def be_ready(self) -> None:
        """Answer as soon as the model is loaded."""

    async def result_of(self, line: BatchLine, name: str) -> dict[str, Any]:
        """Return what the file of results says of a request; the model is called by a name there."""
        return await result_of(self._generator, line, name)


class BatchActors:
    """Actors that share the requests of a batch: a request takes a seat at one of them, whichever is free first.

    Args:
        actors: The actors, of which any may still load its model.
        num_seats: How many requests run or wait at each.

    It belongs to the event loop that asks first.
    """

    def __init__(self, actors: list[ActorHandle[BatchActor]], num_seats: int) -> None:
        self._num_seats = num_seats
        self._free = dict.fromkeys(actors, 0)
        self._changed = asyncio.Condition()
        self._returning: set[asyncio.Task[None]] = set()
        self._is_begun = False
        self._gone: dict[ActorHandle[BatchActor], Exception] = {}

    async def result_of(self, line: BatchLine, name: str) -> dict[str, Any]:
        """Return what the file of results says of a request, run again where its actor is lost.

        Raises:
            GenerationError: All actors are gone for good.
        """
        self._begin()
        for _ in range(_MAX_TRIES):
            actor = await self._take_seat()
            try:
                result: dict[str, Any] = await actor.result_of.remote(line, name)
            except RayActorError:
                # no other request is to lose a try there: its free seats go, too, until it is back
                num_free, self._free[actor] = self._free[actor], 0
                self._return_when_ready(actor, num_free + 1)
                continue
            await self._leave(actor)
            return result
        return failed_result(line, GenerationError(f"the actors that ran it are lost, {_MAX_TRIES} times"))

    @property
    def num_seats(self) -> int:
        """How many requests run or wait at all of them."""
        return self._num_seats * len(self._free)

    def _begin(self) -> None:
        """Let seats be taken at each actor as soon as it is ready."""
        if not self._is_begun:
            self._is_begun = True
            for actor in self._free:
                self._return_when_ready(actor, self._num_seats)

    async def _take_seat(self) -> ActorHandle[BatchActor]:
        """Wait for a seat at the actor that has most of them."""
        async with self._changed:
            await self._changed.wait_for(lambda: any(self._free.values()) or self._all_are_gone)
            if self._all_are_gone:
                raise GenerationError(f"no actor is left: {next(iter(self._gone.values()))}")
            actor = max(self._free, key=self._free.__getitem__)
            self._free[actor] -= 1
            return actor

    async def _leave(self, actor: ActorHandle[BatchActor], num_seats: int = 1) -> None:
        async with self._changed:
            self._free[actor] += num_seats
            self._changed.notify(num_seats)

    @property
    def _all_are_gone(self) -> bool:
        return len(self._gone) == len(self._free)

    def _return_when_ready(self, actor: ActorHandle[BatchActor], num_seats: int) -> None:
        task = asyncio.create_task(self._return(actor, num_seats))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _return(self, actor: ActorHandle[BatchActor], num_seats: int) -> None:
        while True:
            try:
                await actor.be_ready.remote()
            except ActorUnavailableError:
                await asyncio.sleep(_LOOK_SECONDS)
            except (ActorDiedError, RayTaskError) as error:
                async with self._changed:
                    self._gone[actor], self._free[actor] = error, 0
                    self._changed.notify_all()
                return
            else:
                await self._leave(actor, num_seats)
                return


@contextlib.contextmanager
def batch_actors(
    model: str, source: ModelSource, *, num_actors: int, num_cpus: int | None, num_gpus: float, num_seats: int
) -> Iterator[BatchActors]:
    """Begin actors on the cluster, which end with the block.

    Args:
        model: The model of each.
        source: How it is found and loaded.
        num_actors: How many.
        num_cpus: CPUs and threads of each; `None` gives the cluster's out evenly.
        num_gpus: GPUs of each.
        num_seats: How many requests run or wait at each.
    """
    num_cpus = num_cpus or even_cpus(num_actors)
    kind = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=-1)(BatchActor)
    source = source.with_threads(num_cpus)
    actors = [cast("ActorHandle[BatchActor]", kind.remote(model, source)) for _ in range(num_actors)]
    try:
        yield BatchActors(actors, num_seats)
    finally:
        for actor in actors:
            ray.kill(actor)
