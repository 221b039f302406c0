"""What the runtime needs to know of a decoder before it opens the graph, whoever made the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genai.folder.graph_names import GraphNames, StageConfig

__all__ = ["DecoderConfig"]


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """A decoder in the terms that genai uses.

    Args:
        model_type: Hugging Face's model_type ("llama", "phi3", ...).
        filename: The ONNX file within the folder; the first stage's if there are stages.
        vocab_size: Number of logits per position.
        context_length: Most tokens (prompt and generated) that a sequence can have.
        hidden_size: Width of what the head reads: the residual stream, or what it is projected to first.
        num_layers: Number of layers.
        num_heads: Query heads per layer; 0 of a decoder without attention, as are the next two.
        num_kv_heads: Key/value heads per layer.
        head_dim: Width of one head.
        eos_token_ids: Ids that end a sequence.
        bos_token_id: Id that begins a sequence, if the model has one.
        pad_token_id: Id for padding; never generated or relied on.
        search: Search defaults, by onnxruntime-genai's names.
        session_options: ONNX Runtime session options as onnxruntime-genai writes them, without provider options.
        provider_options: Options by execution provider, as genai calls it, in order of preference.
        names: What the graph's inputs and outputs are called.
        stages: The graphs that the decoder is split into; empty for one graph.
        sliding_window: How onnxruntime-genai would slide its cache, for graphs made for that.
        layer_types: Each layer's type, where onnxruntime-genai cannot tell by the graph which ones are convolutions.
        tokenizer_dir: The folder of the tokenizer within the model folder.
        max_positions: Most new tokens per sequence of one run; `None` is any number, or what the graph says.
    """

    model_type: str
    filename: str
    vocab_size: int
    context_length: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None
    pad_token_id: int | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    session_options: Mapping[str, Any] = field(default_factory=dict)
    provider_options: tuple[tuple[str, Mapping[str, str]], ...] = ()
    names: GraphNames = field(default_factory=GraphNames)
    stages: tuple[StageConfig, ...] = ()
    sliding_window: Mapping[str, Any] | None = None
    layer_types: tuple[str, ...] = ()
    tokenizer_dir: str = ""
    max_positions: int | None = None
