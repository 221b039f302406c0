"""A decoder's graph from its spec: inputs, layers, head and outputs, by the graph contract (genai.graph)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from genai.export.architecture import AlibiSpec, AttentionSpec, DecoderSpec, LayerSpec, StateSpec
from genai.export.build.alibi import make_alibi
from genai.export.build.cache_scales import holds_codes
from genai.export.build.chunks import make_chunk_mask
from genai.export.build.feed_forwards import feed_forward
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.lengths import Lengths, make_lengths, make_num_logits_to_keep, make_position_ids
from genai.export.build.linear import table
from genai.export.build.mixers import check_mixer, mix, needs_position_ids
from genai.export.build.norms import ResidualStream, normalize
from genai.export.build.per_layer_input import layer_input, per_layer_inputs
from genai.export.build.positions import Positions
from genai.export.build.rope_tables import make_rope_table
from genai.export.build.shared_block import shared_block
from genai.export.build.streams import AltUpStreams, LayerInput, SingleStream, Streams, laurel
from genai.export.build.tensors import from_array
from genai.export.build.vocabulary import embed, logits_of
from genai.graph.axes import BATCH_SIZE, INPUT_SHAPES, PAST_LENGTH, TOTAL_LENGTH, logits_shape
from genai.graph.names import (
    ATTENTION_MASK,
    INPUT_IDS,
    LOGITS,
    ROPE_SWITCH_LENGTH,
    past_name,
    present_name,
)

__all__ = ["build_decoder", "check_decoder", "decoder_layer", "make_positions", "past_inputs", "scale_stream"]

INT64 = ir.DataType.INT64


def check_decoder(spec: DecoderSpec) -> None:
    """See that `build_decoder` can build a decoder, before its weights are there.

    Raises:
        UnsupportedModelError: It cannot.
    """
    for layer in spec.layers:
        for mixer in layer.mixers:
            check_mixer(mixer)


def build_decoder(g: GraphBuilder, spec: DecoderSpec) -> None:
    """Add the whole decoder to an empty graph."""
    input_ids = g.input(INPUT_IDS, INT64, INPUT_SHAPES[INPUT_IDS])
    attention_mask = g.input(ATTENTION_MASK, INT64, INPUT_SHAPES[ATTENTION_MASK])
    pasts = [past_inputs(g, index, layer) for index, layer in enumerate(spec.layers)]
    num_logits_to_keep = make_num_logits_to_keep(g)

    positions = make_positions(g, spec, input_ids, attention_mask)
    embedding = table(g, "embedding")
    hidden = embed(g, spec, embedding, input_ids, positions.position_ids)
    streams = _streams(g, spec, hidden)
    inputs = per_layer_inputs(g, spec, input_ids, hidden)
    presents = _layers(g, spec, streams, inputs, pasts, positions, embeddings=hidden)
    stream = streams.finish(num_logits_to_keep, positions.lengths.sequence_length)
    hidden = stream.normalize("final_norm", spec.final_norm)
    logits = logits_of(g, hidden, spec, embedding if spec.tied else None)

    g.output(logits, LOGITS, ir.DataType.FLOAT, logits_shape(spec.vocab_size))
    for index, (layer, present) in enumerate(zip(spec.layers, presents, strict=True)):
        for state in layer.states():
            shape = _state_shape(state, TOTAL_LENGTH)
            dtype = _state_type(g, index, layer, state)
            g.output(present[state.name], present_name(index, state.name), dtype, shape)
    if spec.rope_switch_length is not None:
        g.metadata[f"genai.{ROPE_SWITCH_LENGTH}"] = str(spec.rope_switch_length)


def make_positions(
    g: GraphBuilder, spec: DecoderSpec, tokens: ir.Value, attention_mask: ir.Value
) -> Positions:
    """Derive what the layers share.

    Args:
        g: The graph.
        spec: The decoder.
        tokens: One of anything for each new token: [batch_size, sequence_length, ...].
        attention_mask: int64 [batch_size, total_sequence_length].
    """
    with g.scope("lengths"):
        lengths = make_lengths(g, tokens, attention_mask)
    mixers = [mixer for layer in spec.layers for mixer in layer.mixers]
    wants_ids = spec.learned_positions is not None or any(
        needs_position_ids(mixer, g.precision.form) for mixer in mixers
    )
    position_ids = None
    if wants_ids:
        with g.scope("positions"):
            position_ids = make_position_ids(g, lengths, switch_length=spec.rope_switch_length)
    return Positions(
        lengths=lengths,
        position_ids=position_ids,
        tables={
            rope: make_rope_table(g, rope, f"rope.{index}", spec.max_positions)
            for index, rope in enumerate(spec.ropes)
        },
        alibis={alibi: _alibi(g, lengths, alibi) for alibi in spec.alibis},
        chunks={chunk: _chunk_mask(g, lengths, position_ids, chunk) for chunk in spec.chunks},
    )


def _alibi(g: GraphBuilder, lengths: Lengths, alibi: AlibiSpec) -> ir.Value:
    with g.scope("alibi"):
        return make_alibi(g, lengths, alibi, float_type=g.precision.float_type)


def _chunk_mask(g: GraphBuilder, lengths: Lengths, position_ids: ir.Value | None, chunk: int) -> ir.Value:
    assert position_ids is not None, "whoever is confined to chunks needs them"
    with g.scope("chunks"):
        return make_chunk_mask(g, lengths, position_ids, chunk, float_type=g.precision.float_type)


def _layers(
    g: GraphBuilder,
    spec: DecoderSpec,
    streams: Streams,
    inputs: Sequence[ir.Value],
    pasts: Sequence[Mapping[str, ir.Value]],
    positions: Positions,
    *,
    embeddings: ir.Value,
) -> list[Mapping[str, ir.Value]]:
    """Add all layers, with their own inputs of the tokens if they have any; return their present states."""
    presents: list[Mapping[str, ir.Value]] = []
    for index, (layer, past) in enumerate(zip(spec.layers, pasts, strict=True)):
        source = layer.mixer.reads_layer if isinstance(layer.mixer, AttentionSpec) else None
        with g.scope(f"layers.{index}"):
            stream = streams.enter()
            states = past if source is None else presents[source]
            presents.append(decoder_layer(g, stream, layer, states, positions, embeddings=embeddings))
            streams.leave(_layer_input(g, spec, inputs[index]) if inputs else None)
            scale_stream(g, stream, layer)
    return presents


def _streams(g: GraphBuilder, spec: DecoderSpec, hidden: ir.Value) -> Streams:
    if spec.altup is not None:
        return AltUpStreams(g, spec.altup, hidden, spec.hidden_size)
    return SingleStream(ResidualStream(g, hidden, spec.hidden_size))


def _layer_input(g: GraphBuilder, spec: DecoderSpec, value: ir.Value) -> LayerInput:
    """What turns a layer's result into what its own input of the tokens, `value`, adds to it."""
    inputs = spec.per_layer_input
    assert inputs is not None
    return lambda x: layer_input(g, x, inputs, value, size=spec.hidden_size)


