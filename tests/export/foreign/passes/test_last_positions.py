"""The head on the last positions only, and on none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genai.errors import OptionError
from genai.export.foreign.passes import PASS_NAMES, apply_passes
from tests.export.foreign.passes.raw_decoder import VOCAB_SIZE, Spelling, build
from tests.export.foreign.passes.running import SharedRun, make_session, run_growing

TOKENS = np.random.default_rng(3).integers(0, VOCAB_SIZE, 17).tolist()
SPELLINGS = {
    "rms": Spelling(),
    "layer norm": Spelling(norm="layer"),
    "capped": Spelling(head="capped"),
    "norm that stays": Spelling(norm="centered"),
}


@pytest.mark.parametrize("names", [PASS_NAMES, ("shared_cache", "last_positions")])
@pytest.mark.parametrize("name", SPELLINGS)
def test_the_last_logits_are_those_of_all(name: str, names: tuple[str, ...], tmp_path: Path) -> None:
    before = make_session(build(SPELLINGS[name]), tmp_path, "before")
    expected = run_growing(before, TOKENS, [len(TOKENS)])
    model = build(SPELLINGS[name])
    assert apply_passes(model, names=names).changes["last_positions"] == 1
    after = make_session(model, tmp_path, "after")
    for num_logits in (0, 1, 3, len(TOKENS)):
        logits = SharedRun(after).feed([TOKENS], num_logits=num_logits)[0]
        assert logits.shape == (num_logits, VOCAB_SIZE)
        np.testing.assert_allclose(logits, expected[len(TOKENS) - num_logits :], atol=1e-4, rtol=0)
    by_default = SharedRun(after).feed([TOKENS])[0]
    np.testing.assert_allclose(by_default, expected[-1:], atol=1e-4, rtol=0)


def test_a_prompt_without_logits_fills_the_cache(tmp_path: Path) -> None:
    before = make_session(build(Spelling()), tmp_path, "before")
    model = build(Spelling())
    apply_passes(model)
    run = SharedRun(make_session(model, tmp_path, "after"))
    run.feed([TOKENS[:-1]], num_logits=0)
    expected = run_growing(before, TOKENS, [len(TOKENS)])[-1:]
    np.testing.assert_allclose(run.feed([TOKENS[-1:]])[0], expected, atol=1e-4, rtol=0)


def test_a_head_that_mixes_positions_stays() -> None:
    model = build(Spelling(head="mixed"))
    report = apply_passes(model)
    assert report.changes["last_positions"] == 0
    assert "stands between the head and the logits" in report.refusals["last_positions"]
    assert "num_logits_to_keep" not in [value.name for value in model.graph.inputs]


def test_it_happens_once() -> None:
    model = build(Spelling())
    assert apply_passes(model).changes["last_positions"] == 1
    assert apply_passes(model).changes["last_positions"] == 0


def test_an_unknown_pass_is_named() -> None:
    with pytest.raises(OptionError, match=r"no pass 'shared_cash'.*shared_cache"):
        apply_passes(build(Spelling()), names=["shared_cash"])
