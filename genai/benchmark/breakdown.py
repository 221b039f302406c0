"""What a run of the graph spends its time on, operator by operator, out of ONNX Runtime's trace."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genai.errors import GenerationError

__all__ = ["Breakdown", "OperatorTime", "TracedRun", "read_trace", "summarize_runs"]

_KERNEL = "_kernel_time"


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """All nodes of one type.

    Args:
        op_type: The operator.
        provider: The execution provider that ran them, as ONNX Runtime calls it.
        count: How many ran.
        microseconds: Their time together.
        share: Of all operators' time.
    """

    op_type: str
    provider: str
    count: float
    microseconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """What is measured while profiling, which itself takes time: shares are what it is for. Times are medians.

    Args:
        num_tokens: Tokens that were run.
        microseconds: The time of the runs.
        kernel_microseconds: The sum of the operators' times.
        operators: The operators, the longest first.
    """

    num_tokens: int
    microseconds: float
    kernel_microseconds: float
    operators: tuple[OperatorTime, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self) | {"operators": [asdict(each) for each in self.operators]}


@dataclass(frozen=True, slots=True)
class TracedRun:
    """One run of a session.

    Args:
        microseconds: How long it took.
        operators: Number and microseconds of each operator's nodes, without those of nodes within them, by operator and
            provider.
    """

    microseconds: float
    operators: Mapping[tuple[str, str], tuple[int, float]]


def read_trace(path: Path) -> list[TracedRun]:
    """Return the runs of a trace, in order.

    Raises:
        GenerationError: The trace cannot be understood.
    """
    try:
        events = json.loads(path.read_text(encoding="utf-8"))
        spans = sorted((e["ts"], e["dur"]) for e in events if e.get("name") == "model_run")
        kernels = _own_times([e for e in events if e.get("cat") == "Node" and e["name"].endswith(_KERNEL)])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GenerationError(f"{path}: ONNX Runtime's profile cannot be understood: {error!r}") from error
    runs, place = [], 0
    for start, duration in spans:
        operators: dict[tuple[str, str], tuple[int, float]] = {}
        while place < len(kernels) and kernels[place][0] <= start + duration:
            begun, op_type, provider, taken = kernels[place]
            if begun >= start:
                count, total = operators.get((op_type, provider), (0, 0.0))
                operators[op_type, provider] = (count + 1, total + taken)
            place += 1
        runs.append(TracedRun(duration, operators))
    return runs


def _own_times(nodes: Sequence[Mapping[str, Any]]) -> list[tuple[int, str, str, int]]:
    """Return start, operator, provider and microseconds of a trace's nodes, by start.

    What runs within another node, as the body of a Loop does, in its span and on its thread, is taken off the outer one.
    """
    # Each is written when it ends: of those with one span, the last is the outermost.
    nodes = list(reversed(nodes))
    nodes.sort(key=lambda node: (node["ts"], -node["dur"]))
    own = [node["dur"] for node in nodes]
    running: dict[int, list[int]] = {}  # by thread, the nodes that one is within
    for number, node in enumerate(nodes):
        outer = running.setdefault(node["tid"], [])
        while outer and nodes[outer[-1]]["ts"] + nodes[outer[-1]]["dur"] <= node["ts"]:
            outer.pop()
        if outer:
            own[outer[-1]] -= node["dur"]
        outer.append(number)
    return [  # in whole microseconds, a body may seem to take one longer than the node that holds it
        (node["ts"], node["args"]["op_name"], node["args"]["provider"], max(0, taken))
        for node, taken in zip(nodes, own, strict=True)
    ]


def summarize_runs(samples: Sequence[Sequence[TracedRun]], *, num_tokens: int) -> Breakdown | None:
    """Return what something took that was done several times; None if no operator was seen.

    Args:
        samples: The runs of each time. Of every operator's time the median counts, so that a time in which the system had
            something else to do does not.
        num_tokens: Tokens that were run each time.
    """
    totals = [_totals(runs) for runs in samples]
    keys = dict.fromkeys(key for total in totals for key in total)
    if not keys:
        return None
    medians = {
        key: tuple(statistics.median(total.get(key, (0, 0.0))[part] for total in totals) for part in (0, 1))
        for key in keys
    }
    whole = sum(taken for _, taken in medians.values())
    operators = [
        OperatorTime(op_type, provider, count, taken, taken / whole if whole else 0.0)
        for (op_type, provider), (count, taken) in medians.items()
    ]
    operators.sort(key=lambda each: -each.microseconds)
    duration = statistics.median(sum(run.microseconds for run in runs) for runs in samples)
    return Breakdown(num_tokens, duration, whole, tuple(operators))


def _totals(runs: Sequence[TracedRun]) -> dict[tuple[str, str], tuple[int, float]]:
    """Add up number and time of each operator's nodes."""
    totals: dict[tuple[str, str], tuple[int, float]] = {}
    for run in runs:
        for key, (count, taken) in run.operators.items():
            before, sum_before = totals.get(key, (0, 0.0))
            totals[key] = (before + count, sum_before + taken)
    return totals
