"""What became of weights that another tool had quantized: carried over, or decoded."""

from __future__ import annotations

from collections import Counter
from typing import Any

from genai.export.build.graph_builder import GraphBuilder
from genai.export.checkpoint.rows import methods_of

__all__ = ["describe_carried"]


def describe_carried(g: GraphBuilder) -> dict[str, Any]:
    """Return what a manifest says of them: how many parameters of each type, and of a graph that keeps, which it decoded.

    Nothing if the checkpoint is not quantized.

    Args:
        g: The graph.
    """
    carried, decoded = Counter[str](), Counter[str]()
    names: list[str] = []
    for name, rows in g.parameters.items():
        methods = "+".join(sorted(methods_of(rows)))
        if not methods:
            continue
        if g.is_carried(name.removesuffix(".weight")):
            carried[methods] += 1
        else:
            decoded[methods] += 1
            names.append(name)
    found: dict[str, Any] = {"carried_over": dict(carried), "decoded": dict(decoded)}
    if carried:
        found["decoded_parameters"] = sorted(names)
    return {key: value for key, value in found.items() if value}
