"""The options that `--ray` brings: which cluster, how many replicas, and what each of them is given."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genai.cli.extras import needs_extra
from genai.cli.options import CacheFlags, FolderFlags, RunFlags
from genai.errors import OptionError

if TYPE_CHECKING:
    from genai.cluster.loading import ModelSource

__all__ = ["RayFlags", "cluster_extra", "generator_options", "model_source", "on_any_node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RayFlags:
    """Whether Ray runs replicas of the model, where, and how many."""

    ray: Annotated[
        bool,
        typer.Option(
            "--ray", help="Run replicas of the models on a Ray cluster, or several on this machine."
        ),
    ] = False
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="With --ray: the cluster's head, or auto where this machine is part of it; a cluster of this machine alone "
            "if neither this nor RAY_ADDRESS is given.",
        ),
    ] = None
    replicas: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN:MAX",
            help="With --ray: how many, or, of genai serve, how few and how many as there is load; 1 if not given.",
        ),
    ] = None
    replica_cpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --ray: CPUs and threads of each replica; an even share of the cluster's if not given.",
        ),
    ] = None
    replica_gpus: Annotated[
        float | None, typer.Option(min=0, help="With --ray: GPUs of each replica; none if not given.")
    ] = None

    def check(self) -> None:
        """See that nothing is asked of Ray without Ray.

        Raises:
            OptionError: An option is given that needs --ray.
        """
        given = [field.name for field in dataclasses.fields(self) if getattr(self, field.name) is not None]
        for name in given:
            if name != "ray" and not self.ray:
                raise OptionError(
                    f"--{name.replace('_', '-')} is for replicas on Ray: give --ray, too", option=name
                )

    @property
    def num_replicas(self) -> tuple[int, int]:
        """How few and how many replicas there are to be.

        Raises:
            OptionError: It is neither a number nor two.
        """
        low, colon, high = ("1" if self.replicas is None else self.replicas).partition(":")
        if not low.isdecimal() or (colon and not high.isdecimal()):
            raise OptionError(f'--replicas must be a number, as 2, or two, as 1:4, not "{self.replicas}"')
        fewest, most = int(low), int(high or low)
        if not 1 <= fewest <= most:
            raise OptionError(f"--replicas {self.replicas}: at least 1, and the smaller number first")
        return fewest, most


@contextlib.contextmanager
def cluster_extra() -> Iterator[None]:
    """Say which extra an import in the block misses.

    Raises:
        OptionError: It is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise needs_extra("--ray", "ray", error) from error


def on_any_node(model: str) -> str:
    """Return what a model is called wherever a replica may run: of a path, all of it."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def model_source(
    folders: FolderFlags, load: Mapping[str, Any], *, revision: str | None = None
) -> ModelSource:
    """Return how replicas find and load models.

    Args:
        folders: Which folder a name stands for.
        load: Options of `Generator`.
        revision: Branch, tag or commit of a hub repository.
    """
    from genai.cluster.loading import ModelSource

    find = {
        "precision": folders.precision,
        "variant": folders.variant,
        "offline": folders.offline,
        "revision": revision,
    }
    return ModelSource(find=find, load=load)


def generator_options(caches: CacheFlags, runs: RunFlags, *, max_context: int | None) -> dict[str, Any]:
    """Return the options of `Generator` that flags say."""
    return {
        "max_context": max_context,
        "max_batch": caches.max_batch,
        "kv_cache_bytes": caches.kv_cache_bytes,
        **runs.options,
    }
