"""Clients as they are in the wild: most wait for their answer, some leave, some send what cannot be answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np

from .client import COMPLETIONS, Record, ask
from .workload import Ask

__all__ = ["BEHAVIOURS", "Visitors"]

BEHAVIOURS: Mapping[str, float] = {
    "stream": 0.74,
    "whole": 0.06,
    "leave": 0.10,
    "cancel": 0.03,
    "too long": 0.03,
    "bad body": 0.04,
}
"""How many of all clients do what."""

CANCEL_SECONDS = 0.05
BAD_BODIES: tuple[tuple[bytes, int], ...] = (
    (b"{", 400),
    (b"[]", 400),
    (b'{"prompt": 5}', 400),
    (b'{"prompt": [1, 2], "max_tokens": -1}', 400),
    (b'{"prompt": [1, 2], "temprature": 0}', 400),
    (b'{"prompt": [1000000000]}', 400),
    (b'{"prompt": "x", "model": "no-such-model"}', 404),
)


class Visitors:
    """Clients of all kinds, drawn from a seed. Whoever behaves and is not answered rightly has an error in the record.

    Args:
        max_context: Most tokens of a prompt and its answer.
        seed: Of the draws.
    """

    def __init__(self, *, max_context: int, seed: int) -> None:
        self._max_context = max_context
        self._random = np.random.default_rng([seed, 2])

    async def send(
        self, client: httpx.AsyncClient, wanted: Ask, record: Record, *, body: Mapping[str, Any]
    ) -> None:
        """Be the next client."""
        record.kind = str(self._random.choice(list(BEHAVIOURS), p=list(BEHAVIOURS.values())))
        try:
            match record.kind:
                case "stream":
                    await ask(client, wanted, record, body=body)
                case "leave":
                    count = int(self._random.integers(1, wanted.answer_tokens))
                    await ask(client, wanted, record, body=body, leave_after=count)
                case "cancel":
                    await _cancel(client, wanted, record, body)
                case "whole":
                    await _whole(client, wanted, record, body)
                case "too long":
                    prompt = list(wanted.prompt) * (1 + self._max_context // len(wanted.prompt))
                    await _refused(client, record, 400, json={**body, "prompt": prompt, "max_tokens": 1})
                case _:
                    content, status = BAD_BODIES[int(self._random.integers(len(BAD_BODIES)))]
                    await _refused(client, record, status, content=content)
        except httpx.HTTPError as error:
            record.error = f"{type(error).__name__}: {error}"


async def _cancel(client: httpx.AsyncClient, wanted: Ask, record: Record, body: Mapping[str, Any]) -> None:
    """Go away while the request waits or its prompt is read."""
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await ask(client, wanted, record, body=body)
    except TimeoutError:
        record.is_over = True


async def _whole(client: httpx.AsyncClient, wanted: Ask, record: Record, body: Mapping[str, Any]) -> None:
    content = {**body, "prompt": wanted.prompt, "max_tokens": wanted.answer_tokens}
    answer = await client.post(COMPLETIONS, json=content)
    record.is_over = True
    if answer.status_code != 200:
        record.error = f"{answer.status_code}: {answer.text[:200]}"
        return
    found = answer.json()
    record.times.append(time.perf_counter())
    record.ends = sum(choice["finish_reason"] is not None for choice in found["choices"])
    record.answer_tokens = found["usage"]["completion_tokens"]
    if record.answer_tokens != wanted.answer_tokens:
        record.error = f"{record.answer_tokens} tokens came, not {wanted.answer_tokens}"


async def _refused(client: httpx.AsyncClient, record: Record, status: int, **content: Any) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post(COMPLETIONS, headers=headers, **content)
    record.is_over = True
    if answer.status_code != status:
        record.error = f"{answer.status_code} in place of {status}: {answer.text[:200]}"
