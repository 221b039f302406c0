"""The cluster: one that runs, or one of this machine alone that begins and ends with the block."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

import ray

from genai.errors import OptionError

__all__ = ["connected", "even_cpus"]

ADDRESS_VARIABLE = "RAY_ADDRESS"
_OBJECT_STORE_BYTES = 256 << 20
"""Of a cluster of this machine alone: requests and pieces of answers are small, and most never get there."""

_REACH_SECONDS = 10.0


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be part of a cluster as long as the block lasts.

    Args:
        address: Of its head, as host:port, or "auto" for the one that this machine is part of; `None` takes what the environment's
            RAY_ADDRESS says, else begins a cluster of this machine alone.

    Raises:
        OptionError: There is no such cluster.
    """
    address = address or os.environ.get(ADDRESS_VARIABLE) or "local"
    options: dict[str, Any] = {}
    if address == "local":
        options = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    elif "://" in address:
        raise OptionError(
            f'"{address}" is an address of Ray\'s client; run the command on a machine of the cluster, with --ray-address auto'
        )
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        if address not in ("local", "auto"):
            _reach(address)  # Ray itself would try for minutes
        ray.init(
            address,
            namespace="genai",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise OptionError(
            f'there is no Ray cluster at "{address}": begin one with "ray start --head", or leave --ray-address out to use this '
            f"machine alone ({error})"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """See that something listens there.

    Raises:
        OSError: Nothing does.
        ValueError: It is no address.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError("it is not of the form HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()


def even_cpus(num_replicas: int) -> int:
    """Return how many CPUs each replica has where the cluster's are given out evenly: at least one."""
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    smallest = min((int(cpus) for cpus in nodes if cpus), default=1)
    num_on_one = -(-num_replicas // max(len(nodes), 1))
    return max(smallest // num_on_one, 1)
