"""A LoRA adapter as PEFT saves it: adapter_config.json and adapter_model.safetensors, read and checked.

It knows PEFT's names and scales, and nothing of what the adapted modules are. Hu et al., 2021
(https://arxiv.org/abs/2106.09685): a module that gives W x gives (W + s B A) x, where s is alpha / rank, or
alpha / sqrt(rank) if the scale is rank-stabilized (https://arxiv.org/abs/2312.03732).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export.checkpoint.checkpoint import read_json
from genai.export.checkpoint.safetensors import open_safetensors

__all__ = ["LoraModule", "PeftAdapter", "match_module", "read_peft"]

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"

_PREFIX = "base_model.model."
_LORA = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_magnitude_vector)(\.weight)?"
)
_EMBEDDING = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<part>A|B)")
_COPY = ".base_layer.weight"
_NOT_LORA = {
    "use_qalora": "it pools its inputs (QALoRA)",
    "lora_bias": "its second matrices have biases",
    "layer_replication": "it repeats layers",
    "target_parameters": "it adapts parameters that are no modules",
    "alora_invocation_tokens": "it counts from some tokens on only (aLoRA)",
    "trainable_token_indices": "it has trained tokens",
}
"""What an adapter may ask for that the formula does not say."""
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initializations that change the weights beside which the adapter was trained."""


@dataclass(frozen=True, slots=True)
class LoraModule:
    """What an adapter adds to one module.

    Args:
        a: float32 [rank, inputs].
        b: float32 [outputs, rank], times the scale.
        lengths: float32 [outputs], what each merged row's length becomes (DoRA); `None` leaves it.
    """

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    lengths: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class PeftAdapter:
    """An adapter, read.

    Args:
        path: Its folder.
        modules: What it adds to each module, by the module's path in transformers' model.
        embeddings: The same of embeddings, whose matrices are [vocabulary, width].
        replaced: Tensors that it has instead of the model's own, by name: modules that were trained whole, and biases.
        copies: The model's own matrices beside which it adapts, by name: PEFT saves those of embeddings and heads.
        is_transposed: Whether the modules' matrices are stored as [inputs, outputs].
        base_model: What it was trained beside, as its config names it.
        reasons: Why it cannot be computed beside a model; none if it can.
    """

    path: Path
    modules: Mapping[str, LoraModule]
    embeddings: Mapping[str, LoraModule] = field(default_factory=dict)
    replaced: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    copies: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    is_transposed: bool = False
    base_model: str | None = None

    @property
    def max_rank(self) -> int:
        """The greatest rank of its modules."""
        return max((len(module.a) for module in self.modules.values()), default=0)

    def check_is_addition(self) -> None:
        """See that it does nothing but add products to modules, so that it can be computed beside a model.

        Raises:
            UnsupportedModelError: It does more.
        """
        reasons = []
        if any(module.lengths is not None for module in self.modules.values()):
            reasons.append("it changes the lengths of the merged rows (DoRA)")
        if self.embeddings:
            reasons.append(f"it adapts the embedding {min(self.embeddings)}")
        if self.replaced:
            reasons.append(f"it replaces {min(self.replaced)} (modules_to_save, or bias)")
        if reasons:
            raise UnsupportedModelError(
                f"{self.path} cannot be kept beside a model, since {' and '.join(reasons)}: merge it into the weights "
                "with --merge-adapter"
            )


