"""A decoder's graph from its spec: inputs, layers, head and outputs, as DESIGN.md's graph contract says."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from genai.export.builder import GraphBuilder
from genai.export.ops.attention import (
    Attended,
    KeyValueCache,
    Positions,
    attention,
    check_attention,
    needs_position_ids,
)
from genai.export.ops.linear import table
from genai.export.ops.mlp import mlp
from genai.export.ops.norms import ResidualStream, normalize
from genai.export.ops.positions import make_lengths, make_position_ids, make_rope_table
from genai.export.ops.vocabulary import embed, logits_of
from genai.export.spec import AttentionSpec, DecoderSpec, LayerSpec

__all__ = ["build_decoder", "check_decoder"]

INT64 = ir.DataType.INT64


def check_decoder(spec: DecoderSpec) -> None:
    """See that `build_decoder` can build a decoder, before anybody has its weights.

    Raises:
        UnsupportedModelError: It cannot.
    """
    for layer in spec.layers:
        check_attention(layer.attention)


def build_decoder(g: GraphBuilder, spec: DecoderSpec) -> None:
    """Add the whole decoder to an empty graph."""
    input_ids = g.input("input_ids", INT64, ["batch_size", "sequence_length"])
    attention_mask = g.input("attention_mask", INT64, ["batch_size", "total_sequence_length"])
    caches = [_cache_inputs(g, index, layer.attention) for index, layer in enumerate(spec.layers)]
    num_logits_to_keep = g.overridable_input("num_logits_to_keep", np.asarray([1], np.int64))

    lengths = make_lengths(g, input_ids, attention_mask)
    wants_positions = spec.learned_positions is not None or any(
        needs_position_ids(layer.attention) for layer in spec.layers
    )
    positions = Positions(
        lengths=lengths,
        position_ids=make_position_ids(g, lengths, spec.rope_switch_length) if wants_positions else None,
        tables={
            rope: make_rope_table(g, rope, f"rope.{index}", spec.max_positions)
            for index, rope in enumerate(spec.ropes)
        },
    )
    embedding = table(g, "embedding")
    stream = ResidualStream(g, embed(g, spec, embedding, input_ids, positions.position_ids))
    presents = []
    for index, (layer, cache) in enumerate(zip(spec.layers, caches, strict=True)):
        with g.scope(f"layers.{index}"):
            presents.append(_decoder_layer(g, stream, layer, cache, positions))
    stream.keep_last(num_logits_to_keep, lengths.sequence_length)
    hidden = stream.normalize("final_norm", spec.final_norm)
    logits = logits_of(g, hidden, spec, embedding)

    # The axis of positions is declared with num_logits_to_keep's default: onnxruntime-genai takes the 1 as the sign
    # that a prompt has logits for its last position only. Who overrides the input renames the axis first.
    g.output(logits, "logits", ir.DataType.FLOAT, ["batch_size", 1, spec.vocab_size])
    for index, (layer, present) in enumerate(zip(spec.layers, presents, strict=True)):
        shape = _cache_shape(layer.attention, "total_sequence_length")
        g.output(present.key, f"present.{index}.key", g.precision.float_type, shape)
        g.output(present.value, f"present.{index}.value", g.precision.float_type, shape)
    if spec.rope_switch_length is not None:
        g.metadata["genai.rope_switch_length"] = str(spec.rope_switch_length)


def _decoder_layer(
    g: GraphBuilder, stream: ResidualStream, layer: LayerSpec, cache: KeyValueCache, positions: Positions
) -> Attended:
    """Add one layer's attention and feed-forward block to the stream."""
    x = stream.normalize("input_norm", layer.input_norm)
    with g.scope("attention"):
        attended = attention(g, x, layer.attention, cache, positions)
    output = attended.output
    if layer.attention_output_norm is not None:
        output = normalize(g, output, "attention_output_norm", layer.attention_output_norm)
    if not layer.parallel:
        stream.add(output)
    if layer.mlp_norm is not None:
        x = stream.normalize("mlp_norm", layer.mlp_norm)
    with g.scope("mlp"):
        transformed = mlp(g, x, layer.mlp)
    if layer.mlp_output_norm is not None:
        transformed = normalize(g, transformed, "mlp_output_norm", layer.mlp_output_norm)
    stream.add(g.op("Add", [output, transformed]) if layer.parallel else transformed)
    return attended


def _cache_inputs(g: GraphBuilder, index: int, spec: AttentionSpec) -> KeyValueCache:
    shape = _cache_shape(spec, "past_sequence_length")
    return KeyValueCache(
        key=g.input(f"past_key_values.{index}.key", g.precision.float_type, shape),
        value=g.input(f"past_key_values.{index}.value", g.precision.float_type, shape),
    )


def _cache_shape(spec: AttentionSpec, length: str) -> list[int | str]:
    return ["batch_size", spec.num_kv_heads, length, spec.head_dim]
