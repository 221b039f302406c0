"""What a GGUF file says of its model: typed metadata, and what its tensors tell beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export.checkpoint.gguf.reader import GgufFile, StoredTensor
from genai.export.checkpoint.gguf.tensors import view_of
from genai.export.checkpoint.model_config import ModelConfig

__all__ = ["GgufModel", "common_config", "head_dim_of", "rope_of"]

_MAX_LIST = 1 << 16
"""Arrays up to this length may be values of a config: one for each layer, or each dimension."""

_MAX_COUNT = 1 << 24
"""No model has more of anything that its metadata count; the longest context that anybody announced is 10 million."""

_QUERIES = re.compile(r"\.attn_(q|qkv|q_b)\.weight$")
_LAYER = re.compile(r"blk\.(\d{1,6})\.")

_LLAMA3_LENGTHS = (8192, *(1 << exponent for exponent in range(5, 18)))


@dataclass(frozen=True, slots=True)
class GgufModel:
    """A model as its file describes it.

    Args:
        architecture: The file's name of its architecture.
        keys: The metadata of this architecture, without its name before every key.
        metadata: All metadata.
        tensors: The stored tensors.
    """

    architecture: str
    keys: ModelConfig
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    @classmethod
    def of(cls, file: GgufFile) -> Self:
        """Return what a file says.

        Raises:
            CheckpointError: It does not name its architecture.
        """
        architecture = ModelConfig(file.metadata, "GGUF metadata").string("general.architecture")
        prefix = f"{architecture}."
        own = {key[len(prefix) :]: value for key, value in file.metadata.items() if key.startswith(prefix)}
        keys = {key: _plain(value) for key, value in own.items()}
        for key, value in keys.items():
            if any(isinstance(number, int) and number > _MAX_COUNT for number in _listed(value)):
                raise CheckpointError(f"GGUF metadata: {prefix}{key} is {value}, which no model has")
        where = f"GGUF metadata, {architecture}"
        model = cls(architecture, ModelConfig(keys, where), file.metadata, file.tensors)
        model._check_counts()
        return model

    def _check_counts(self) -> None:
        """See that what is counted is there, before anything is made for each of so many."""
        layers = {int(match[1]) for name in self.tensors if (match := _LAYER.match(name))}
        self._check_count("block_count", 1 + max(layers, default=-1), "layers")
        rows = [tensor.shape[0] for name, tensor in self.tensors.items() if _QUERIES.search(name)]
        for key in ("attention.head_count", "attention.head_count_kv"):
            if rows and not self.keys.is_list(key):
                self._check_count(key, max(rows), "rows")
        experts = [tensor.shape[0] for name, tensor in self.tensors.items() if "_exps." in name]
        if experts:
            self._check_count("expert_count", max(experts), "experts")
        if (streams := self.tensors.get("altup_proj.weight")) is not None:
            self._check_count("altup.num_inputs", 1 + streams.shape[0], "streams")
        if (embedding := self.tensors.get("token_embd.weight")) is not None:
            self._check_count("embedding_length", embedding.shape[-1], "columns")

    def _check_count(self, key: str, found: int, what: str) -> None:
        count = self.keys.integer(key, 0, minimum=0)
        if count > found:
            raise CheckpointError(
                f"GGUF metadata: {self.architecture}.{key} is {count}, and the tensors are of {found} {what}; download "
                "the file again"
            )

    def has(self, tensor: str) -> bool:
        """Whether there is a tensor of this name."""
        return tensor in self.tensors

    def one_for_all_layers(self, key: str) -> int:
        """Return a whole number that may be stored once for each layer, where it must be the same.

        Raises:
            UnsupportedModelError: Layers differ in it.
        """
        values = set(self.of_layers(key))
        if len(values) != 1:
            raise self.keys.unsupported(
                key, f"differs from layer to layer ({sorted(values)}), which is not supported"
            )
        return values.pop()

    def of_layers(self, key: str) -> list[int]:
        """Return a whole number for each layer, which may be stored as one for all."""
        count = self.keys.integer("block_count")
        if not self.keys.is_list(key):
            return [self.keys.integer(key)] * count
        values = list(self.keys.integers(key))
        if len(values) != count:
            raise CheckpointError(
                f"GGUF metadata: {self.architecture}.{key} has {len(values)} values for {count} layers"
            )
        return values

    def layer_types(self, *, default_period: int) -> list[str]:
        """Return transformers' `layer_types`: which layers see a window only.

        The file names them one by one, or says that every n-th sees everything.

        Args:
            default_period: The n of the architecture, where the file says nothing.
        """
        key, count = "attention.sliding_window_pattern", self.keys.integer("block_count")
        if self.keys.is_list(key):
            are_local = list(self.keys.flags(key))
        else:
            period = self.keys.integer(key, default_period, minimum=0)
            are_local = [bool(period) and (index + 1) % period != 0 for index in range(count)]
        return ["sliding_attention" if is_local else "full_attention" for is_local in are_local]

    def factors(self, tensor: str) -> list[float] | None:
        """Return the numbers of a small tensor; `None` if there is none."""
        if tensor not in self.tensors:
            return None
        values = np.asarray(view_of(self.tensors[tensor])[:], np.float32).reshape(-1)
        return [float(str(value)) for value in values]


def common_config(model: GgufModel) -> dict[str, Any]:
    """Return what is said alike of most decoders, under transformers' keys."""
    keys = model.keys
    num_heads = model.one_for_all_layers("attention.head_count")
    has_kv = "attention.head_count_kv" in keys
    config: dict[str, Any] = {
        "hidden_size": keys.integer("embedding_length"),
        "num_hidden_layers": keys.integer("block_count"),
        "num_attention_heads": num_heads,
        "num_key_value_heads": model.one_for_all_layers("attention.head_count_kv") if has_kv else num_heads,
        "max_position_embeddings": keys.integer("context_length"),
        "vocab_size": _vocab_size(model),
        "tie_word_embeddings": not model.has("output.weight"),
    }
    if "feed_forward_length" in keys:
        config["intermediate_size"] = model.one_for_all_layers("feed_forward_length")
    if "attention.layer_norm_rms_epsilon" in keys:
        config["rms_norm_eps"] = keys.positive("attention.layer_norm_rms_epsilon")
    if "attention.layer_norm_epsilon" in keys:
        config["layer_norm_eps"] = keys.positive("attention.layer_norm_epsilon")
    if "attention.key_length" in keys:
        config["head_dim"] = keys.integer("attention.key_length")
    return {**config, "rope_parameters": rope_of(model, head_dim=head_dim_of(config))}


