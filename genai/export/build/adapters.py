"""Adapters beside a graph: what a checkpoint's modules are adapted by, as the graph's products want it.

A product may multiply by several modules at once, and a checkpoint's module may be several of the decoder's. Each module
that is stored by itself has rows of the first matrix of its own; the second matrix is zero where outputs are not its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export.build.graph_builder import GraphBuilder, Product
from genai.export.checkpoint.peft import LoraModule, PeftAdapter, match_module
from genai.export.checkpoint.rows import RescaledRows, Rows, methods_of
from genai.export.checkpoint.weights import Weights
from genai.folder.adapter_files import LowRank

__all__ = ["adapted_products"]

Floats = NDArray[np.float32]

_ROWS = 4096
"""Rows that are compared at once."""


@dataclass(frozen=True, slots=True)
class _Added:
    """What is added to a module of the decoder.

    Args:
        source: The module of the checkpoint that it is of.
        a: float32 [rank, inputs].
        b: float32 [outputs, rank].
    """

    source: str
    a: Floats
    b: Floats


def adapted_products(g: GraphBuilder, weights: Weights, adapter: PeftAdapter) -> dict[str, LowRank]:
    """Return what an adapter adds to the products of a finished graph, by their names.

    Args:
        g: The graph.
        weights: The checkpoint that it is built of.
        adapter: The adapter.

    Raises:
        CheckpointError: The adapter is another model's, or has a number that the graph's type cannot hold.
        UnsupportedModelError: It does more than to add to products, or adapts what is no product of its own.
    """
    adapter.check_is_addition()
    _check_copies(weights, adapter)
    added = _by_module(weights, adapter)
    found = {}
    for product in g.products:
        of_product = {module: added.pop(module) for module in product.modules if module in added}
        if of_product:
            found[product.name] = _stored(g, adapter, product, of_product)
    if added:
        raise _no_place(adapter, next(iter(added.values())).source)
    return found


def _no_place(adapter: PeftAdapter, module: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f'{adapter.path}: it adapts "{module}", beside which the graph has no place for an adapter (an embedding, a router, '
        "experts, or a matrix that attention takes apart): merge it into the weights with --merge-adapter"
    )


def _by_module(weights: Weights, adapter: PeftAdapter) -> dict[str, _Added]:
    """Return what is added to each of the decoder's modules, by canonical name."""
    added = {}
    for name, module in adapter.modules.items():
        stored = match_module(name, weights.places)
        if stored is None:
            is_used = weights.uses(name)
            if is_used:
                raise _no_place(adapter, name)
            if is_used is False:  # by transformers, too
                continue
            raise CheckpointError(
                f'{adapter.path}: it adapts "{name}", which the model does not have'
                f"{f'; it was trained beside {adapter.base_model}' if adapter.base_model else ''}"
            )
        places = weights.places[stored]
        _check_shape(weights, adapter, name, module, stored)
        for place in places:
            added[place.module] = _Added(name, module.a, module.b[place.outputs])
    return added


def _check_shape(weights: Weights, adapter: PeftAdapter, name: str, module: LoraModule, stored: str) -> None:
    places = weights.places[stored]
    outputs = sum(len(place.outputs) for place in places)
    inputs = _matrix_of(weights, places[0].module).shape[-1]
    if (len(module.b), module.a.shape[1]) != (outputs, inputs):
        raise CheckpointError(
            f'{adapter.path}: it adapts "{name}" as a matrix of {len(module.b)} by {module.a.shape[1]}, and the model has '
            f"one of {outputs} by {inputs}: the adapter is another model's"
        )


def _check_copies(weights: Weights, adapter: PeftAdapter) -> None:
    """See that the matrices that an adapter brings along are the model's, as far as these are floats."""
    for name, copy in adapter.copies.items():
        stored = match_module(name.removesuffix(".weight"), weights.places)
        rows = _matrix_of(weights, weights.places[stored][0].module) if stored is not None else copy
        if rows.shape != copy.shape or not (methods_of(rows) or _is_rounded(rows, copy)):
            raise UnsupportedModelError(
                f'{adapter.path}: its own copy of "{name}" is not the model\'s, so that it was trained beside another one, or '
                "with further tokens: merge it into the weights with --merge-adapter"
            )


def _is_rounded(rows: Rows, copy: NDArray[Any]) -> bool:
    """Whether two matrices are the same but for the types that they were stored in, looked at some rows at a time."""
    starts = range(0, len(copy), _ROWS)
    return all(
        np.allclose(
            np.asarray(rows[start : start + _ROWS], np.float32),
            np.asarray(copy[start : start + _ROWS], np.float32),
            rtol=2**-7,
            atol=1e-6,
        )
        for start in starts
    )


def _matrix_of(parameters: Mapping[str, Rows], module: str) -> Rows:
    """Return a module's matrix; a tied head's is the embedding."""
    name = f"{module}.weight"
    return parameters[name if name in parameters else "embedding.weight"]


def _stored(g: GraphBuilder, adapter: PeftAdapter, product: Product, added: Mapping[str, _Added]) -> LowRank:
    """Stack what is added to the modules of one product, in the graph's type."""
    heights = {module: len(_matrix_of(g.parameters, module)) for module in product.modules}
    num_outputs = sum(heights.values())
    firsts: dict[tuple[str, bytes], Floats] = {}
    seconds: dict[tuple[str, bytes], Floats] = {}
    start = 0
    for module, height in heights.items():
        if module in added:
            a, b = _rescaled(_matrix_of(g.parameters, module), added[module])
            key = (added[module].source, a.tobytes())  # modules that are stored as one share the first matrix
            firsts[key] = a
            second = seconds.setdefault(key, np.zeros((len(a), num_outputs), np.float32))
            second[:, start : start + height] = b.T
        start += height
    return LowRank(
        *(
            _typed(g.precision.float_type, np.concatenate(list(each.values())), adapter, product)
            for each in (firsts, seconds)
        )
    )


def _rescaled(rows: Rows, added: _Added) -> tuple[Floats, Floats]:
    """Return both matrices beside one whose columns were multiplied and whose rows were divided."""
    if not isinstance(rows, RescaledRows):
        return added.a, added.b
    return added.a * rows.factors, added.b / rows.divisors[:, None]


def _typed(dtype: ir.DataType, matrix: Floats, adapter: PeftAdapter, product: Product) -> NDArray[np.generic]:
    with np.errstate(over="ignore"):
        typed: NDArray[np.generic] = matrix.astype(dtype.numpy())
    if not np.isfinite(typed.astype(np.float32)).all():
        raise CheckpointError(
            f"{adapter.path}: what it adds to {product.name} has a value that is infinite or no number, or too large for "
            f"{dtype.name}"
        )
    return typed
