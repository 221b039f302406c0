"""What an architecture is: the declaration that turns a file's metadata and names into a checkpoint of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from genai.export.checkpoint.gguf.model import GgufModel
from genai.export.checkpoint.gguf.sources import ByPart, Source
from genai.export.checkpoint.rows import Rows

__all__ = ["LLAMA_TENSORS", "Architecture", "Join", "Table", "experts_table"]

Table = Mapping[str, str | Source]


@dataclass(frozen=True, slots=True)
class Join:
    """A tensor of transformers that several stored ones make up.

    Args:
        name: Its name, with the layer as `{i}`.
        stored: The names of the stored tensors.
        make: Makes it of them, each with all but its innermost axis as one, and the config.
    """

    name: str
    stored: tuple[str, ...]
    make: Callable[..., Rows]


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture of llama.cpp.

    Args:
        names: Its names in `general.architecture`.
        config: Derives config.json from the metadata.
        tensors: Where transformers has each stored module, by its name without ".weight" and ".bias"; a function of
            the config where that depends on it.
        joins: Tensors that are made of several.
        ignored: Stored tensors that config.json has told already, or that follow from it.
    """

    names: tuple[str, ...]
    config: Callable[[GgufModel], dict[str, Any]]
    tensors: Table | Callable[[Mapping[str, Any]], Table]
    joins: tuple[Join, ...] = ()
    ignored: tuple[str, ...] = field(default=("rope_freqs.weight", "blk.{i}.attn_rot_embd.weight"))

    def table(self, config: Mapping[str, Any]) -> Table:
        """Return where the stored modules are, for a config."""
        return self.tensors(config) if callable(self.tensors) else self.tensors


_LAYER = "model.layers.{i}"

LLAMA_TENSORS: Table = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.{i}.attn_norm": f"{_LAYER}.input_layernorm",
    "blk.{i}.attn_q": f"{_LAYER}.self_attn.q_proj",
    "blk.{i}.attn_k": f"{_LAYER}.self_attn.k_proj",
    "blk.{i}.attn_v": f"{_LAYER}.self_attn.v_proj",
    "blk.{i}.attn_output": f"{_LAYER}.self_attn.o_proj",
    "blk.{i}.ffn_norm": f"{_LAYER}.post_attention_layernorm",
    "blk.{i}.ffn_gate": f"{_LAYER}.mlp.gate_proj",
    "blk.{i}.ffn_up": f"{_LAYER}.mlp.up_proj",
    "blk.{i}.ffn_down": f"{_LAYER}.mlp.down_proj",
}
"""The layout that most share; queries and keys as transformers rotates them."""


def experts_table(gate: str, up: str, down: str) -> Table:
    """Return where stacked experts are: the modules of one of them, with its number as `{e}`."""
    return {
        "blk.{i}.ffn_gate_exps": ByPart(gate),
        "blk.{i}.ffn_up_exps": ByPart(up),
        "blk.{i}.ffn_down_exps": ByPart(down),
    }
