"""ONNX Runtime's trace becomes runs, and runs a breakdown by operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnxruntime
import pytest

from genai.benchmark.breakdown import OperatorTime, TracedRun, read_trace, summarize_runs
from genai.errors import GenerationError

CPU = "CPUExecutionProvider"


def kernel(op_type: str, start: int, duration: int, *, thread: int = 1) -> dict[str, Any]:
    args = {"op_name": op_type, "provider": CPU}
    name = f"a_{op_type}_kernel_time"
    return {"cat": "Node", "name": name, "ts": start, "dur": duration, "tid": thread, "args": args}


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


def test_nodes_within_nodes_are_taken_off_the_outer_ones(tmp_path: Path) -> None:
    """ONNX Runtime writes a node when it ends, the outer after the inner ones, in whole microseconds."""
    events = [
        kernel("Add", 10, 10),
        kernel("MatMul", 20, 30),
        kernel("Scan", 20, 30),  # no more than what it holds
        kernel("Mul", 60, 20),
        kernel("Mul", 60, 15, thread=2),  # beside it, not within
        kernel("MatMul", 85, 16),  # rounded past its outer one's end
        kernel("Loop", 20, 80),
        kernel("Add", 101, 5),
        run(10, 100),
    ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(events))
    (found,) = read_trace(path)
    assert found.operators == {
        ("Add", CPU): (2, 15),
        ("Loop", CPU): (1, 80 - 30 - 20 - 16),
        ("Scan", CPU): (1, 0),
        ("MatMul", CPU): (2, 46),
        ("Mul", CPU): (2, 35),
    }


def test_operators_of_a_loop_take_no_longer_than_the_run(tmp_path: Path) -> None:
    loop = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        looped (int64 times, bool goes, float[256, 256] x) => (float[256, 256] y) {
            y = Loop (times, goes, x) <body = step (int64 i, bool go, float[256, 256] s) => (bool on, float[256, 256] t) {
                on = Identity (go)
                t = MatMul (s, s)
            }>
        }
    """)
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(
        loop.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    session.run(
        None, {"times": np.array(8), "goes": np.array(True), "x": np.zeros((256, 256), dtype=np.float32)}
    )
    (found,) = read_trace(Path(session.end_profiling()))
    counts = {op_type: count for (op_type, _), (count, _) in found.operators.items()}
    assert counts == {"Loop": 1, "Identity": 8, "MatMul": 8}
    assert sum(taken for _, taken in found.operators.values()) <= found.microseconds


def test_runs_without_operators() -> None:
    assert summarize_runs([], num_tokens=1) is None
    assert summarize_runs([[TracedRun(5, {})]], num_tokens=1) is None


@pytest.mark.parametrize("text", ["[{", '[{"name": "model_run"}]', "{}x", "[1]"])
def test_a_trace_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(GenerationError, match=r"trace\.json: ONNX Runtime's profile cannot be understood"):
        read_trace(path)
