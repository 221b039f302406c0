"""Shapes of parameters by canonical name; matrices are [outputs, inputs]."""

from __future__ import annotations

from genai.export.architecture.norm import NormSpec

__all__ = ["Shapes", "linear_shapes", "norm_shapes", "scoped"]

Shapes = dict[str, tuple[int, ...]]


def linear_shapes(module: str, num_outputs: int, num_inputs: int, *, bias: bool = False) -> Shapes:
    """Return the shapes of a linear layer's weight, and of its bias if it has one."""
    shapes: Shapes = {f"{module}.weight": (num_outputs, num_inputs)}
    return shapes | {f"{module}.bias": (num_outputs,)} if bias else shapes


def norm_shapes(module: str, spec: NormSpec | None, *size: int) -> Shapes:
    """Return the shapes of a norm's weight and bias, as far as it has them; none without a norm."""
    if spec is None or not spec.weight:
        return {}
    shapes: Shapes = {f"{module}.weight": size}
    return shapes | {f"{module}.bias": size} if spec.bias else shapes


def scoped(scope: str, shapes: Shapes) -> Shapes:
    """Return the shapes with a scope before their names."""
    return {f"{scope}.{name}": shape for name, shape in shapes.items()}
