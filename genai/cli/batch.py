"""`genai batch`: run a file of requests."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genai.cli.command import EXIT_FAILED, command
from genai.cli.loading import open_generator
from genai.cli.options import CacheFlags, DraftModel, ModelFlags, RunFlags
from genai.cli.output import print_note
from genai.cli.progress import StageProgress
from genai.cli.ray_options import RayFlags, cluster_extra, generator_options, model_source, on_any_node
from genai.errors import OptionError

if TYPE_CHECKING:
    from genai.batch import BatchLine, ResultFile

__all__ = ["batch"]


@command(
    "genai batch requests.jsonl -o results.jsonl --model phi",
    "genai batch requests.jsonl -o results.jsonl --model phi --ray --replicas 4",
)
def batch(
    requests: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Requests, one JSON object a line.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.jsonl", help="Where results go, or go on.")
    ],
    *,
    model: ModelFlags,
    runs: RunFlags,
    caches: CacheFlags,
    devices: Annotated[
        list[int] | None,
        typer.Option("--device", min=0, metavar="ID", help="One of several devices to run on; repeat it."),
    ] = None,
    draft: DraftModel = None,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Run requests again whose results are errors.")
    ] = False,
    ray: RayFlags,
) -> None:
    """Run a file of requests in the form of OpenAI's batches, many at a time.

    Requests are to /v1/chat/completions, /v1/completions or /v1/responses and all
    run with --model, whatever model they name. Results come in the order in which they
    finish; match them by custom_id. After an interruption the same command goes on where it was.
    The exit code is 1 if a result is an error. With --ray several replicas of
    the model share the requests, on other machines too.
    """
    from genai.batch import read_batch

    _check_ray(ray, devices)
    total = sum(1 for _ in read_batch(requests))  # so that a wrong line is found before anything runs
    if not total:
        print_note(f"{requests} has no requests")
        return
    results = _open_results(output, requests, model.model)
    if retry_errors and results.failed:
        results.drop_errors()
    num_done = len(results.custom_ids)
    if num_done:
        print_note(f"{num_done} of {total} requests have results in {output}{_errors_of(results)}")
    if num_done < total:
        if ray.ray:
            answering = _on_ray(model, runs, caches, draft, ray)
        else:
            answering = _in_this_process(model, runs, caches, devices, draft)
        with answering as opened:
            _run_rest(requests, results, total, opened)
        print_note(f"{total} results in {output}{_errors_of(results)}")
    if results.failed:
        raise typer.Exit(EXIT_FAILED)


def _run_rest(requests: Path, results: ResultFile, total: int, answering: _Answering) -> None:
    """Run the requests that have no result yet."""
    import asyncio

    from genai.batch import read_batch, run_lines

    with StageProgress(unit="requests") as progress, results:
        left = (line for line in read_batch(requests) if line.custom_id not in results.custom_ids)

        def advance() -> None:
            progress("Running", len(results.custom_ids), total)

        try:
            running = run_lines(
                answering.answer, left, results, max_waiting=answering.max_waiting, advance=advance
            )
            asyncio.run(running)
        except KeyboardInterrupt:
            print_note(
                f"{len(results.custom_ids)} of {total} results in {results.path}; the same command goes on"
            )
            raise


@dataclass(frozen=True, slots=True)
class _Answering:
    """What answers the requests of a batch.

    Args:
        answer: Returns the result of one.
        max_waiting: How many it is given at a time.
    """

    answer: Callable[[BatchLine], Awaitable[dict[str, Any]]]
    max_waiting: int


@contextlib.contextmanager
def _in_this_process(
    model: ModelFlags, runs: RunFlags, caches: CacheFlags, devices: list[int] | None, draft: str | None
) -> Iterator[_Answering]:
    """Answer by a model that is here until the block ends."""
    from genai.batch import REQUESTS_PER_SLOT, result_of
    from genai.runtime.decoder import DEFAULT_MAX_BATCH

    num_slots = (caches.max_batch or DEFAULT_MAX_BATCH) * len(devices or [runs.device_id])
    with open_generator(model, runs, caches, devices=devices or None, draft=draft) as generator:
        yield _Answering(
            lambda line: result_of(generator, line, model.model), max_waiting=REQUESTS_PER_SLOT * num_slots
        )


@contextlib.contextmanager
def _on_ray(
    model: ModelFlags, runs: RunFlags, caches: CacheFlags, draft: str | None, ray: RayFlags
) -> Iterator[_Answering]:
    """Answer by actors on a cluster until the block ends."""
    from genai.batch import REQUESTS_PER_SLOT
    from genai.runtime.decoder import DEFAULT_MAX_BATCH

    with cluster_extra():
        from genai.cluster.batch_actors import batch_actors
        from genai.cluster.connection import connected
    load = generator_options(caches, runs, max_context=model.max_context)
    if draft is not None:
        load["draft"] = on_any_node(draft)
    source = model_source(model, load, revision=model.revision)
    with (
        connected(ray.ray_address),
        batch_actors(
            on_any_node(model.model),
            source,
            num_actors=ray.num_replicas[1],
            num_cpus=ray.replica_cpus,
            num_gpus=ray.replica_gpus or 0,
            num_seats=REQUESTS_PER_SLOT * (caches.max_batch or DEFAULT_MAX_BATCH),
        ) as actors,
    ):
        yield _Answering(lambda line: actors.result_of(line, model.model), max_waiting=actors.num_seats)


def _check_ray(ray: RayFlags, devices: list[int] | None) -> None:
    """See that what is asked of Ray is what a batch can have.

    Raises:
        OptionError: It is not.
    """
    ray.check()
    fewest, most = ray.num_replicas
    if fewest != most:
        raise OptionError(
            f"--replicas {ray.replicas}: a batch has as many from its beginning to its end; give one number"
        )
    if ray.ray and devices:
        raise OptionError(
            "--device: with --ray, Ray gives each replica its devices; give --replica-gpus instead"
        )


def _open_results(path: Path, requests: Path, model: str) -> ResultFile:
    """Return the results that are there, after seeing that they are of these requests and this model."""
    from genai.batch import ResultFile, read_batch

    if path.exists() and path.samefile(requests):
        raise OptionError(f"{path} is the file of requests: write results to another file")
    results = ResultFile(path)
    if strangers := results.custom_ids.difference(line.custom_id for line in read_batch(requests)):
        raise OptionError(
            f'{path} has a result of "{min(strangers)}", which is no request of {requests}: write to another file'
        )
    if others := results.models - {model}:
        raise OptionError(
            f'{path} has results of the model "{min(others)}", not of "{model}": write to another file, or pass --model {min(others)}'
        )
    return results


def _errors_of(results: ResultFile) -> str:
    if not results.failed:
        return ""
    return f", {len(results.failed)} of them errors (--retry-errors runs those again)"
