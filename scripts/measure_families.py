"""Write docs/families.md: what genai exports natively, and how exactly each family computes.

Run from the repository's root: `python scripts/measure_families.py`; with `--published`, only the sentence with the
counts of published models is written again. Every family is exported from the tests' tiny
random checkpoint in each precision, run on the CPU and compared with transformers in float32. Kernels of other
providers are those that ONNX Runtime 1.31 registers (docs/OperatorKernels.md in its repository), by operator.
"""

from __future__ import annotations

import importlib
import json
import logging
import pkgutil
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
import transformers

from genai.errors import GenaiError
from genai.export import export_model, families, plan_export
from genai.export.architecture.family import Family
from genai.folder import ModelFolder
from tests.checkpoints import FAMILIES, VOCAB_SIZE, load_reference, make_checkpoint
from tests.export.runner import GraphRunner

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "families.md"
PUBLISHED = ROOT / "tests" / "export" / "published_configs.json"
PROMPT = np.random.default_rng(3).integers(3, VOCAB_SIZE, 24).tolist()
PRECISIONS = ("fp32", "fp16", "int8", "int4")

WITHOUT_DIRECTML_KERNEL = ("CausalConvWithState", "GatherBlockQuantized", "LinearAttention", "MoE", "QMoE")
"""Operators of com.microsoft that run on the CPU in a DirectML session."""

TWINS: Mapping[str, str] = {
    "BailingMoeV2ForCausalLM": "glm4_moe",
    "ExaoneForCausalLM": "llama",
    "Glm4vForConditionalGeneration": "glm4",
    "Glm4vMoeForConditionalGeneration": "glm4_moe",
    "InternLM2ForCausalLM": "llama",
    "InternLM3ForCausalLM": "llama",
    "MiniCPMForCausalLM": "granite",
    "Qwen3VLMoeForConditionalGeneration": "qwen3_moe",
}
"""Architectures that transformers does not have, or only for images and text together, and which family they are equal to."""

HEADER = """# Families

What `genai export` builds natively, without torch or transformers. Other decoders go through a
[foreign exporter](exporting.md), transformers' own: BioGPT, Persimmon and XGLM are tested there; those with states
of other kinds and encoder-decoders are refused.

`fp32` is the largest difference of a logit from transformers' in float32; the other columns are the norm of all
differences relative to the norm of the logits, on tiny models of random weights (what rounding costs real models is
another matter: [Quantization](quantization.md)). A dash is a precision that the CPU has no kernel for; GPUs may. "=" stands for an architecture that
transformers lacks, or has only for images and text together: it is tested against the family that it is equal to, or
within the whole model.

On CUDA, GroupQueryAttention and QMoE compute in fp16 and bf16; in folders of other precisions these operators run on
the CPU. The last column names the operators that a DirectML session runs on the CPU at int4.

This page is written by `python scripts/measure_families.py`.

| family | architectures | fp32 | fp16 | int8 | int4 | on the CPU under DirectML |
|---|---|---|---|---|---|---|
"""


LAST_SENTENCE = "This page is written by"
SENTENCE = re.compile(r"Of \d+ published models .*\n\n")
"""The page's sentence with the counts of published models, which stands before that one."""


@dataclass(frozen=True, slots=True)
class Row:
    """A family's figures; `None` where a precision does not run."""

    errors: Mapping[str, float | None]
    operators: tuple[str, ...]


def native_families() -> dict[str, Family]:
    """Every family by its module's name."""
    modules = [module.name for module in pkgutil.iter_modules(families.__path__)]
    return {name: importlib.import_module(f"{families.__name__}.{name}").FAMILY for name in modules}


def measure(family: str) -> tuple[str, Row]:
    """Export a family's tiny checkpoint in each precision; return its architecture and figures."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(family, Path(folder) / "checkpoint")
        with torch.no_grad():
            expected = load_reference(checkpoint)(torch.tensor([PROMPT])).logits[0].numpy()
        errors: dict[str, float | None] = {}
        for precision in PRECISIONS:
            size = (
                {"block_size": 32} if precision in ("int8", "int4") else {}
            )  # larger blocks make all of it 8 bits
            exported = export_model(
                checkpoint, Path(folder) / precision, precision=precision, via="native", **size
            )
            errors[precision] = error_of(exported, expected, absolute=precision == "fp32")
        graph = onnx.load(exported.model_path, load_external_data=False).graph
        operators = {node.op_type for node in graph.node}
        assert exported.manifest is not None
        return exported.manifest.architecture, Row(errors, tuple(sorted(operators)))


def error_of(folder: ModelFolder, expected: np.ndarray, *, absolute: bool) -> float | None:
    """The largest difference, or the relative norm of all; `None` if the CPU has no kernel for the graph."""
    try:
        found = GraphRunner(folder).feed(PROMPT)
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error) or "Could not find an implementation" in str(error):
            return None
        raise
    difference = found - expected
    return float(
        np.abs(difference).max() if absolute else np.linalg.norm(difference) / np.linalg.norm(expected)
    )


def outcome(config: Mapping[str, object]) -> str:
    """Return who would export a model with this config.json: "native", "fallback", or "refused" where nobody would."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        try:
            return "fallback" if plan_export(folder).native is None else "native"
        except GenaiError:
            return "refused"


def with_counts(page: str) -> str:
    """Return the page with the sentence that counts the outcomes of all published configs that the tests hold."""
    configs = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    counts = Counter(outcome(config) for config in configs.values())
    sentence = (
        f"Of {len(configs)} published models whose config.json the tests hold, {counts['native']} are exported natively, "
        f"{counts['fallback']} go to transformers' exporter, and {counts['refused']} are refused. The tests build the "
        "native ones in their real widths, and hold shrunk ones to transformers' logits and tokens.\n\n"
    )
    return SENTENCE.sub("", page).replace(LAST_SENTENCE, f"{sentence}{LAST_SENTENCE}", 1)


def main() -> None:
    """Measure all and write the page, or only count."""
    logging.disable()
    if "--published" in sys.argv[1:]:
        PAGE.write_text(with_counts(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return
    transformers.utils.logging.disable_progress_bar()
    rows = dict(measure(family) for family in FAMILIES)
    lines = [HEADER]
    for name, family in sorted(native_families().items()):
        architectures = ", ".join(f"`{architecture}`" for architecture in family.architectures)
        row = next((rows[a] for a in family.architectures if a in rows), None)
        if row is None:
            twin = next(TWINS[a] for a in family.architectures if a in TWINS)
            lines.append(f"| {name} | {architectures} | = {twin} | | | | |\n")
            continue
        figures = " | ".join("-" if error is None else f"{error:.0e}" for error in row.errors.values())
        on_cpu = ", ".join(op for op in row.operators if op in WITHOUT_DIRECTML_KERNEL)
        lines.append(f"| {name} | {architectures} | {figures} | {on_cpu} |\n")
    PAGE.write_text(with_counts("".join(lines)), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