def head_dim_of(config: Mapping[str, Any]) -> int:
    """Return the width of a head."""
    return int(config.get("head_dim", config["hidden_size"] // config["num_attention_heads"]))


def rope_of(model: GgufModel, *, head_dim: int, base_key: str = "rope.freq_base") -> dict[str, Any]:
    """Return transformers' `rope_parameters`."""
    keys = model.keys
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": keys.positive(base_key, 10000.0)}
    rotated = keys.integer("rope.dimension_count", head_dim)
    if rotated != head_dim:
        rope["partial_rotary_factor"] = rotated / head_dim
    if factors := model.factors("rope_freqs.weight"):
        return rope | _llama3(model, factors, rope["rope_theta"])
    kind = keys.choice("rope.scaling.type", ("none", "linear", "yarn", "longrope"), "none")
    old_factor = keys.number("rope.scale_linear", 1.0)
    if kind == "linear" or (kind == "none" and old_factor != 1):
        return rope | {"rope_type": "linear", "factor": keys.positive("rope.scaling.factor", old_factor)}
    if kind == "yarn":
        return rope | _yarn(keys)
    if model.has("rope_factors_long.weight"):
        return rope | _longrope(model)
    return rope


def _yarn(keys: ModelConfig) -> dict[str, Any]:
    values = {
        "factor": keys.positive("rope.scaling.factor"),
        "original_max_position_embeddings": keys.integer("rope.scaling.original_context_length"),
        "attention_factor": keys.optional_number("rope.scaling.yarn_attn_factor"),
        "beta_fast": keys.optional_number("rope.scaling.yarn_beta_fast"),
        "beta_slow": keys.optional_number("rope.scaling.yarn_beta_slow"),
    }
    return {"rope_type": "yarn"} | {key: value for key, value in values.items() if value is not None}


def _longrope(model: GgufModel) -> dict[str, Any]:
    values = {
        "original_max_position_embeddings": model.keys.integer("rope.scaling.original_context_length"),
        "attention_factor": model.keys.optional_number("rope.scaling.attn_factor"),
        "long_factor": model.factors("rope_factors_long.weight"),
        "short_factor": model.factors("rope_factors_short.weight"),
    }
    return {"rope_type": "longrope"} | {key: value for key, value in values.items() if value is not None}


def _llama3(model: GgufModel, factors: list[float], theta: float) -> dict[str, Any]:
    """Return the scaling that these divisors of the frequencies come from: llama 3's, or any as longrope's."""
    if all(factor == 1 for factor in factors):
        return {}
    largest = max(factors)
    wavelengths = 2 * math.pi * theta ** (np.arange(len(factors)) / len(factors))
    for length in _LLAMA3_LENGTHS:
        smooth = np.clip((length / wavelengths - 1) / 3, 0, 1)
        if np.allclose(factors, 1 / ((1 - smooth) / largest + smooth), rtol=1e-4):
            return {
                "rope_type": "llama3",
                "factor": largest,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": length,
            }
    return {
        "rope_type": "longrope",
        "long_factor": factors,
        "short_factor": factors,
        "attention_factor": 1.0,
        "original_max_position_embeddings": model.keys.integer("context_length"),
    }


def _vocab_size(model: GgufModel) -> int:
    if (embedding := model.tensors.get("token_embd.weight")) is not None:
        return embedding.shape[0]
    raise UnsupportedModelError(
        f'the file has no tensor "token_embd.weight": it is no language model that stands alone ({model.architecture})'
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) and len(value) <= _MAX_LIST else value
