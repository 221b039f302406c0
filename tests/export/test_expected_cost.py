"""What is told of a recipe's cost is what docs/quantization.md and docs/calibration.md say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from genai.config import ExportSettings
from genai.export.expected_cost import GEMMA, PERPLEXITY_RATIOS, SMOLLM2, expected_cost
from genai.folder import Manifest

DOCS = Path(__file__).parents[2] / "docs"


def manifest(exporter: str = "native", **settings: Any) -> Manifest:
    values = dataclasses.asdict(ExportSettings(**settings))
    return Manifest("x", None, "X", values["precision"], {}, {}, {}, "", {}, exporter, settings=values)


@pytest.mark.parametrize("model", [SMOLLM2, GEMMA])
def test_the_figures_are_those_of_the_docs(model: str) -> None:
    page = (DOCS / "quantization.md").read_text(encoding="utf-8")
    (table,) = re.findall(rf"\| {re.escape(model)} \|.*?\n\n", page, re.DOTALL)
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    assert rows[0][4] == "mean"
    means = {row[0]: row[4] for row in rows}
    for (precision, method), ratios in PERPLEXITY_RATIOS.items():
        if method == "rtn":
            assert float(means[precision]) == ratios[model]


@pytest.mark.parametrize("model", [SMOLLM2, GEMMA])
def test_the_figures_of_a_calibration(model: str) -> None:
    page = (DOCS / "calibration.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"\| {re.escape(model)} \| perplexity ((?:\| [\d.]+ × )+)\|", page)
    figures = [float(figure) for figure in re.findall(r"[\d.]+", row)]
    assert figures == [PERPLEXITY_RATIOS["int4", method][model] for method in ("rtn", "awq", "gptq")]


def test_a_line_for_what_was_measured() -> None:
    assert expected_cost(manifest(max_context=100, via="native")) == (
        "measured perplexity of this recipe relative to fp32, by its weights alone: "
        "1.035 x on SmolLM2-135M-Instruct, 1.068 x on gemma-3-270m"
    )
    assert "1.034 x" in str(expected_cost(manifest(quantize="gptq", calibration="abc")))


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp32"},
        {"block_size": 128},
        {"quantize": "hqq"},
        {"bits_budget": 5.0},
        {"kv_precision": "int8"},
        {"exporter": "transformers"},
    ],
)
def test_nothing_for_what_was_not(options: dict[str, Any]) -> None:
    assert expected_cost(manifest(**options)) is None