def decoder_layer(
    g: GraphBuilder,
    stream: ResidualStream,
    layer: LayerSpec,
    past: Mapping[str, ir.Value],
    positions: Positions,
    *,
    embeddings: ir.Value | None = None,
) -> Mapping[str, ir.Value]:
    """Add one layer's mixer and feed-forward block to the stream; return its states after the new tokens.

    The embeddings are needed where the layer has a shared block.
    """
    if layer.mixer is None:
        _add_feed_forward(g, stream, layer)
        return {}
    x, block_present = _mixer_input(g, stream, layer, past, positions, embeddings)
    if layer.normed_stream is not None:
        stream.replace(g.scaled(x, layer.mixer_factors[0]))
    output, mixer_present = _mixed(g, x, layer, past, positions)
    present = {**block_present, **mixer_present}
    if layer.mixer_output_norm is not None:
        output = normalize(g, output, "mixer_output_norm", layer.mixer_output_norm, stream.size)
    if layer.parallel:
        y = x if layer.mlp_norm is None else stream.normalize("mlp_norm", layer.mlp_norm)
        both = g.op("Add", [output, _transformed(g, y, layer, stream.size)])
        stream.add(g.scaled(both, layer.residual_scale))
        return present
    stream.add(g.scaled(output, layer.mixer_factors[1]))
    if layer.laurel is not None:
        stream.add(laurel(g, x, layer.laurel, size=stream.size))
        stream.scale(g.scalar(math.sqrt(0.5)))
    _add_feed_forward(g, stream, layer)
    return present


