"""One request over HTTP, streamed, and when its pieces came.

The client shares a machine with the server, so it does little per piece: it looks at the clock and for the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from .workload import Ask

__all__ = ["Record", "ask", "make_client"]

COMPLETIONS = "/v1/completions"


@dataclass(slots=True)
class Record:
    """What became of a request; times are those of `time.perf_counter`.

    Args:
        kind: The request's.
        prompt_tokens: That were sent.
        due: When it was to be sent: what a client waits counts from there, though the load generator be late.
        times: When each piece of the answer came.
        answer_tokens: Of a whole answer, as the server counts; one for each piece where it does not say.
        ends: How often the answer was said to end: exactly once, if all is well.
        is_over: Whether the client has got all that it waited for.
        error: What went wrong.
    """

    kind: str
    prompt_tokens: int
    due: float
    times: list[float] = field(default_factory=list)
    answer_tokens: int = 0
    ends: int = 0
    is_over: bool = False
    error: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the answer came to its end, once."""
        return self.error is None and self.ends == 1

    @property
    def first_seconds(self) -> float | None:
        """How long the first piece took, if there was one."""
        return self.times[0] - self.due if self.times else None


def make_client(url: str) -> httpx.AsyncClient:
    """Return a client for any number of requests at a time, which waits for answers as long as they take."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=url, limits=limits, timeout=None, trust_env=False)


async def ask(
    client: httpx.AsyncClient,
    wanted: Ask,
    record: Record,
    *,
    body: Mapping[str, Any],
    leave_after: int | None = None,
) -> None:
    """Send a request and note in its record what comes of it; a failure is noted, not raised.

    Args:
        client: Of `make_client`.
        wanted: What to ask.
        record: Its record, which is good for what has come even if this is cancelled.
        body: What this server's body has beside it.
        leave_after: Go away after so many pieces.
    """
    content = {**body, "prompt": list(wanted.prompt), "max_tokens": wanted.answer_tokens, "stream": True}
    content["stream_options"] = {"include_usage": True}
    try:
        async with client.stream("POST", COMPLETIONS, json=content) as answer:
            if answer.status_code != 200:
                text = (await answer.aread()).decode(errors="replace")
                record.error = f"{answer.status_code}: {text[:200]}"
                return
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    _take(record, time.perf_counter(), json.loads(line[6:]))
                    if leave_after is not None and len(record.times) >= leave_after:
                        record.is_over = True
                        return
    except httpx.HTTPError as error:
        record.error = f"{type(error).__name__}: {error}"
        return
    record.is_over = True
    record.answer_tokens = record.answer_tokens or len(record.times)
    if record.error is None and record.answer_tokens != wanted.answer_tokens:
        record.error = f"{record.answer_tokens} tokens came, not {wanted.answer_tokens}"


def _take(record: Record, now: float, event: Mapping[str, Any]) -> None:
    if "error" in event:
        record.error = str(event["error"])[:200]
        return
    for choice in event.get("choices", ()):
        if choice.get("text") or choice.get("finish_reason") is None:
            record.times.append(now)
        record.ends += choice.get("finish_reason") is not None
    if usage := event.get("usage"):  # the last event has it
        record.answer_tokens = usage["completion_tokens"]
