"""What rounding does between two ways of running is let pass; wrong lengths, positions and rows are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genai
from genai import Generator
from genai.engine import TokenLogprob
from genai.evaluation import validate_folder
from genai.evaluation.consistency import divergence_of_step
from genai.evaluation.float_activations import float_activations
from genai.evaluation.graphs import read_graphs
from genai.folder import ModelFolder
from genai.runtime.step_buffers import StepBuffers
from tests.evaluation.test_structure import outcome

Folders = Callable[..., tuple[Path, Path]]
DEMO = Path(genai.__file__).parent / "demo_model"
"""The one model here whose distributions are those of a trained one."""

Rows = Sequence[int]


def one_token_less(ids: Rows, last: Rows) -> tuple[Rows, Rows]:
    return ids, [max(length - 1, 0) for length in last]


def one_token_more(ids: Rows, last: Rows) -> tuple[Rows, Rows]:
    return ids, [length + 1 for length in last]


def lengths_of_other_rows(ids: Rows, last: Rows) -> tuple[Rows, Rows]:
    return ids, [*last[1:], last[0]]


def cache_of_other_rows(ids: Rows, last: Rows) -> tuple[Rows, Rows]:
    """The token of one row behind the cache of another, and its logits for the first."""
    return [*ids[1:], ids[0]], last


def token_of_the_step_before(ids: Rows, last: Rows) -> tuple[Rows, Rows]:
    """A cache that was not written: what this step reads there is what another step left."""
    return [3 for _ in ids], last


ONE_ROW = [one_token_less, one_token_more, token_of_the_step_before]
SEVERAL_ROWS = [lengths_of_other_rows, cache_of_other_rows]


def damage(monkeypatch: pytest.MonkeyPatch, defect: Callable[[Rows, Rows], tuple[Rows, Rows]]) -> None:
    """Give every decoding step wrong inputs."""
    write = StepBuffers.write

    def wrong(self: StepBuffers, token_ids: Rows, past: Rows, last: Rows, **options: Any) -> None:
        if len(token_ids) == len(past) and min(past) > 0:
            token_ids, last = defect(token_ids, last)
        write(self, token_ids, past, last, **options)

    monkeypatch.setattr(StepBuffers, "write", wrong)


def failures(folder: Path) -> set[str]:
    failed, skipped = outcome(validate_folder(folder, provider="cpu", num_threads=1))
    assert not skipped
    return failed


def test_a_trained_model_with_rounded_activations_passes() -> None:
    assert failures(DEMO) == set()


@pytest.mark.parametrize("defect", [*ONE_ROW, *SEVERAL_ROWS])
def test_a_defect_fails_in_a_trained_model(
    monkeypatch: pytest.MonkeyPatch, defect: Callable[[Rows, Rows], tuple[Rows, Rows]]
) -> None:
    damage(monkeypatch, defect)
    found = failures(DEMO)
    assert "exact" in found
    if defect in (token_of_the_step_before, *SEVERAL_ROWS):  # so gross that it shows beside rounding
        assert "batched" in found


@pytest.mark.parametrize("defect", [*ONE_ROW, *SEVERAL_ROWS])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_defect_fails_even_where_distributions_are_flat(
    model_folder: Folders,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    defect: Callable[[Rows, Rows], tuple[Rows, Rows]],
) -> None:
    folder = model_folder("llama", precision=precision)[1]
    assert failures(folder) == set()
    damage(monkeypatch, defect)
    assert "exact" in failures(folder)


def test_a_copy_with_float_activations(model_folder: Folders) -> None:
    folder = ModelFolder.load(model_folder("llama", precision="int4")[1])
    graphs = read_graphs(folder)
    before = folder.model_path.read_bytes()
    assert graphs.rounds_activations
    with float_activations(folder, graphs) as copy:
        assert not read_graphs(copy).rounds_activations
        with Generator(copy, provider="cpu") as floats, Generator(folder, provider="cpu") as rounded:
            difference = floats.logits(token_ids=[1, 2, 3]) - rounded.logits(token_ids=[1, 2, 3])
        assert 0 < np.abs(difference).max() < 0.5
    assert not copy.path.exists()
    assert folder.model_path.read_bytes() == before


def test_the_divergence_of_a_step_is_exact_where_all_tokens_are_told() -> None:
    random = np.random.default_rng(0)
    target, found = (np.log(random.dirichlet(np.ones(9))) for _ in range(2))
    exact = float((np.exp(target) * (target - found)).sum())

    def step(count: int) -> TokenLogprob:
        ids = np.argsort(-found)[:count].tolist()
        return TokenLogprob(ids[0], found[ids[0]], tuple((i, found[i]) for i in ids))

    assert divergence_of_step(target, step(9)) == pytest.approx(exact, rel=1e-6)
    told = [divergence_of_step(target, step(count)) for count in range(1, 10)]
    assert told == pytest.approx(
        sorted(told)
    )  # the more tokens are told apart, the more of the divergence is seen
    assert divergence_of_step(found, step(4)) == pytest.approx(0, abs=1e-9)
