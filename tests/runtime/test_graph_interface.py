from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from genai.errors import ModelFolderError
from genai.folder import DecoderConfig
from genai.runtime.adapt import GraphFacts
from genai.runtime.graph_interface import GraphInterface

CACHE_SHAPE = ["batch", 2, "length", 4]

CONFIG = DecoderConfig(
    model_type="llama",
    filename="model.onnx",
    vocab_size=10,
    context_length=64,
    hidden_size=8,
    num_layers=1,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
)


def session(
    *,
    layer: str = ".0",
    parts: tuple[str, ...] = (".key", ".value"),
    cache_type: str = "tensor(float)",
    cache_shape: list[Any] = CACHE_SHAPE,
    present: str = "present",
    vocab: Any = 12,
    ids_shape: list[Any] = ["batch", "sequence"],  # noqa: B006
    **inputs: tuple[str, list[Any]],
) -> SimpleNamespace:
    """Return what `GraphInterface` reads of a session."""
    inputs = {"input_ids": ("tensor(int64)", ids_shape), **inputs}
    outputs = {"logits": ("tensor(float)", ["batch", "sequence", vocab])}
    for part in parts:
        inputs[f"past_key_values{layer}{part}"] = (cache_type, cache_shape)
        outputs[f"{present}{layer}{part}"] = (cache_type, cache_shape)
    values = [
        [SimpleNamespace(name=name, type=kind, shape=shape) for name, (kind, shape) in each.items()]
        for each in (inputs, outputs)
    ]
    return SimpleNamespace(get_inputs=lambda: values[0], get_outputs=lambda: values[1])


def interface(facts: GraphFacts = GraphFacts(), **options: Any) -> GraphInterface:  # noqa: B008
    return GraphInterface.of_session(session(**options), CONFIG, facts)


@pytest.mark.parametrize(("vocab", "expected"), [(12, 12), ("vocab", 10)])
def test_the_graph_says_how_many_logits_there_are_if_it_does(vocab: Any, expected: int) -> None:
    assert interface(vocab=vocab).vocab_size == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": ""}, "inputs not understood: past_key_values.key"),
        ({"cache_shape": [1, 2, 3]}, r"inputs not understood: past_key_values\.0\.key"),
        ({"cache_shape": ["batch", "a", "b", 3, 4]}, r"inputs not understood: past_key_values\.0\.key"),
        ({"cache_type": "tensor(double)"}, r"tensor\(double\)"),
        ({"present": "next"}, r"inputs not understood: past_key_values\.0\.key"),
        ({"parts": ()}, "cache: 0 tensors"),
        ({"pixels": ("tensor(float)", [1])}, "inputs not understood: pixels"),
        ({"attention_mask": ("tensor(int64)", ["b", 1, "s", "t"])}, "inputs not understood: attention_mask"),
        ({"ids_shape": ["batch", 64]}, "exactly 64 tokens at a time"),
    ],
    ids=str,
)
def test_a_graph_of_another_kind_is_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFolderError, match=message):
        interface(**options)


@pytest.mark.parametrize(
    ("options", "outer", "inner", "shape"),
    [
        ({}, 2, 4, (3, 2, 7, 4)),
        ({"cache_shape": ["batch", 2, 4, "length"]}, 8, 1, (3, 2, 4, 7)),
        ({"cache_shape": ["batch", "heads", "length", "dim"]}, 2, 4, (3, 2, 7, 4)),
        ({"cache_shape": ["batch", "5", "length", 3]}, 5, 3, (3, 5, 7, 3)),
        ({"cache_shape": ["batch x heads", 4, "length"]}, 8, 1, (6, 4, 7)),
        ({"cache_shape": ["batch x heads", "length", 4]}, 2, 4, (6, 7, 4)),
        ({"cache_shape": ["batch", "length", 4]}, 1, 4, (3, 7, 4)),
        ({"parts": ("",), "cache_shape": ["batch", "length", 8]}, 1, 8, (3, 7, 8)),
        ({"parts": (".conv_state",), "cache_shape": ["batch", 6, 3]}, 1, 18, (3, 6, 3)),
    ],
    ids=str,
)
def test_caches_of_any_layout_are_rows_of_blocks_of_positions(
    options: dict[str, Any], outer: int, inner: int, shape: tuple[int, ...]
) -> None:
    port = interface(**options).cache[0]
    assert (port.tensor.outer, port.tensor.inner) == (outer, inner)
    assert port.shape(3, 7) == shape
    assert np.prod(port.tensor.shape(3, 7)) == np.prod(shape)
    assert port.tensor.per_position == ("length" in options.get("cache_shape", CACHE_SHAPE))


def test_layers_are_in_numerical_order_whatever_is_missing() -> None:
    values = {f"past_key_values.{i}.key": ("tensor(float)", CACHE_SHAPE) for i in (10, 2)}
    made = session(parts=(), **values)
    made.get_outputs().extend(
        SimpleNamespace(name=f"present.{i}.key", type="tensor(float)", shape=CACHE_SHAPE) for i in (10, 2)
    )
    ports = GraphInterface.of_session(made, CONFIG, GraphFacts()).cache
    assert [port.past for port in ports] == ["past_key_values.2.key", "past_key_values.10.key"]


def test_only_what_an_attention_node_owns_is_shared() -> None:
    shared = GraphFacts(shared=frozenset({"past_key_values.0.key"}))
    assert [port.grows for port in interface(shared).cache] == [False, True]
    assert [port.tensor.num_scratch for port in interface(shared).cache] == [0, 4]
