"""Running a file of requests, in the form of OpenAI's batches: reading it, running what has no result yet, writing results."""

from __future__ import annotations

from genai.batch.files import BatchLine, ResultFile, read_batch
from genai.batch.run import REQUESTS_PER_SLOT, failed_result, result_of, run_batch, run_lines

__all__ = [
    "REQUESTS_PER_SLOT",
    "BatchLine",
    "ResultFile",
    "failed_result",
    "read_batch",
    "result_of",
    "run_batch",
    "run_lines",
]
