"""The order of the adaptations, and what they found out about the graph."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from genai.folder import GraphNames
from genai.runtime.adapt.eight_bit_products import num_block_weights, rounds_activations
from genai.runtime.adapt.fused_cache import split_stacked_caches
from genai.runtime.adapt.graph import opset_of, remove_unused
from genai.runtime.adapt.lengths import keep_whole_windows, promote_lengths, shared_caches
from genai.runtime.adapt.logits import promote_num_logits
from genai.runtime.adapt.long_rope import promote_rope_choice
from genai.runtime.adapt.names import rename_ports
from genai.runtime.adapt.rotary_tables import limit_rotary_tables

__all__ = ["GraphFacts", "adapt_model"]


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What the inputs and outputs of a session do not say of its graph.

    Args:
        shared: The cache's inputs whose memory may be that of their outputs.
        can_keep_none: Whether `num_logits_to_keep` may be 0 for none.
        rope_switch_length: Length beyond which `use_long_rope` has to be true.
        num_block_weights: Weights of the products that MatMulNBits computes.
        rounds_activations: Whether products round activations to 8 bits.
        in_eight_bits: Whether it is what computes in 8 bits beside the graph that gives logits, and attends by the plain
            kernel.
    """

    shared: frozenset[str] = frozenset()
    can_keep_none: bool = False
    rope_switch_length: int | None = None
    num_block_weights: int = 0
    rounds_activations: bool = False
    in_eight_bits: bool = False


def adapt_model(
    model: ModelProto, names: GraphNames | None = None, *, max_context: int | None = None
) -> GraphFacts:
    """Change a model, in place, to what the runtime feeds; return what it found.

    Args:
        model: The model.
        names: What the configuration says its inputs and outputs are called.
        max_context: Longest sequence that will run; `None` is what the graph was made for.

    Raises:
        ModelFolderError: The configured names contradict the graph.
    """
    graph = model.graph
    rename_ports(graph, names or GraphNames())
    split_stacked_caches(graph, opset_of(model))
    can_keep_none = promote_num_logits(graph)
    rope_switch_length = promote_rope_choice(graph)
    if max_context is not None:
        limit_rotary_tables(graph, max_context)
    keep_whole_windows(graph)
    promote_lengths(graph)
    remove_unused(graph)
    return GraphFacts(
        shared_caches(graph),
        can_keep_none,
        rope_switch_length,
        num_block_weights(graph),
        rounds_activations(graph),
    )
