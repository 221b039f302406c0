"""What became of weights that another tool had quantized: carried over, or decoded and stored anew."""

from __future__ import annotations

from collections import Counter
from typing import Any

from genai.export.build.graph_builder import GraphBuilder
from genai.export.checkpoint.rows import methods_of

__all__ = ["describe_carried"]


def describe_carried(g: GraphBuilder) -> dict[str, Any]:
    """Return what a manifest says of them: how many parameters of each type; of a graph that keeps, each by its name.

    Nothing if the checkpoint is not quantized.

    Args:
        g: The graph, of which no scope is open.
    """
    carried, decoded = Counter[str](), Counter[str]()
    parameters: dict[str, dict[str, Any]] = {}
    for name, rows in g.parameters.items():
        methods = "+".join(sorted(methods_of(rows)))
        if not methods:
            continue
        path = name.removesuffix(".weight")
        if g.is_carried(path):
            carried[methods] += 1
            parameters[name] = {"was": methods, "carried_over": True}
        else:
            decoded[methods] += 1
            scheme = g.scheme_of(path)
            stored = scheme.to_json() if scheme else g.precision.float_type.name.lower()
            parameters[name] = {"was": methods, "carried_over": False, "stored": stored}
    found: dict[str, Any] = {"carried_over": dict(carried), "decoded": dict(decoded)}
    if g.precision.keeps_codes:
        found["parameters"] = parameters
    return {key: value for key, value in found.items() if value}
