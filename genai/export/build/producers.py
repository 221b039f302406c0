"""What makes the inputs of a layer's matrices, where that can be divided without changing the layer: what smoothing needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from genai.export.architecture import AttentionSpec, LayerSpec, MlpSpec, NormSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.checkpoint.rows import Rows
from genai.graph.operators import SKIP_LAYER_NORM, SKIP_RMS_NORM

__all__ = ["Producer", "norm_behind", "norm_of", "writers_of"]

Floats = NDArray[np.float32]
Parameters = Mapping[str, Rows]

_NORMS = frozenset({"LayerNormalization", "RMSNormalization", SKIP_LAYER_NORM.op_type, SKIP_RMS_NORM.op_type})


@dataclass(frozen=True, slots=True)
class Producer:
    """What can be divided so that a matrix's inputs become smaller, each by its own factor.

    Args:
        vectors: Parameters of one number for each channel, by name, as the graph uses them: a norm's weight and bias,
            or a matrix's bias.
        module: The matrix whose outputs the channels are, if they are a matrix's.
        channels: The channel that each input is made of, int64 [inputs].
    """

    vectors: Mapping[str, Floats]
    module: str | None
    channels: NDArray[np.int64]

    @property
    def first_inputs(self) -> NDArray[np.int64]:
        """For each channel, the first input that is made of it: int64 [channels]."""
        return np.unique(self.channels, return_index=True)[1]


def norm_behind(g: GraphBuilder, value: ir.Value) -> Producer | None:
    """Return the norm with a weight that makes a value; `None` where something else does."""
    node = value.producer()
    if node is None or node.op_type not in _NORMS:
        return None
    names = [str(each.name) for each in node.inputs if each is not None and each.name in g.initializers]
    if any(name not in g.parameters for name in names):
        return None
    vectors = {name: g.tensors[name].read(0, g.tensors[name].shape[0]) for name in names}
    return Producer(vectors, None, np.arange(len(vectors[names[0]])))


def norm_of(path: str, spec: NormSpec, parameters: Parameters) -> Producer:
    """Return a norm with a weight, by its path."""
    weight = np.asarray(parameters[f"{path}.weight"][:], np.float32) + np.float32(spec.offset)
    vectors = {f"{path}.weight": weight, **_bias_of(path, parameters)}
    return Producer(vectors, None, np.arange(len(weight)))


def writers_of(layer: LayerSpec, scope: str, parameters: Parameters) -> dict[str, Producer]:
    """Return the matrices whose outputs reach another one of the layer by nothing but factors and sums, by the other's path.

    The values reach the output projection, each of them in all heads of its group; `up` reaches `down`.
    """
    found = {}
    mixer, mlp = layer.mixer, layer.mlp
    if isinstance(mixer, AttentionSpec) and _has_plain_values(mixer):
        heads = np.arange(mixer.num_heads) // (mixer.num_heads // mixer.num_kv_heads)
        channels = heads[:, None] * mixer.head_dim + np.arange(mixer.head_dim)
        path = f"{scope}.{mixer.scope}"
        found[f"{path}.output"] = _rows_of(f"{path}.v", parameters, channels.reshape(-1))
    if isinstance(mlp, MlpSpec) and mlp.gated and mlp.down_norm is None:
        path = f"{scope}.{mlp.scope}"
        found[f"{path}.down"] = _rows_of(f"{path}.up", parameters, np.arange(mlp.intermediate_size))
    return found


def _has_plain_values(spec: AttentionSpec) -> bool:
    touched = (spec.v_norm, spec.qkv_clip, spec.output_norm)
    return "v" in spec.projections and all(part is None for part in touched)


def _rows_of(module: str, parameters: Parameters, channels: NDArray[np.int64]) -> Producer:
    return Producer(_bias_of(module, parameters), module, channels)


def _bias_of(module: str, parameters: Parameters) -> dict[str, Floats]:
    name = f"{module}.bias"
    return {name: np.asarray(parameters[name][:], np.float32)} if name in parameters else {}
