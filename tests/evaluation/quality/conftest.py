"""Loaded models that the tests share, and a reference for what they compute: the whole passage's logits at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from genai.evaluation.quality.passages import Passage
from genai.generator import Generator

Folders = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="session")
def demo() -> Iterator[Generator]:
    with Generator("demo", provider="cpu", num_threads=1) as generator:
        yield generator


@pytest.fixture(scope="session")
def tiny(model_folder: Folders) -> Iterator[Generator]:
    """A random model in fp32."""
    with Generator(model_folder("llama")[1], provider="cpu", num_threads=1) as generator:
        yield generator


@pytest.fixture(scope="session")
def tiny_int4(model_folder: Folders) -> Iterator[Generator]:
    """The same model in int4."""
    folder = model_folder("llama", precision="int4")[1]
    with Generator(folder, provider="cpu", num_threads=1) as generator:
        yield generator


def slow_log_probabilities(generator: Generator, passage: Passage) -> npt.NDArray[np.float64]:
    """Return the log-probabilities that expect each scored token, float64 [num_scored, vocab], from one run."""
    logits = generator.logits(token_ids=passage.token_ids).astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_probabilities[len(passage.token_ids) - passage.num_scored - 1 : -1]


def slow_nlls(generator: Generator, passage: Passage) -> npt.NDArray[np.float64]:
    """Return the negative log-likelihood of each scored token."""
    scored = passage.token_ids[-passage.num_scored :]
    return -slow_log_probabilities(generator, passage)[np.arange(len(scored)), scored]
