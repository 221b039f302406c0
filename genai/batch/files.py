"""A batch's two files: requests, one JSON object a line, and results, appended in the order in which they come.

The form is OpenAI's (https://platform.openai.com/docs/guides/batch). A line of results is written whole, by one call; what a
killed run has left of a line is cut off when the next one begins, so that no request has two results and none is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from genai.errors import OptionError
from genai.wire import CHAT, COMPLETIONS, RESPONSES

__all__ = ["BatchLine", "ResultFile", "read_batch"]

ENDPOINTS = (CHAT, COMPLETIONS, RESPONSES)
"""What a batch may ask for."""


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A request of a batch.

    Args:
        custom_id: What its result is found by.
        endpoint: One of `ENDPOINTS`.
        body: The request's body.
    """

    custom_id: str
    endpoint: str
    body: Any


def read_batch(path: Path) -> Iterator[BatchLine]:
    """Yield the requests of a file; blank lines are passed over.

    Raises:
        OptionError: A line is no request of a batch, or has the `custom_id` of an earlier one.
    """
    lines_of: dict[str, int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            request = _read_line(line, f"{path}, line {number}")
            if request.custom_id in lines_of:
                raise OptionError(
                    f'{path}, line {number}: custom_id "{request.custom_id}" was given on line '
                    f"{lines_of[request.custom_id]} already; results are found by it, so it must be unique"
                )
            lines_of[request.custom_id] = number
            yield request


def _read_line(line: bytes, place: str) -> BatchLine:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:  # wrong JSON, or no UTF-8
        raise OptionError(f"{place}: this is not JSON: {error}") from None
    if not isinstance(values, Mapping) or not isinstance(values.get("custom_id"), str):
        raise OptionError(f'{place}: a request is an object with a "custom_id", which is a text')
    if values.get("method", "POST") != "POST":
        raise OptionError(f'{place}: "method" must be "POST"')
    endpoint = values.get("url")
    if endpoint not in ENDPOINTS:
        raise OptionError(f'{place}: "url" must be {" or ".join(ENDPOINTS)}, not {endpoint!r}')
    return BatchLine(values["custom_id"], endpoint, values.get("body"))


class ResultFile:
    """The results of a batch; a context manager, which opens the file for more of them.

    Args:
        path: The file, which may hold results of an earlier run.

    Attributes:
        custom_ids: Whose results it has.
        failed: Whose results are errors.
        models: What the models are called that gave the others.

    Raises:
        OptionError: The file is there and holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.custom_ids: set[str] = set()
        self.failed: set[str] = set()
        self.models: set[str] = set()
        self._num_bytes = 0
        if path.exists():
            for line, result in self._lines():
                self._add(result)
                self._num_bytes += len(line)

    def __enter__(self) -> Self:
        self._file = self.path.open("ab")
        self._file.truncate(self._num_bytes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, result: Mapping[str, Any]) -> None:
        """Write a result, which has a "custom_id"."""
        # In ASCII: a text of the request may hold half a character, which no encoding has.
        self._file.write(json.dumps(result).encode() + b"\n")
        self._file.flush()
        self._add(result)

    def drop_errors(self) -> None:
        """Take results that are errors out of a file that is not open yet, so that their requests are run again."""
        partial = self.path.with_name(f".{self.path.name}.partial")
        self._num_bytes = 0
        with partial.open("wb") as file:
            for line, result in self._lines():
                if not _is_error(result):
                    self._num_bytes += file.write(line)
        partial.replace(self.path)
        self.custom_ids -= self.failed
        self.failed = set()

    def _add(self, result: Mapping[str, Any]) -> None:
        self.custom_ids.add(result["custom_id"])
        body = result["response"].get("body")
        if _is_error(result):
            self.failed.add(result["custom_id"])
        elif isinstance(body, Mapping) and isinstance(body.get("model"), str):
            self.models.add(body["model"])

    def _lines(self) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
        """Yield the lines that are whole, each with the result that it holds."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):  # the run that wrote it was killed
                    return
                try:
                    result = json.loads(line)
                except (ValueError, RecursionError):
                    result = None
                if not _is_result(result):
                    raise OptionError(
                        f"{self.path}, line {number}: this is no result of a batch; write to another file"
                    )
                yield line, result


def _is_result(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("custom_id"), str)
        and isinstance(value.get("response"), Mapping)
    )


def _is_error(result: Mapping[str, Any]) -> bool:
    return bool(result["response"].get("status_code", HTTPStatus.OK) != HTTPStatus.OK)
