"""Replicas as Ray Serve runs them: how many, where, how requests find them, and how they end."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from genai.batch import REQUESTS_PER_SLOT
from genai.cluster.connection import even_cpus
from genai.cluster.loading import ModelSource
from genai.cluster.replica import Replica
from genai.errors import GenerationError
from genai.runtime.decoder import DEFAULT_MAX_BATCH
from genai.server import LoadLimits, ServerSettings

__all__ = ["REPLICA", "ReplicaSettings", "deployed", "replica_application"]

APPLICATION, REPLICA = "genai", "replica"
_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
_DRAIN_SECONDS = 600.0
"""How long a replica that has to go may finish what it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """How many replicas there are, and what each is given.

    Args:
        min_replicas: Fewest.
        max_replicas: Most; between the two there are as many as the requests that run and wait want.
        num_cpus: CPUs of each, and its threads; `None` gives the cluster's out evenly.
        num_gpus: GPUs of each.
        upscale_delay_seconds: How long more have to be wanted before there are more.
        downscale_delay_seconds: How long fewer have to be wanted before there are fewer.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    num_cpus: int | None = None
    num_gpus: float = 0
    upscale_delay_seconds: float = 10.0
    downscale_delay_seconds: float = 300.0


def replica_application(
    models: Mapping[str, str],
    source: ModelSource,
    server: ServerSettings,
    replicas: ReplicaSettings,
    *,
    keep_alive: float | None = None,
    limits: LoadLimits | None = None,
) -> serve.Application:
    """Return what Ray Serve is to run; there must be a cluster.

    Args:
        models: The models, by the names that requests use.
        source: How they are found and loaded.
        server: How the server behaves; who may ask is the front's business, and no replica, nor Ray's controller, is told a key.
        replicas: How many there are.
        keep_alive: As `ServedModels` takes it.
        limits: As `ServedModels` takes them.
    """
    num_cpus = replicas.num_cpus or even_cpus(replicas.max_replicas)
    num_slots = source.load.get("max_batch") or DEFAULT_MAX_BATCH
    deployment: serve.Deployment = serve.deployment(
        name=REPLICA,
        ray_actor_options={"num_cpus": num_cpus, "num_gpus": replicas.num_gpus},
        max_ongoing_requests=REQUESTS_PER_SLOT * num_slots,
        graceful_shutdown_timeout_s=_DRAIN_SECONDS,
        request_router_config=RequestRouterConfig(request_router_class=_ROUTER),  # type: ignore[arg-type]
        **_scale(replicas, num_slots),
    )(Replica)
    behind_front = replace(
        server, host="0.0.0.0", api_keys=(), allowed_origins=(), max_requests_per_key=None, log_texts=False
    )
    application: serve.Application = deployment.bind(
        models, source.with_threads(num_cpus), behind_front, keep_alive=keep_alive, limits=limits
    )
    return application


def _scale(replicas: ReplicaSettings, num_slots: int) -> dict[str, Any]:
    if replicas.min_replicas == replicas.max_replicas:
        return {"num_replicas": replicas.min_replicas}
    scaling = AutoscalingConfig(
        min_replicas=replicas.min_replicas,
        max_replicas=replicas.max_replicas,
        target_ongoing_requests=num_slots,
        upscale_delay_s=replicas.upscale_delay_seconds,
        downscale_delay_s=replicas.downscale_delay_seconds,
    )
    return {"autoscaling_config": scaling}


@contextlib.contextmanager
def deployed(application: serve.Application) -> Iterator[DeploymentHandle[Any]]:
    """Run an application on the cluster until the block ends, without Ray's own HTTP.

    Raises:
        GenerationError: It cannot run.
    """
    serve.start(proxy_location="Disabled")
    try:
        try:
            handle = serve.run(application, name=APPLICATION, route_prefix=None)
        except RuntimeError as error:
            raise GenerationError(f"the replicas cannot begin: {_cause() or error}") from error
        yield handle
    finally:
        serve.delete(APPLICATION)


def _cause() -> str:
    """Return what a replica raised that could not begin: the last line of the traceback that Ray shows, without its class."""
    application = serve.status().applications.get(APPLICATION)
    deployments = {} if application is None else application.deployments
    for deployment in deployments.values():
        if lines := deployment.message.strip().splitlines():
            return re.sub(r"^[\w.]+: ", "", lines[-1])
    return ""
