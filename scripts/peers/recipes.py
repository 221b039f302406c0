"""The rows of a comparison: which engine, and how its model is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ENGINES", "RECIPES", "WORKERS", "EngineFile", "Recipe", "genai_recipe", "select"]


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine's worker.

    Args:
        script: What its process runs.
        source: What it converts from: a "checkpoint" in transformers' layout, a "gguf" file, or the "original", which
            of the two the model came as.
    """

    script: Path
    source: str


WORKERS = Path(__file__).parent / "workers"
ENGINES: Mapping[str, EngineFile] = {
    "genai": EngineFile(WORKERS / "genai_worker.py", "original"),
    "onnxruntime-genai": EngineFile(WORKERS / "onnxruntime_genai_worker.py", "checkpoint"),
    "openvino": EngineFile(WORKERS / "openvino_worker.py", "checkpoint"),
    "llama.cpp": EngineFile(WORKERS / "llama_cpp_worker.py", "gguf"),
    "ctranslate2": EngineFile(WORKERS / "ctranslate2_worker.py", "checkpoint"),
    "transformers": EngineFile(WORKERS / "transformers_worker.py", "checkpoint"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A row.

    Args:
        name: What it is called.
        engine: One of `ENGINES`.
        bits: Of most weights.
        options: Of the conversion; the engine's worker knows them.
    """

    name: str
    engine: str
    bits: int
    options: Mapping[str, Any] = field(default_factory=dict)


RECIPES: Sequence[Recipe] = (
    Recipe("genai int4", "genai", 4, {"precision": "int4"}),
    Recipe("genai int4, block 128", "genai", 4, {"precision": "int4", "block_size": 128}),
    Recipe("genai int4-small", "genai", 4, {"precision": "int4-small"}),
    Recipe("genai int8", "genai", 8, {"precision": "int8"}),
    Recipe("onnxruntime-genai int4", "onnxruntime-genai", 4, {"precision": "int4"}),
    Recipe(
        "onnxruntime-genai int4, tuned",
        "onnxruntime-genai",
        4,
        {
            "precision": "int4",
            "int4_accuracy_level": 4,
            "shared_embeddings": "true",
            "prune_lm_head": "true",
            "fuse_mlp_gate_up": "true",
        },
    ),
    Recipe("OpenVINO GenAI int4", "openvino", 4, {"bits": 4}),
    Recipe("OpenVINO GenAI int8", "openvino", 8, {"bits": 8}),
    Recipe("llama.cpp Q4_0", "llama.cpp", 4, {"type": "Q4_0"}),
    Recipe("llama.cpp Q4_K_M", "llama.cpp", 4, {"type": "Q4_K_M"}),
    Recipe("llama.cpp Q8_0", "llama.cpp", 8, {"type": "Q8_0"}),
    Recipe("CTranslate2 int8", "ctranslate2", 8, {"quantization": "int8"}),
    Recipe("transformers bf16", "transformers", 16),
)
"""All rows; the first is what the others are compared with."""


def select(recipes: Sequence[Recipe], names: Sequence[str] | None) -> list[Recipe]:
    """Return the recipes that a name means: an engine's all, or a row's one; without names, all.

    Raises:
        ValueError: A name means none.
    """
    for name in names or ():
        if not any(name in (recipe.engine, recipe.name) for recipe in recipes):
            rows = ", ".join(recipe.name for recipe in recipes)
            raise ValueError(f'"{name}" is neither an engine ({", ".join(ENGINES)}) nor a row ({rows})')
    return [recipe for recipe in recipes if names is None or {recipe.engine, recipe.name} & set(names)]


def genai_recipe(text: str) -> Recipe:
    """Return a row of genai's from settings of an export, as "precision=int4,block_size=64".

    Raises:
        ValueError: It is not of that form.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key and equals and value for key, equals, value in pairs):
        raise ValueError(f'"{text}" is not of the form precision=int4,block_size=64')
    options = {key: _number(value) for key, _, value in pairs}
    precision = str(options.setdefault("precision", "int4"))
    bits = {"int4": 4, "int4-small": 4, "int8": 8, "fp16": 16, "bf16": 16}.get(precision, 32)
    return Recipe(f"genai {text}", "genai", bits, options)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
