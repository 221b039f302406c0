"""Graphs of parts of a decoder, which are run one after the other: the embeddings, one layer alone, and the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from genai.errors import UnsupportedModelError
from genai.export.architecture import AttentionSpec, DecoderSpec
from genai.export.build.decoder_graph import decoder_layer, make_positions, past_inputs, scale_stream
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import table
from genai.export.build.norms import ResidualStream
from genai.export.build.vocabulary import embed, logits_of
from genai.graph.axes import BATCH_SIZE, INPUT_SHAPES, SEQUENCE_LENGTH, logits_shape
from genai.graph.names import ATTENTION_MASK, INPUT_IDS, LOGITS

__all__ = [
    "HIDDEN_STATES",
    "LAYER_OUTPUT",
    "build_embeddings",
    "build_head",
    "build_layer",
    "check_parts",
    "num_separable",
]

HIDDEN_STATES = "hidden_states"
"""What goes into a layer, and what the embeddings are: [batch_size, sequence_length, hidden_size]."""

LAYER_OUTPUT = "layer_output"
"""What comes out of a layer, of the same shape."""


def check_parts(spec: DecoderSpec) -> None:
    """See that the layers of a decoder can be run one after the other.

    Raises:
        UnsupportedModelError: They read more than one stream of hidden states.
    """
    reads_embeddings = any(layer.shared is not None for layer in spec.layers)
    if reads_embeddings or spec.altup is not None or spec.per_layer_input is not None:
        raise UnsupportedModelError("its layers read more than what the layer before them computes")


def num_separable(spec: DecoderSpec) -> int:
    """Return how many of the first layers can be run alone: those before the first that reads another one's cache."""
    for index, layer in enumerate(spec.layers):
        if isinstance(layer.mixer, AttentionSpec) and layer.mixer.reads_layer is not None:
            return index
    return len(spec.layers)


def build_embeddings(g: GraphBuilder, spec: DecoderSpec) -> None:
    """Add to an empty graph what turns input_ids, with an attention_mask, into hidden states."""
    input_ids = g.input(INPUT_IDS, ir.DataType.INT64, INPUT_SHAPES[INPUT_IDS])
    attention_mask = g.input(ATTENTION_MASK, ir.DataType.INT64, INPUT_SHAPES[ATTENTION_MASK])
    positions = make_positions(g, replace(spec, layers=()), input_ids, attention_mask)
    hidden = embed(g, spec, table(g, "embedding"), input_ids, positions.position_ids)
    g.output(hidden, HIDDEN_STATES, g.precision.float_type, (BATCH_SIZE, SEQUENCE_LENGTH, spec.hidden_size))


def build_layer(g: GraphBuilder, spec: DecoderSpec, index: int) -> Mapping[str, ir.Value]:
    """Add one layer to an empty graph: hidden states in, hidden states out, and its pasts as inputs.

    Its parameters have the same names as in the whole decoder. Returned are its states after the tokens, by their specs'
    names, which are no outputs yet.
    """
    layer, shape = spec.layers[index], (BATCH_SIZE, SEQUENCE_LENGTH, spec.hidden_size)
    hidden = g.input(HIDDEN_STATES, g.precision.float_type, shape)
    attention_mask = g.input(ATTENTION_MASK, ir.DataType.INT64, INPUT_SHAPES[ATTENTION_MASK])
    past = past_inputs(g, index, layer)
    alone = replace(spec, layers=(layer,), learned_positions=None)
    positions = make_positions(g, alone, hidden, attention_mask)
    with g.scope(f"layers.{index}"):
        stream = ResidualStream(g, hidden, spec.hidden_size)
        present = decoder_layer(g, stream, layer, past, positions)
        scale_stream(g, stream, layer)
    g.output(stream.read(), LAYER_OUTPUT, g.precision.float_type, shape)
    return present


def build_head(g: GraphBuilder, spec: DecoderSpec) -> None:
    """Add to an empty graph what turns the hidden states after the last layer into logits."""
    shape = (BATCH_SIZE, SEQUENCE_LENGTH, spec.hidden_size)
    stream = ResidualStream(g, g.input(HIDDEN_STATES, g.precision.float_type, shape), spec.hidden_size)
    hidden = stream.normalize("final_norm", spec.final_norm)
    logits = logits_of(g, hidden, spec, table(g, "embedding") if spec.tied else None)
    g.output(logits, LOGITS, ir.DataType.FLOAT, logits_shape(spec.vocab_size))
