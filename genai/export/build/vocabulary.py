"""The two ends of a decoder: token ids to embeddings, and hidden states to logits."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.architecture import DecoderSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import Table, linear, look_up, project, table
from genai.export.build.norms import normalize

__all__ = ["embed", "logits_of"]


def embed(
    g: GraphBuilder, spec: DecoderSpec, rows: Table, input_ids: ir.Value, position_ids: ir.Value | None
) -> ir.Value:
    """Return the embeddings of tokens, scaled, with their positions', normalized: [batch_size, sequence_length, hidden_size]."""
    hidden = look_up(g, rows, input_ids)
    if spec.embedding_scale != 1.0:
        hidden = g.op("Mul", [hidden, g.scalar(spec.embedding_scale)])
    if spec.embedding_size is not None:
        hidden = linear(g, hidden, "embedding_projection")
    if spec.learned_positions is not None:
        assert position_ids is not None
        rows = table(g, "position_embedding", first_row=spec.position_offset)
        hidden = g.op("Add", [hidden, look_up(g, rows, position_ids)])
    if spec.embedding_norm is not None:
        hidden = normalize(g, hidden, "embedding_norm", spec.embedding_norm, spec.hidden_size)
    return hidden


def logits_of(g: GraphBuilder, hidden: ir.Value, spec: DecoderSpec, embedding: Table | None) -> ir.Value:
    """Return the logits of normalized hidden states, in float32: [batch_size, positions, vocab_size].

    Args:
        g: The graph.
        hidden: [batch_size, positions, hidden_size].
        spec: The decoder.
        embedding: The table that a tied head shares; `None` where it has its own.
    """
    if spec.embedding_size is not None:
        hidden = linear(g, hidden, "head_projection")
    logits = linear(g, hidden, "head") if embedding is None else project(g, hidden, embedding, name="head")
    if spec.logit_scale != 1.0:
        logits = g.op("Mul", [logits, g.scalar(spec.logit_scale)])
    if spec.logit_softcap is not None:
        scaled = g.op("Div", [logits, g.scalar(spec.logit_softcap)])
        logits = g.op("Mul", [g.op("Tanh", [scaled]), g.scalar(spec.logit_softcap)])
    if g.precision.float_type != ir.DataType.FLOAT:
        logits = g.op("Cast", [logits], to=ir.DataType.FLOAT)
    return logits
