"""Attention rewritten over shared buffers gives what the growing cache gave, or is left alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from genai.export.foreign.passes import PassReport, apply_passes
from tests.export.foreign.passes.raw_decoder import NUM_LAYERS, VOCAB_SIZE, Spelling, build
from tests.export.foreign.passes.running import SharedRun, make_session, run_growing, run_shared

TOLERANCE = 1e-4
RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(0, VOCAB_SIZE, 30).tolist()
PIECES = ([30], [12, 9, 6, 1, 1, 1], [1] * 30)

SPELLINGS = {
    "plain": Spelling(),
    "additive mask": Spelling(mask="additive", scale="split"),
    "one kv head": Spelling(num_kv_heads=1, scale="query"),
    "as many kv heads": Spelling(num_kv_heads=4),
    "window": Spelling(window=5),
    "window beyond the small sizes": Spelling(window=23, mask="additive"),
    "soft cap": Spelling(softcap=2.0, mask="additive"),
    "batch and heads in one axis": Spelling(flat=True, mask="additive"),
    "alibi": Spelling(alibi="linear", mask="additive"),
    "alibi, flat": Spelling(alibi="linear", flat=True),
    "alibi, stored": Spelling(alibi="stored"),
    "alibi, window": Spelling(alibi="linear", window=6, mask="additive"),
    "guard": Spelling(guard=True),
    "positions from the mask": Spelling(positions="mask"),
    "positions from the past": Spelling(positions="past"),
}

REFUSED = {
    "no mask": (Spelling(mask="none"), "layer 0: its mask is not causal"),
    "sees the next": (Spelling(mask="bidirectional"), "layer 0: its mask is not causal"),
    "chunks of 100": (Spelling(mask="chunked"), "layer 0: its mask is not causal"),
    "prefix": (Spelling(mask="prefix"), "layer 0: its mask is not causal"),
    "bias": (Spelling(alibi="quadratic"), "layer 0: its mask is also a bias"),
    "the last 90 keys": (Spelling(mask="trimmed"), "layer 0: it does not read every key"),
    "clamped positions": (Spelling(positions="clamped"), "need the past or the mask"),
    "a stored mask": (Spelling(mask="stored"), "layer 0: it looks up"),
    "bias and soft cap": (Spelling(alibi="linear", softcap=2.0), "layer 0: it has a soft cap and a bias"),
    "positions of the longest row": (Spelling(positions="longest"), "mixes the positions"),
    "mask on the embeddings": (Spelling(reads_mask=True), "need the past or the mask"),
}


def rewrite(spelling: Spelling, *names: str) -> tuple[ir.Model, PassReport]:
    model = build(spelling)
    return model, apply_passes(model, names=names or None)


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_position_is_as_before(name: str, tmp_path: Path) -> None:
    before = make_session(build(SPELLINGS[name]), tmp_path, "before")
    model, report = rewrite(SPELLINGS[name], "shared_cache")
    assert report == PassReport({"shared_cache": NUM_LAYERS}, {})
    after = make_session(model, tmp_path, "after")
    for pieces in PIECES:
        expected = run_growing(before, TOKENS, pieces)
        np.testing.assert_allclose(run_shared(after, TOKENS, pieces), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", SPELLINGS)
def test_rows_of_any_lengths_are_as_alone(name: str, tmp_path: Path) -> None:
    before = make_session(build(SPELLINGS[name]), tmp_path, "before")
    after = make_session(rewrite(SPELLINGS[name], "shared_cache")[0], tmp_path, "after")
    prompts, tails = [TOKENS[:5], TOKENS[3:20], TOKENS[7:8]], [TOKENS[:4], TOKENS[20:24], TOKENS[9:13]]
    run = SharedRun(after, len(prompts))
    logits = run.feed(prompts)
    rows = [[logits[row, : len(prompt)]] for row, prompt in enumerate(prompts)]
    for step in zip(*tails, strict=True):
        logits = run.feed([[token] for token in step])
        for row, pieces in enumerate(rows):
            pieces.append(logits[row])
    for prompt, tail, pieces in zip(prompts, tails, rows, strict=True):
        alone = run_growing(before, prompt + tail, [len(prompt) + len(tail)])
        np.testing.assert_allclose(np.concatenate(pieces), alone, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_proven_stays(name: str) -> None:
    spelling, reason = REFUSED[name]
    untouched = build(spelling)
    apply_passes(untouched, names=[])
    model, report = rewrite(spelling, "shared_cache")
    assert report.changes == {"shared_cache": 0}
    assert reason in report.refusals["shared_cache"]
    assert ir.to_proto(model) == ir.to_proto(untouched)


def test_inputs_are_those_of_the_graph_contract() -> None:
    model, _ = rewrite(dataclasses.replace(SPELLINGS["plain"], positions="input"))
    names = [value.name for value in model.graph.inputs]
    assert "position_ids" not in names
    assert names[:2] == ["input_ids", "attention_mask"]
    assert names[-1] == "num_logits_to_keep"
    shapes = {value.name: list(map(str, value.shape)) for value in model.graph.inputs}
    assert shapes["past_key_values.1.key"] == ["batch_size", "2", "past_sequence_length", "8"]
    produced = {output.name for node in model.graph for output in node.outputs}
    assert {"seqlens_k", "total_sequence_length", "position_ids"} <= produced
    assert not {node.op_type for node in model.graph} & {"Softmax", "LessOrEqual", "Expand"}


def test_attention_has_the_measured_attributes() -> None:
    model, _ = rewrite(Spelling(window=7, softcap=3.0, scale="split", mask="additive"))
    nodes = [node for node in model.graph if node.op_type == "GroupQueryAttention"]
    assert len(nodes) == NUM_LAYERS
    for node in nodes:
        assert node.attributes.get_int("local_window_size") == 7
        assert node.attributes.get_int("num_heads") == 4
        assert node.attributes.get_int("kv_num_heads") == 2
        assert node.attributes.get_float("softcap") == pytest.approx(3.0)
        assert node.attributes.get_float("scale") == pytest.approx(8**-0.5, rel=1e-6)


def test_a_layer_that_is_not_understood_keeps_all_layers() -> None:
    model = build(Spelling())
    trimmed = next(value for value in model.graph.outputs if value.name == "present.1.value")
    trimmed.producer().attributes["axis"] = ir.AttrInt64("axis", 1)
    report = apply_passes(model, names=["shared_cache"])
    assert report.refusals == {
        "shared_cache": "layer 1: present.1.value does not grow along its axis of positions"
    }
    assert not any(node.op_type == "GroupQueryAttention" for node in model.graph)


def test_the_same_graph_gives_the_same_bytes() -> None:
    first, second = (ir.to_proto(rewrite(Spelling(positions="mask"))[0]) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_a_graph_without_a_mask_is_left_alone() -> None:
    model = build(Spelling())
    next(value for value in model.graph.inputs if value.name == "attention_mask").name = "mask"
    assert "has no attention_mask" in apply_passes(model).refusals["shared_cache"]


def test_a_graph_without_a_cache_is_left_alone() -> None:
    model = build(Spelling())
    for value in [*model.graph.inputs]:
        if value.name.startswith("past_key_values."):
            value.name = value.name.replace("past_key_values", "other")
    assert apply_passes(model, names=["shared_cache"]).refusals == {"shared_cache": "the graph has no cache"}
