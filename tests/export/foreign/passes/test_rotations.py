"""Rotations of basic operators and the same as one RotaryEmbedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genai.export.foreign.passes import apply_passes
from tests.export.foreign.passes.raw_decoder import NUM_LAYERS, VOCAB_SIZE, Spelling, build
from tests.export.foreign.passes.running import SharedRun, make_session, run_growing, run_shared

TOKENS = np.random.default_rng(4).integers(0, VOCAB_SIZE, 17).tolist()


@pytest.mark.parametrize("rotation", ["half", "interleaved", "partial"])
def test_fused_rotations_give_the_same(rotation: str, tmp_path: Path) -> None:
    spelling = Spelling(rotation=rotation)
    before = make_session(build(spelling), tmp_path, "before")
    model = build(spelling)
    report = apply_passes(model, names=["shared_cache", "rotations"])
    assert report.changes == {"shared_cache": NUM_LAYERS, "rotations": 2 * NUM_LAYERS}
    op_types = [node.op_type for node in model.graph]
    assert op_types.count("RotaryEmbedding") == 2 * NUM_LAYERS
    assert "Neg" not in op_types
    after = make_session(model, tmp_path, "after")
    for pieces in ([17], [9, 6, 1, 1]):
        expected = run_growing(before, TOKENS, pieces)
        np.testing.assert_allclose(run_shared(after, TOKENS, pieces), expected, atol=1e-4, rtol=0)
    rows = [TOKENS[:9], TOKENS[4:6]]
    for row, logits in zip(rows, SharedRun(after, 2).feed(rows), strict=True):
        expected = run_growing(before, row, [len(row)])
        np.testing.assert_allclose(logits[: len(row)], expected, atol=1e-4, rtol=0)


def test_what_is_no_rotation_stays(tmp_path: Path) -> None:
    spelling = Spelling(rotation="mirrored")
    before = make_session(build(spelling), tmp_path, "before")
    model = build(spelling)
    assert apply_passes(model, names=["shared_cache", "rotations"]).changes["rotations"] == 0
    after = make_session(model, tmp_path, "after")
    expected = run_growing(before, TOKENS, [17])
    np.testing.assert_allclose(run_shared(after, TOKENS, [17]), expected, atol=1e-4, rtol=0)


def test_an_old_opset_keeps_the_operators() -> None:
    model = build(Spelling(opset=17))
    report = apply_passes(model, names=["shared_cache", "rotations"])
    assert report.changes == {"shared_cache": NUM_LAYERS, "rotations": 0}
    assert "older than 18" in report.refusals["rotations"]
