"""The small files of an exported folder: genai_config.json, manifest.json, and what they say of tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from genai.config import GenerationConfig
from genai.errors import CheckpointError, OptionError
from genai.export.architecture import DecoderSpec, ShortConvolutionSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.checkpoint import Checkpoint, read_json
from genai.export.write.graph_writer import MODEL_FILE
from genai.folder import GENERATION_CONFIG_FILE, DecoderConfig

__all__ = ["decoder_config", "token_settings", "write_json"]

_SEARCH_KEYS = (
    "diversity_penalty",
    "do_sample",
    "length_penalty",
    "no_repeat_ngram_size",
    "num_beams",
    "num_return_sequences",
    "repetition_penalty",
    "temperature",
    "top_k",
    "top_p",
)


def decoder_config(checkpoint: Checkpoint, family: Family, spec: DecoderSpec) -> DecoderConfig:
    """Return what genai_config.json says of the decoder.

    Raises:
        CheckpointError: generation_config.json, or a token id, makes no sense.
    """
    attention = spec.attention
    return DecoderConfig(
        model_type=family.model_type_of(spec),
        filename=MODEL_FILE,
        vocab_size=spec.vocab_size,
        context_length=spec.max_positions,
        hidden_size=spec.head_width,
        num_layers=len(spec.layers),
        num_heads=0 if attention is None else attention.num_heads,
        num_kv_heads=0 if attention is None else attention.num_kv_heads,
        head_dim=0 if attention is None else attention.head_dim,
        layer_types=_layer_types(spec),
        **token_settings(checkpoint.path, checkpoint.config),
    )


def _layer_types(spec: DecoderSpec) -> tuple[str, ...]:
    """Each layer's type, if there are short convolutions: onnxruntime-genai wants to be told where."""
    are_short = [isinstance(layer.mixer, ShortConvolutionSpec) for layer in spec.layers]
    return tuple("conv" if is_short else "full_attention" for is_short in are_short) if any(are_short) else ()


def token_settings(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a DecoderConfig that a checkpoint's generation_config.json tells, else its config.json.

    Raises:
        CheckpointError: generation_config.json, or a token id, makes no sense.
    """
    generation = _read_generation(path / GENERATION_CONFIG_FILE)
    text = config.get("text_config") or {}
    eos, bos, pad = (
        _token_ids(key, (generation, config, text))
        for key in ("eos_token_id", "bos_token_id", "pad_token_id")
    )
    return {
        "eos_token_ids": eos,
        "bos_token_id": next(iter(bos), None),
        "pad_token_id": next(iter(pad), None),
        "search": {key: generation[key] for key in _SEARCH_KEYS if generation.get(key) is not None},
    }


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file that people can read."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_generation(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    values = read_json(path)
    try:
        GenerationConfig.from_dict(values)
    except OptionError as error:
        raise CheckpointError(f"{path}: {error}; correct the file or remove it") from error
    return values


def _token_ids(key: str, sources: Iterable[Mapping[str, Any]]) -> tuple[int, ...]:
    """The ids that the first source with this key names, without negative ones, which stand for none."""
    value = next((source[key] for source in sources if source.get(key) is not None), ())
    ids = value if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(token_id, int) and not isinstance(token_id, bool) for token_id in ids):
        raise CheckpointError(f'config.json: "{key}" must be a token id or a list of them, not {value!r}')
    return tuple(token_id for token_id in ids if token_id >= 0)
