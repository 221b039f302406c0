"""Running a file of requests, in the form of OpenAI's batches: reading it, running what has no result yet, writing results."""

from __future__ import annotations

from genai.batch.files import BatchLine, ResultFile, read_batch
from genai.batch.run import run_batch

__all__ = ["BatchLine", "ResultFile", "read_batch", "run_batch"]
