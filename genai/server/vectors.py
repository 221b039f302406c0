"""Texts as vectors, one after the other, as long as somebody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.requests import Request

from genai.generator import Generator
from genai.server.http import while_connected

__all__ = ["embed_rows"]


async def embed_rows(
    request: Request, generator: Generator, rows: Sequence[Sequence[int]], **options: Any
) -> npt.NDArray[np.float32]:
    """Return the vectors of some texts, float32 [texts, hidden_size].

    Args:
        request: Whose client waits for them; where it goes away, the text that is being read is the last.
        generator: What reads them.
        rows: Their tokens; at least one text.
        options: Of `Generator.embed`.

    Raises:
        ApiError: The client is gone.
        OptionError: A text is empty or too long, or an option is impossible.
    """

    async def one_by_one() -> npt.NDArray[np.float32]:
        vectors = [await asyncio.to_thread(generator.embed, token_ids=row, **options) for row in rows]
        return np.stack(vectors)

    return await while_connected(request, one_by_one())