def read_peft(path: Path) -> PeftAdapter:
    """Read an adapter's folder.

    Raises:
        CheckpointError: A file is missing or damaged, or the two do not fit.
        UnsupportedModelError: It is no LoRA adapter, or one of a kind that is not known.
    """
    if not (path / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{path}: {CONFIG_FILE} is missing; an adapter is a folder as PEFT's save_pretrained writes it"
        )
    config = read_json(path / CONFIG_FILE)
    _check_kind(path, config)
    if not (path / WEIGHTS_FILE).is_file():
        raise CheckpointError(
            f"{path}: {WEIGHTS_FILE} is missing; save the adapter with PEFT's save_pretrained (safe_serialization)"
        )
    tensors = open_safetensors(path, config)
    parts: dict[str, dict[str, NDArray[np.float32]]] = {}
    embeddings: dict[str, dict[str, NDArray[np.float32]]] = {}
    replaced: dict[str, NDArray[Any]] = {}
    copies: dict[str, NDArray[Any]] = {}
    for name in tensors:
        if not name.startswith(_PREFIX):
            raise CheckpointError(
                f'{path / WEIGHTS_FILE}: the tensor "{name}" is none of PEFT\'s, whose names begin with {_PREFIX}'
            )
        short = name.removeprefix(_PREFIX)
        if found := _LORA.fullmatch(short):
            part = found["part"].removesuffix(".weight")
            parts.setdefault(found["module"], {})[part] = np.asarray(tensors[name], np.float32)
        elif found := _EMBEDDING.fullmatch(short):
            part = (
                "lora_B" if found["part"] == "A" else "lora_A"
            )  # a row of the table is a column of A times B
            embeddings.setdefault(found["module"], {})[part] = np.asarray(tensors[name], np.float32).T
        elif ".lora_" in short:
            raise UnsupportedModelError(
                f'{path / WEIGHTS_FILE}: the tensor "{name}" is of no kind that is known'
            )
        elif short.endswith(_COPY):
            copies[f"{short.removesuffix(_COPY)}.weight"] = tensors[name]
        else:
            replaced[short.replace(".base_layer.", ".")] = tensors[name]
    adapter = PeftAdapter(
        path,
        dict(_modules(path, config, parts)),
        dict(_modules(path, config, embeddings)),
        replaced,
        copies,
        is_transposed=bool(config.get("fan_in_fan_out")),
        base_model=config.get("base_model_name_or_path") or None,
    )
    if not (adapter.modules or adapter.embeddings or replaced):
        raise CheckpointError(f"{path / WEIGHTS_FILE}: it holds no tensors; save the adapter again")
    return adapter


def match_module(module: str, names: Mapping[str, Any] | set[str]) -> str | None:
    """Return which of some names is a module's, where one of the two may have more in front; `None` if none, or several.

    >>> match_module("transformer.h.0.attn.c_attn", {"h.0.attn.c_attn", "h.1.attn.c_attn"})
    'h.0.attn.c_attn'
    """
    if module in names:
        return module
    found = [name for name in names if module.endswith(f".{name}") or name.endswith(f".{module}")]
    return found[0] if len(found) == 1 else None


def _check_kind(path: Path, config: Mapping[str, Any]) -> None:
    """See that a config describes an adapter that the formula of this module computes."""
    if config.get("peft_type") != "LORA":
        raise UnsupportedModelError(
            f"{path / CONFIG_FILE}: peft_type is {config.get('peft_type')!r}, and only LORA is supported"
        )
    if (task := config.get("task_type")) not in (None, "CAUSAL_LM"):
        raise UnsupportedModelError(f"{path / CONFIG_FILE}: it is for {task}, and not for CAUSAL_LM")
    for key, reason in _NOT_LORA.items():
        if config.get(key):
            raise UnsupportedModelError(
                f'{path / CONFIG_FILE}: "{key}" is set: {reason}, which is not supported'
            )
    initialization = str(config.get("init_lora_weights", ""))
    if initialization.lower().startswith(_CHANGES_BASE):
        raise UnsupportedModelError(
            f"{path / CONFIG_FILE}: it was initialized by {initialization}, beside weights that this changed: convert it "
            "to plain LoRA with PEFT (save_pretrained(..., path_initial_model_for_weight_conversion=...))"
        )


def _modules(
    path: Path, config: Mapping[str, Any], parts: Mapping[str, Mapping[str, NDArray[np.float32]]]
) -> Iterator[tuple[str, LoraModule]]:
    """Yield what is added to each module, its second matrix scaled."""
    for name, found in parts.items():
        a, b = found.get("lora_A"), found.get("lora_B")
        if a is None or b is None or a.ndim != 2 or b.ndim != 2 or len(a) != b.shape[1]:
            raise CheckpointError(
                f'{path / WEIGHTS_FILE}: "{name}" has no lora_A and lora_B of one rank; save the adapter again'
            )
        rank = _of_module(config, "rank_pattern", name, config.get("r"))
        if rank != len(a):
            raise CheckpointError(
                f'{path}: {CONFIG_FILE} gives "{name}" the rank {rank}, and {WEIGHTS_FILE} has {len(a)}'
            )
        alpha = _of_module(config, "alpha_pattern", name, config.get("lora_alpha"))
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
            raise CheckpointError(f"{path / CONFIG_FILE}: lora_alpha must be a number, not {alpha!r}")
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        lengths = found.get("lora_magnitude_vector")
        yield name, LoraModule(a, b * np.float32(scale), None if lengths is None else lengths.reshape(-1))


def _of_module(config: Mapping[str, Any], key: str, module: str, default: Any) -> Any:
    """Return what a pattern of the config says of a module: the first that its path ends with counts."""
    patterns = config.get(key) or {}
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
