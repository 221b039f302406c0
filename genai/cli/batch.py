"""`genai batch`: run a file of requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genai.cli.command import EXIT_FAILED, command
from genai.cli.loading import open_generator
from genai.cli.options import CacheFlags, DraftModel, ModelFlags, RunFlags
from genai.cli.output import print_note
from genai.cli.progress import StageProgress

if TYPE_CHECKING:
    from genai.batch import ResultFile

__all__ = ["batch"]


@command("genai batch requests.jsonl -o results.jsonl --model phi")
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
) -> None:
    """Run a file of requests in the form of OpenAI's batches, many at a time.

    Requests are to /v1/chat/completions or /v1/completions and all run with
    --model, whatever model they name. Results come in the order in which they
    are there. After an interruption the same command goes on where it was.
    The exit code is 1 if a result is an error.
    """
    from genai.batch import read_batch

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
        _run_rest(
            requests, results, total, model=model, runs=runs, caches=caches, devices=devices, draft=draft
        )
        print_note(f"{total} results in {output}{_errors_of(results)}")
    if results.failed:
        raise typer.Exit(EXIT_FAILED)


def _run_rest(
    requests: Path,
    results: ResultFile,
    total: int,
    *,
    model: ModelFlags,
    runs: RunFlags,
    caches: CacheFlags,
    devices: list[int] | None,
    draft: str | None,
) -> None:
    """Run the requests that have no result yet."""
    import asyncio

    from genai.batch import read_batch, run_batch
    from genai.runtime.decoder import DEFAULT_MAX_BATCH

    num_slots = (caches.max_batch or DEFAULT_MAX_BATCH) * len(devices or [runs.device_id])
    loaded = open_generator(model, runs, caches, devices=devices or None, draft=draft)
    with loaded as generator, StageProgress(unit="requests") as progress, results:
        left = (line for line in read_batch(requests) if line.custom_id not in results.custom_ids)

        def advance() -> None:
            progress("Running", len(results.custom_ids), total)

        try:
            running = run_batch(
                generator, left, results, model=model.model, num_slots=num_slots, advance=advance
            )
            asyncio.run(running)
        except KeyboardInterrupt:
            print_note(
                f"{len(results.custom_ids)} of {total} results in {results.path}; the same command goes on"
            )
            raise


def _open_results(path: Path, requests: Path, model: str) -> ResultFile:
    """Return the results that are there, after seeing that they are of these requests and this model."""
    from genai.batch import ResultFile, read_batch
    from genai.errors import OptionError

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