def _mixer_input(
    g: GraphBuilder,
    stream: ResidualStream,
    layer: LayerSpec,
    past: Mapping[str, ir.Value],
    positions: Positions,
    embeddings: ir.Value | None,
) -> tuple[ir.Value, Mapping[str, ir.Value]]:
    """What a layer's mixer reads, and the present states of the shared block that has a part in it, if one has."""
    if layer.shared is None:
        return stream.normalize("input_norm", layer.input_norm), {}
    assert layer.input_norm is not None
    assert embeddings is not None
    x = stream.read()
    mixed = shared_block(g, x, embeddings, layer.shared, past, positions, size=stream.size)
    x = g.op("Add", [x, mixed.output])
    return normalize(g, x, "input_norm", layer.input_norm, stream.size), mixed.present


def _mixed(
    g: GraphBuilder, x: ir.Value, layer: LayerSpec, past: Mapping[str, ir.Value], positions: Positions
) -> tuple[ir.Value, Mapping[str, ir.Value]]:
    """What a layer's mixer, and the state space beside it, make of normalized tokens, and their present states."""
    assert layer.mixer is not None
    beside = layer.beside
    if beside is None:
        mixed = mix(g, x, layer.mixer, past, positions)
        return mixed.output, mixed.present
    mixed = mix(g, g.scaled(x, beside.mixer_input_scale), layer.mixer, past, positions)
    second = mix(g, x, beside.mamba, past, positions)
    outputs = (
        g.scaled(mixed.output, beside.mixer_output_scale),
        g.scaled(second.output, beside.output_scale),
    )
    return g.op("Add", outputs), {**mixed.present, **second.present}


def _add_feed_forward(g: GraphBuilder, stream: ResidualStream, layer: LayerSpec) -> None:
    if layer.mlp is not None:
        x = stream.normalize("mlp_norm", layer.mlp_norm)
        if layer.normed_stream is not None:
            stream.replace(g.scaled(x, layer.mlp_factors[0]))
        stream.add(g.scaled(_transformed(g, x, layer, stream.size), layer.mlp_factors[1]))
    if layer.stream_norm is not None:
        stream.replace(stream.normalize("stream_norm", layer.stream_norm))


def _transformed(g: GraphBuilder, x: ir.Value, layer: LayerSpec, size: int) -> ir.Value:
    """What the feed-forward block makes of normalized tokens."""
    assert layer.mlp is not None
    transformed = feed_forward(g, x, layer.mlp)
    if layer.mlp_output_norm is None:
        return transformed
    return normalize(g, transformed, "mlp_output_norm", layer.mlp_output_norm, size)


def scale_stream(g: GraphBuilder, stream: ResidualStream, layer: LayerSpec) -> None:
    """Multiply the stream by the layer's scalar and factor, if it has any."""
    if layer.has_scalar:
        scalar = from_array(g.parameter("scalar")[:], g.precision.float_type)
        stream.scale(g.initializer("scalar", scalar))
    if layer.output_scale != 1.0:
        stream.scale(g.scalar(layer.output_scale))


def past_inputs(g: GraphBuilder, index: int, layer: LayerSpec) -> dict[str, ir.Value]:
    """Add the inputs with a layer's states, by their specs' names."""
    return {
        state.name: g.input(
            past_name(index, state.name),
            _state_type(g, index, layer, state),
            _state_shape(state, PAST_LENGTH),
        )
        for state in layer.states()
    }


def _state_type(g: GraphBuilder, index: int, layer: LayerSpec, state: StateSpec) -> ir.DataType:
    if holds_codes(g, index, layer, state.name):
        return ir.DataType.INT8
    return ir.DataType.FLOAT if state.is_float32 else g.precision.float_type


def _state_shape(state: StateSpec, length: str) -> list[int | str]:
    return [BATCH_SIZE, *(length if size is None else size for size in state.shape)]
