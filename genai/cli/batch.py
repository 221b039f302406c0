"""`genai batch`: run a file of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genai.cli.command import command
from genai.cli.loading import open_generator
from genai.cli.options import ModelFlags, RunFlags
from genai.cli.output import print_note
from genai.cli.progress import StageProgress

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
) -> None:
    """Run a file of requests in the form of OpenAI's batches, many at a time.

    Requests are to /v1/chat/completions or /v1/completions and all run with
    --model, whatever model they name. Results come in the order in which they
    are there. After an interruption the same command goes on where it was.
    """
    import asyncio

    from genai.batch import ResultFile, read_batch, run_batch
    from genai.errors import OptionError

    known = [
        line.custom_id for line in read_batch(requests)
    ]  # so that a wrong line is found before anything runs
    results = ResultFile(output)
    if strangers := results.custom_ids.difference(known):
        raise OptionError(
            f'{output} has a result of "{min(strangers)}", which is no request of {requests}: write to another file'
        )
    num_done, total = len(results.custom_ids), len(known)
    if num_done:
        print_note(f"{num_done} of {total} requests have results in {output}")
    if num_done == total:
        return
    with open_generator(model, runs) as generator, StageProgress(unit="requests") as progress, results:
        left = (line for line in read_batch(requests) if line.custom_id not in results.custom_ids)

        def advance() -> None:
            progress("Running", len(results.custom_ids), total)

        try:
            asyncio.run(run_batch(generator, left, results, model=model.model, advance=advance))
        except KeyboardInterrupt:
            print_note(f"{len(results.custom_ids)} of {total} results in {output}; the same command goes on")
            raise
    print_note(f"{total} results in {output}")
