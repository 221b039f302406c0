"""Running a batch's requests together: as many wait as keep the model busy, and each result is written when it is there."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any

from genai.answering import Answering
from genai.batch.files import BatchLine, ResultFile
from genai.errors import GenaiError, GenerationError
from genai.generator import Generator
from genai.runtime.decoder import DEFAULT_MAX_BATCH
from genai.wire import AnswerFacts, BodyError, error_body_for, read_body, status_of

__all__ = ["REQUESTS_PER_SLOT", "failed_result", "result_of", "run_batch", "run_lines"]

REQUESTS_PER_SLOT = 4
"""Requests that run or wait at a time, for each sequence that runs: enough that a slot never waits for its next one."""


async def run_batch(
    generator: Generator,
    requests: Iterable[BatchLine],
    results: ResultFile,
    *,
    model: str,
    num_slots: int = DEFAULT_MAX_BATCH,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Run requests and write their results, in the order in which they end.

    A request that cannot be carried out, or fails, has its error for a result; the others go on.

    Args:
        generator: The model.
        requests: The requests, read as they are needed.
        results: An open file.
        model: What the model is called in the results.
        num_slots: How many sequences the generator runs at a time.
        advance: Called after each result.
    """
    await run_lines(
        lambda line: result_of(generator, line, model),
        requests,
        results,
        max_waiting=REQUESTS_PER_SLOT * num_slots,
        advance=advance,
    )


async def run_lines(
    answer: Callable[[BatchLine], Awaitable[dict[str, Any]]],
    requests: Iterable[BatchLine],
    results: ResultFile,
    *,
    max_waiting: int,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Have requests answered, whoever does that, and write their results in the order in which they come.

    Args:
        answer: Returns the result of a request, also of one that fails; what it raises ends the run.
        requests: The requests, read as they are needed.
        results: An open file.
        max_waiting: Requests that run or wait at a time.
        advance: Called after each result.
    """
    room = asyncio.Semaphore(max_waiting)

    async def run(line: BatchLine) -> None:
        try:
            results.append(await answer(line))
        finally:
            room.release()
        advance()

    try:
        async with asyncio.TaskGroup() as tasks:
            for line in requests:
                await room.acquire()
                tasks.create_task(run(line))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


async def result_of(generator: Generator, line: BatchLine, model: str) -> dict[str, Any]:
    """Return what the file of results says of a request, which a model answers that is called `model` there."""
    try:
        return _result(line, HTTPStatus.OK, await _answer(generator, line, model))
    except Exception as error:  # noqa: BLE001 - whatever a request brings about, the others go on
        return failed_result(line, error)


def failed_result(line: BatchLine, error: Exception) -> dict[str, Any]:
    """Return what the file of results says of a request that could not be carried out, or failed."""
    if not isinstance(error, GenaiError):
        error = GenerationError(f"{type(error).__name__}: {error} (an error in genai)")
    return _result(line, status_of(error), error_body_for(line.endpoint, error))


def _result(line: BatchLine, status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"batch_req_{uuid.uuid4().hex}",
        "custom_id": line.custom_id,
        "response": {"status_code": int(status), "request_id": uuid.uuid4().hex, "body": body},
        "error": None,
    }


async def _answer(generator: Generator, line: BatchLine, model: str) -> dict[str, Any]:
    """Return the body that answers a request."""
    created, exchange = time.time(), read_body(line.endpoint, line.body)
    if exchange.request.stream:
        raise BodyError("stream must be false: the results of a batch are files", "stream")
    answering = await Answering.begin(generator, exchange.request)
    try:
        found = await answering.results()
    finally:
        answering.cancel()
    return exchange.answer(found, AnswerFacts(model, created, lambda: generator.tokenizer))
