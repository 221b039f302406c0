"""Channels that are rescaled before rounding: the decoder computes the same, and rounds better."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from genai.config import ExportSettings
from genai.export import carry_out, plan_export
from genai.export.build.balance import balanced
from genai.export.build.precision import Precision
from genai.export.build.recipe import lengths
from genai.export.exporter import Calibrated, open_weights
from genai.quantize import BlockScheme
from tests.checkpoints import FAMILIES, VOCAB_SIZE, make_checkpoint
from tests.export.runner import GraphRunner

PROMPT = np.random.default_rng(0).integers(3, VOCAB_SIZE, 24).tolist()
ALL_NARROW = Precision.of(ExportSettings("int4"))
ALL_NARROW = dataclasses.replace(ALL_NARROW, schemes={"*": BlockScheme(4, 32, is_symmetric=False)})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_decoder_computes_the_same(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    plan = plan_export(checkpoint, ExportSettings("fp32", via="native"))
    assert plan.native is not None
    weights = open_weights(plan, plan.native)
    parameters = balanced(weights, plan.native.spec, ALL_NARROW)
    calibrated = Calibrated(plan.precision, parameters, {})
    folders = carry_out(plan, tmp_path / "one"), carry_out(plan, tmp_path / "other", calibrated=calibrated)
    expected, found = (GraphRunner(folder).feed(PROMPT) for folder in folders)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


def test_columns_get_one_length(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    plan = plan_export(checkpoint, ExportSettings("int4", via="native"))
    assert plan.native is not None
    weights = open_weights(plan, plan.native)
    parameters = balanced(weights, plan.native.spec, ALL_NARROW)
    for scope in ("layers.0.mlp", "layers.1.mlp"):
        down = lengths(parameters[f"{scope}.down.weight"], axis=0)
        np.testing.assert_allclose(down, down[0], rtol=1e-4)
        both = [lengths(parameters[f"{scope}.{name}.weight"], axis=0) for name in ("gate", "up")]
        assert np.hypot(*both).std() < 0.1 * np.hypot(*both).mean()  # up's rows have been multiplied since


def test_a_neuron_far_above_the_others_does_not_decide_on_the_columns(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    plan = plan_export(checkpoint, ExportSettings("int4", via="native"))
    assert plan.native is not None
    weights = dict(open_weights(plan, plan.native))
    name = "layers.0.mlp.up.weight"
    factors = []
    for scale in (1, 1000):
        up = np.array(weights[name][:], np.float32)
        up[5] *= scale
        parameters = balanced({**weights, name: up}, plan.native.spec, ALL_NARROW)
        gate = "layers.0.mlp.gate.weight"
        factors.append(np.asarray(parameters[gate][:]) / np.asarray(weights[gate][:]))
    np.testing.assert_allclose(factors[1], factors[0], rtol=0.25)


def test_nothing_is_rescaled_where_no_matrix_has_4_bits(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    plan = plan_export(checkpoint, ExportSettings("int8", via="native"))
    assert plan.native is not None
    weights = open_weights(plan, plan.native)
    assert balanced(weights, plan.native.spec, plan.precision) is weights
