"""ONNX Runtime's trace becomes runs, and runs a breakdown by operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genai.benchmark.breakdown import OperatorTime, TracedRun, read_trace, summarize_runs
from genai.errors import GenerationError

CPU = "CPUExecutionProvider"


def kernel(op_type: str, start: int, duration: int) -> dict[str, Any]:
    args = {"op_name": op_type, "provider": CPU}
    return {"cat": "Node", "name": f"a_{op_type}_kernel_time", "ts": start, "dur": duration, "args": args}


def run(start: int, duration: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": duration, "args": {}}


EVENTS = [
    {"cat": "Session", "name": "session_initialization", "ts": 1, "dur": 8},
    {"cat": "Node", "name": "a_fence_before", "ts": 12, "dur": 1, "args": {"op_name": "MatMul"}},
    kernel("MatMul", 12, 50),
    kernel("Add", 70, 10),
    run(10, 90),
    kernel("MatMul", 111, 20),
    kernel("Add", 131, 10),
    kernel("MatMul", 142, 30),
    run(110, 80),
]


def test_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(EVENTS))
    first, second = read_trace(path)
    assert (first.microseconds, second.microseconds) == (90, 80)
    assert first.operators == {("MatMul", CPU): (1, 50), ("Add", CPU): (1, 10)}
    assert second.operators == {("MatMul", CPU): (2, 50), ("Add", CPU): (1, 10)}
    found = summarize_runs([[first], [first, second], [second]], num_tokens=7)
    assert found is not None
    assert (found.num_tokens, found.microseconds, found.kernel_microseconds) == (7, 90, 60)
    assert found.operators == (
        OperatorTime("MatMul", CPU, 2, 50, pytest.approx(50 / 60)),
        OperatorTime("Add", CPU, 1, 10, pytest.approx(10 / 60)),
    )


def test_runs_without_operators() -> None:
    assert summarize_runs([], num_tokens=1) is None
    assert summarize_runs([[TracedRun(5, {})]], num_tokens=1) is None


@pytest.mark.parametrize("text", ["[{", '[{"name": "model_run"}]', "{}x", "[1]"])
def test_a_trace_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(GenerationError, match=r"trace\.json: ONNX Runtime's profile cannot be understood"):
        read_trace(path)
