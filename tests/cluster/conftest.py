"""A cluster of two nodes on this machine, each of one CPU, and servers over it. Only tests marked `ray` import ray."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.server.conftest import Running, running

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

    from genai.cluster.replicas import Replicas

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
MAX_BATCH = 4


@dataclass(frozen=True)
class Served:
    """A front over replicas."""

    server: Running
    replicas: Replicas

    @property
    def client(self) -> httpx.Client:
        return self.server.client

    def counted(self, name: str) -> dict[str, float]:
        """Return a counter of each replica that has it."""
        from prometheus_client.parser import text_string_to_metric_families

        with self.client as client:
            page = client.get("/metrics").text
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return {each.labels["replica"]: each.value for each in samples if each.name == name}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes, and this process as a part of their cluster."""
    from genai.cluster.connection import connected

    with two_nodes() as cluster, connected(cluster.address):
        yield cluster


@contextlib.contextmanager
def two_nodes() -> Iterator[Cluster]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**{key: value for key, value in NODE.items() if key != "include_dashboard"})
        cluster.wait_for_nodes(timeout=120)
        yield cluster
    finally:
        cluster.shutdown()


@contextlib.contextmanager
def served(*, keys: tuple[str, ...] = (), **replicas: Any) -> Iterator[Served]:
    """Serve the demo model by replicas until the block ends."""
    from genai.cluster.deployment import ReplicaSettings, deployed, replica_application
    from genai.cluster.front import make_front
    from genai.cluster.loading import ModelSource
    from genai.cluster.replicas import Replicas
    from genai.server import ServerSettings

    settings = ServerSettings(api_keys=keys)
    source = ModelSource(load={"max_batch": MAX_BATCH})
    application = replica_application(
        {"demo": "demo"}, source, settings, ReplicaSettings(num_cpus=1, **replicas)
    )
    with deployed(application) as handle:
        asked = Replicas(handle)
        with running(make_front(asked, settings)) as server:
            yield Served(server, asked)
