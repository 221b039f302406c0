"""A KV cache of 8-bit codes: the scales of its keys and values, which stand among a decoder's parameters.

A layer whose parameters have them keeps int8 codes, of channel c: round(x / scale[c]), from -128 to 127. There are no
zero points. ONNX Runtime's operator reads every position, the new ones too, as the codes say, so that it makes no
difference how a text is cut into runs.
"""

from __future__ import annotations

import onnx_ir as ir

from genai.errors import UnsupportedModelError
from genai.export.architecture import DecoderSpec, LatentAttentionSpec, LayerSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.group_query_attention import CacheScales
from genai.export.build.tensors import from_array
from genai.graph.names import KEY, VALUE

__all__ = ["cache_scales", "check_quantized_cache", "holds_codes", "scales_name"]


def check_quantized_cache(spec: DecoderSpec) -> None:
    """See that a decoder's keys and values can be codes; other states stay floats beside them.

    Raises:
        UnsupportedModelError: They cannot.
    """
    if any(isinstance(layer.mixer, LatentAttentionSpec) for layer in spec.layers):
        raise UnsupportedModelError("its latent attention keeps one vector for all heads, in floats")
    if not spec.attentions:
        raise UnsupportedModelError("it keeps no keys and values")
    if any(attention.reads_layer is not None for attention in spec.attentions):
        raise UnsupportedModelError(
            "some of its layers read another layer's cache, and ONNX Runtime's kernel for codes reads none that it does "
            "not write"
        )


def scales_name(index: int, layer: LayerSpec, state: str) -> str:
    """Return the name of the parameter that holds the scales of a layer's keys or values."""
    assert layer.mixer is not None
    return f"layers.{index}.{layer.mixer.scope}.{_name(state)}"


def holds_codes(g: GraphBuilder, index: int, layer: LayerSpec, state: str) -> bool:
    """Whether a state of a layer is codes."""
    return scales_name(index, layer, state) in g.parameters


def cache_scales(g: GraphBuilder) -> CacheScales | None:
    """Add the scales of the attention of this scope; `None` where its cache holds floats."""
    if not g.has_parameter(_name(KEY)):
        return None
    return CacheScales(_scales(g, KEY), _scales(g, VALUE))


def _scales(g: GraphBuilder, state: str) -> ir.Value:
    return g.initializer(_name(state), from_array(g.parameter(_name(state))[:], ir.DataType.FLOAT))


def _name(state: str) -> str:
    return f"{state}_scales"
