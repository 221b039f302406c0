from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genai import GenerationError, Generator, OptionError


@pytest.fixture(scope="module")
def generator(model_folder: Callable[..., tuple[Path, Path]]) -> Iterator[Generator]:
    with Generator(model_folder("llama")[1], provider="cpu", num_threads=1) as each:
        yield each


@pytest.mark.parametrize(
    "token_ids",
    [(5, 6), np.array([5, 6]), list(np.array([5, 6])), range(5, 7)],
    ids=lambda t: type(t).__name__,
)
def test_token_ids_may_be_any_integers(generator: Generator, token_ids: Any) -> None:
    expected = generator.generate(token_ids=[5, 6], max_new_tokens=3).token_ids
    assert generator.generate(token_ids=token_ids, max_new_tokens=3).token_ids == expected
    (batch,) = generator.generate(token_ids=[token_ids], max_new_tokens=3)
    assert batch.token_ids == expected


@pytest.mark.parametrize("token_ids", [[1.5], [True], ["a"], [[1], 2.0], [1, [2]]], ids=str)
def test_token_ids_that_are_none_are_refused(generator: Generator, token_ids: Any) -> None:
    with pytest.raises(OptionError, match="token_ids must be integers"):
        generator.generate(token_ids=token_ids)


async def test_a_closed_async_stream_has_ended(generator: Generator) -> None:
    stream = generator.astream(token_ids=[5], max_new_tokens=100, ignore_eos=True)
    await anext(stream)
    await stream.aclose()
    assert not generator._engine.has_work


def test_closing_twice_does_nothing(model_folder: Callable[..., tuple[Path, Path]]) -> None:
    each = Generator(model_folder("llama")[1], provider="cpu", num_threads=1)
    each.close()
    each.close()
    with pytest.raises(GenerationError, match="closed"):
        each.generate(token_ids=[1])
