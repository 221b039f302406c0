"""A Ray Serve application by its import path, `genai.cluster.service:application`: for RayService on Kubernetes and `serve deploy`.

There Ray's HTTP proxies listen, on every node, and the front is a deployment behind them. It has the same layers, so keys, origins
and sizes hold; a request whose front is lost has Ray's answer, a 500.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fastapi import FastAPI
from ray import serve

from genai.cluster.deployment import REPLICA, ReplicaSettings, replica_application
from genai.cluster.front import make_front
from genai.cluster.loading import ModelSource
from genai.cluster.replicas import Replicas
from genai.errors import OptionError
from genai.server import ServerSettings, log_to_stderr

__all__ = ["application"]

KEY_VARIABLE = "GENAI_API_KEY"
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arguments:
    """What the configuration's `args` may hold.

    Args:
        models: The models, by the names that requests use.
        find: Options of `prepare_model`: precision, variant, offline, revision.
        load: Options of `Generator`: max_batch, max_context, provider, …
        server: Fields of `ServerSettings`; keys are better told by the environment's GENAI_API_KEY, one a line.
        replicas: Fields of `ReplicaSettings`.
        num_fronts: How many fronts there are.
        keep_alive: As `ServedModels` takes it.
    """

    models: Mapping[str, str]
    find: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)
    replicas: Mapping[str, Any] = field(default_factory=dict)
    num_fronts: int = 2
    keep_alive: float | None = None


def application(args: Mapping[str, Any]) -> serve.Application:
    """Return the application that a configuration's `args` describe.

    Raises:
        OptionError: They have what there is not.
    """
    given = _made(_Arguments, args, "args")
    settings = _made(ServerSettings, {"host": "0.0.0.0", **given.server}, "args.server")
    replicas = replica_application(
        given.models,
        ModelSource(find=given.find, load=given.load),
        settings,
        _made(ReplicaSettings, given.replicas, "args.replicas"),
        keep_alive=given.keep_alive,
    )

    def build() -> FastAPI:
        keys = tuple(filter(None, map(str.strip, os.environ.get(KEY_VARIABLE, "").splitlines())))
        log_to_stderr()
        handle = serve.get_deployment_handle(REPLICA)
        return make_front(Replicas(handle), replace(settings, api_keys=(*settings.api_keys, *keys)))

    front: serve.Deployment = serve.deployment(
        name="front",
        num_replicas=given.num_fronts,
        ray_actor_options={"num_cpus": 0},  # it only passes on
        max_ongoing_requests=settings.max_requests,
    )(serve.ingress(build)())
    bound: serve.Application = front.bind(replicas)
    return bound


def _made(kind: type[_Value], given: Mapping[str, Any], place: str) -> _Value:
    try:
        return kind(**given)
    except TypeError as error:
        raise OptionError(f"{place}: {error}") from error
