"""config.json as the description of a decoder, for folders that have nothing else: Optimum's and transformers.js'.

Families call the same number by different names (`n_positions`, `seq_length`, `n_layer`, ...). What a graph says of
its own shapes wins later, when it is loaded; these numbers stand in where its axes are symbolic.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genai.errors import ModelFolderError
from genai.folder.decoder_config import DecoderConfig
from genai.folder.files import HF_CONFIG_FILE
from genai.folder.graph_files import GraphFile

__all__ = ["decoder_from_hf_config"]

DEFAULT_CONTEXT_LENGTH = 2048
"""For models without positions (ALiBi) whose config.json names no length; such a model has no limit of its own."""

_VOCAB_SIZE = ("vocab_size", "n_vocab", "padded_vocab_size")
_CONTEXT_LENGTH = (
    *("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length"),
    *("max_seq_length", "context_length"),
)
_HIDDEN_SIZE = ("hidden_size", "n_embd", "d_model", "dim", "model_dim")
_NUM_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers")
_NUM_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_query_heads")
_NUM_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
_HEAD_DIM = ("head_dim", "head_size", "kv_channels", "attention_head_size")


def decoder_from_hf_config(values: Mapping[str, Any], *, graph: GraphFile, folder: Path) -> DecoderConfig:
    """Return the decoder that a config.json describes.

    Args:
        values: The content of config.json; where it has a `text_config`, that describes the decoder.
        graph: The ONNX file.
        folder: The folder, for messages.

    Raises:
        ModelFolderError: The model is an encoder with a decoder, or a number is missing.
    """
    model_type = str(values.get("model_type", "unknown"))
    if values.get("is_encoder_decoder"):
        raise ModelFolderError(
            f'{folder}: a "{model_type}" model is an encoder with a decoder, and genai runs models that are a decoder '
            "alone"
        )
    text = values.get("text_config")
    text = {**values, **text} if isinstance(text, Mapping) else dict(values)
    # Some families keep the numbers of their attention in a section of its own (mpt).
    attention = text.get("attn_config")
    attention = attention if isinstance(attention, Mapping) else {}
    hidden_size = _number(text, _HIDDEN_SIZE, folder)
    num_heads = _number(text, _NUM_HEADS, folder)
    return DecoderConfig(
        model_type=str(text.get("model_type", model_type)),
        filename=graph.path,
        vocab_size=_number(text, _VOCAB_SIZE, folder),
        context_length=_number(text, _CONTEXT_LENGTH, folder, default=DEFAULT_CONTEXT_LENGTH),
        hidden_size=hidden_size,
        num_layers=_number(text, _NUM_LAYERS, folder),
        num_heads=num_heads,
        num_kv_heads=_num_kv_heads(text, attention, num_heads),
        head_dim=_first(text, _HEAD_DIM) or hidden_size // num_heads,
        eos_token_ids=_token_ids(text, "eos_token_id"),
        bos_token_id=next(iter(_token_ids(text, "bos_token_id")), None),
        pad_token_id=next(iter(_token_ids(text, "pad_token_id")), None),
        max_positions=graph.max_positions,
    )


def _num_kv_heads(text: Mapping[str, Any], attention: Mapping[str, Any], num_heads: int) -> int:
    if text.get("multi_query") and not text.get("new_decoder_architecture"):
        return 1  # gpt_bigcode, falcon; the latter's num_kv_heads is then not looked at
    return _first(attention, ("kv_n_heads",)) or _first(text, _NUM_KV_HEADS) or num_heads


def _number(
    text: Mapping[str, Any], keys: tuple[str, ...], folder: Path, *, default: int | None = None
) -> int:
    found = _first(text, keys) or default
    if found is None:
        raise ModelFolderError(
            f"{folder}: {HF_CONFIG_FILE} has none of {', '.join(keys[:3])}, so that the decoder's shape is unknown; "
            "copy the original model's config.json into the folder"
        )
    return found


def _first(text: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    """Return the first of these values that is a positive integer, or the greatest of a list per layer (OpenELM)."""
    for key in keys:
        value = text.get(key)
        numbers = value if isinstance(value, list) and value else [value]
        if all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in numbers):
            return int(max(numbers))
    return None


def _token_ids(text: Mapping[str, Any], key: str) -> tuple[int, ...]:
    value = text.get(key)
    ids = value if isinstance(value, list) else [value]
    return tuple(i for i in ids if isinstance(i, int) and not isinstance(i, bool) and i >= 0)
