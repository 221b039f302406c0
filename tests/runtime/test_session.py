from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from genai.errors import ModelFolderError
from genai.folder import DecoderConfig
from genai.runtime.session import GraphInterface

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
    cache_type: str = "tensor(float)",
    cache_shape: list[Any] = CACHE_SHAPE,
    vocab: Any = 12,
) -> SimpleNamespace:
    """Return what `GraphInterface` reads of a session."""
    inputs = {
        "input_ids": ("tensor(int64)", ["batch", "sequence"]),
        "seqlens_k": ("tensor(int32)", ["batch"]),
        "total_sequence_length": ("tensor(int32)", []),
    }
    outputs = {"logits": ("tensor(float)", ["batch", "sequence", vocab])}
    for part in ("key", "value"):
        inputs[f"past_key_values{layer}.{part}"] = (cache_type, cache_shape)
        outputs[f"present{layer}.{part}"] = (cache_type, cache_shape)
    values = [
        [SimpleNamespace(name=name, type=kind, shape=shape) for name, (kind, shape) in each.items()]
        for each in (inputs, outputs)
    ]
    return SimpleNamespace(get_inputs=lambda: values[0], get_outputs=lambda: values[1])


@pytest.mark.parametrize(("vocab", "expected"), [(12, 12), ("vocab", 10)])
def test_the_graph_says_how_many_logits_there_are_if_it_does(vocab: Any, expected: int) -> None:
    assert GraphInterface.of_session(session(vocab=vocab), CONFIG).vocab_size == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": ""}, "inputs not understood: past_key_values.key"),
        ({"cache_shape": [1, 2, 3]}, r"inputs not understood: past_key_values\.0\.key"),
        ({"cache_type": "tensor(double)"}, r"tensor\(double\)"),
    ],
    ids=str,
)
def test_a_graph_of_another_kind_is_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFolderError, match=message):
        GraphInterface.of_session(session(**options), CONFIG)
