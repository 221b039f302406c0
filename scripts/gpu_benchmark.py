"""Measure an accelerator in one run of minutes: placement, parity, speed, and the share of the hardware's limits.

    python scripts/gpu_benchmark.py [--provider cuda] [--shapes llama-3.1-8b qwen3-0.6b] [--forms fp16 bf16 int4]
        [--batches 1 8 32 64] [--contexts 128 2048 16384] [--seconds 480] [--work DIR] [--json FILE]

First the limits, with torch where it has CUDA: the bandwidth of a copy within the device and the peak of a matrix product
in half precision. Then ten families with random weights: what the provider leaves to the CPU, and how far its logits are
from those of a fp32 folder on the CPU. Then real shapes, whose weights are drawn where they are written: loading, prompts
and decoding; and beside the first form of each, transformers with a static cache, compiled, where torch has CUDA. Every
row is printed, and written to FILE, as soon as it is there. What fails says so in its row, and what does not fit into the
time is left out, by name. Needs the `dev` extra. Anything runs it: `--provider cpu --shapes tiny --forms fp32`.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from genai import Generator
from genai.config import ExportSettings
from genai.export import Calibrated, carry_out, plan_export
from genai.export.checkpoint.rows import CodedRows
from genai.quantize import BlockScheme, QuantizedMatrix

FAMILIES = ("llama", "qwen3", "phi3", "gemma3_text", "gpt2", "mixtral", "lfm2", "falcon", "olmo2", "gpt_oss")

SHAPES: dict[str, dict[str, Any]] = {
    "llama-3.1-8b": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": False,
    },
    "qwen3-0.6b": {
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
}
"""All with llama's layers: what else qwen3 has costs next to nothing."""

NEW_TOKENS = 32
ONE_BY_ONE: dict[str, Any] = {"ignore_eos": True, "speculative": "off"}
SECONDS_OF_REFERENCE = 120
"""What making and compiling transformers' model takes at most, about."""
NO_TIME = "no time is left"

Row = dict[str, Any]

DRAWN = 1 << 20  # random numbers that weights are made of, again and again


@dataclass(frozen=True)
class Drawn:
    """A matrix of random weights, of which nothing is held."""

    shape: tuple[int, ...]
    pool: np.ndarray

    @property
    def dtype(self) -> np.dtype[Any]:
        """Their type."""
        return self.pool.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *others = key if isinstance(key, tuple) else (key,)
        count = len(range(*rows.indices(self.shape[0])))
        block = np.resize(self.pool, (count, *self.shape[1:]))
        return block[(slice(None), *others)] if others else block


def drawn_matrix(shape: tuple[int, int], scheme: BlockScheme, draw: np.random.Generator) -> QuantizedMatrix:
    """Return a matrix of random codes."""
    rows, columns = shape
    blocks = scheme.num_blocks(columns)
    codes = draw.integers(0, 256, DRAWN, np.uint8)
    points = Drawn((rows, scheme.zero_point_bytes(columns)), codes)
    return QuantizedMatrix(
        scheme,
        columns,
        codes=Drawn((rows, blocks, scheme.block_bytes), codes),
        scales=Drawn((rows, blocks), np.full(DRAWN, 0.02 / 2**scheme.bits, np.float32)),
        zero_points=None if scheme.is_symmetric else points,
    )


def make_folder(name: str, form: str, provider: str, work: Path) -> Path:
    """Export a shape with random weights."""
    from safetensors.numpy import save_file

    checkpoint, target = work / f"{name}-checkpoint", work / f"{name}-{form}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "max_position_embeddings": 32768,
        **SHAPES[name],
    }
    (checkpoint / "config.json").write_text(json.dumps(config))
    save_file({}, checkpoint / "model.safetensors")
    plan = plan_export(checkpoint, ExportSettings(form, provider=provider))
    assert plan.native is not None
    draw = np.random.default_rng(0)
    pool = (draw.standard_normal(DRAWN) * 0.02).astype(np.float32)
    parameters: dict[str, Any] = {}
    for parameter, shape in plan.native.spec.parameters().items():
        scheme = plan.precision.scheme_of(parameter.removesuffix(".weight")) if len(shape) == 2 else None
        if scheme is not None:
            parameters[parameter] = CodedRows(drawn_matrix((shape[0], shape[1]), scheme, draw))
        else:
            parameters[parameter] = Drawn(shape, pool if len(shape) == 2 else np.ones(1, np.float32))
    carry_out(plan, target, calibrated=Calibrated(plan.precision, parameters, {}), overwrite=True)
    return target


def attempted(row: Row, measure: Callable[[], Row]) -> Row:
    """Return a row with what was measured, or with what went wrong: no failure ends the run."""
    try:
        return row | measure()
    except Exception as error:  # noqa: BLE001 (whatever it is, the other rows are worth having)
        return row | {"failed": f"{type(error).__name__}: {error}"}


def why_no_cuda() -> str | None:
    """Say why torch cannot run on a GPU; None if it can."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return None if torch.cuda.is_available() else "torch has no CUDA here"


def limits() -> Row:
    """Return the device's copy bandwidth in bytes, and its matrix peak in operations, per second, as torch reaches them."""
    import torch

    def seconds_of(run: Any) -> float:
        times = []
        for _ in range(5):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        return statistics.median(times)

    source, target = (torch.empty(1 << 30, dtype=torch.uint8, device="cuda") for _ in range(2))
    copied = 2 * source.numel() / seconds_of(lambda: target.copy_(source))
    size = 8192
    a, b = (torch.randn(size, size, dtype=torch.float16, device="cuda") for _ in range(2))
    return {"bytes_per_second": copied, "operations_per_second": 2 * size**3 / seconds_of(lambda: a @ b)}


def measure_reference(name: str, context: int, known: Row, device: str = "cuda") -> Row:
    """Generate with a shape in transformers: float16, one sequence, a static cache, the forward pass compiled."""
    import torch
    from transformers import AutoModelForCausalLM, CompileConfig, LlamaConfig
    from transformers.generation.streamers import BaseStreamer

    class Clock(BaseStreamer):
        """Notes when the prompt came, and each token."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, _: object) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None: ...

    with torch.device(device):
        config = LlamaConfig(**SHAPES[name], max_position_embeddings=32768)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float16).eval()
        prompt = torch.randint(3, config.vocab_size, (1, context))
    compiled = CompileConfig()
    compiled._compile_all_devices = device == "cpu"
    for _ in range(3):  # the first compiles, the second records
        clock = Clock()
        model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            streamer=clock,
            min_new_tokens=NEW_TOKENS + 1,
            max_new_tokens=NEW_TOKENS + 1,
            do_sample=False,
            cache_implementation="static",
            compile_config=compiled,
        )
    begun, first, *_, last = clock.times
    assert len(clock.times) == NEW_TOKENS + 2
    step = (last - first) / NEW_TOKENS
    row = {"prompt_tokens_per_second": context / (first - begun), "decode_tokens_per_second": 1 / step}
    if known:
        weights = sum(each.numel() * each.element_size() for each in model.parameters())
        row["share_of_bandwidth"] = weights / step / known["bytes_per_second"]
    return row


def free_torch_memory() -> None:
    """Give back what torch keeps of the device's memory for itself."""
    import torch

    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()


def measure_family(family: str, provider: str, form: str, work: Path) -> Row:
    """Compare a family with a fp32 folder on the CPU."""
    from tests.accelerators.models import export, sized_checkpoint

    prompt = list(range(3, 40))
    checkpoint = sized_checkpoint(family, work / family / "checkpoint")
    exact = export(checkpoint, work / family / "exact", precision="fp32")
    folder = export(checkpoint, work / family / "folder", precision=form, provider=provider)
    with Generator(exact, provider="cpu") as generator:
        expected = generator.logits(token_ids=prompt).astype(np.float64)
    with Generator(folder, provider=provider) as generator:
        found = generator.logits(token_ids=prompt).astype(np.float64)
        session = generator._decoder._session
        left = session.placement.left_to_cpu(session.provider).total()
    return {
        "left_to_cpu": left,
        "error": float(np.abs(found - expected).max() / expected.std()),
        "same_best": float((found.argmax(1) == expected.argmax(1)).mean()),
    }


def measure_shape(
    folder: Path, provider: str, batches: list[int], contexts: list[int], known: Row
) -> Iterator[Row]:
    """Measure a shape: one row for each batch and context."""
    begun = time.perf_counter()
    with Generator(folder, provider=provider, max_batch=max(batches)) as generator:
        load = time.perf_counter() - begun
        for context in contexts:
            for batch in batches:
                row = {"folder": folder.name, "batch": batch, "context": context, "load_seconds": load}
                yield attempted(row, partial(measure_run, generator, batch, context, known))


def measure_run(generator: Generator, batch: int, context: int, known: Row) -> Row:
    """Measure prompts, and decoding behind them."""
    draw = np.random.default_rng(0)
    prompts = draw.integers(3, generator.vocab_size, (batch, context)).tolist()
    others = [[9, *prompt[1:]] for prompt in prompts]
    generator.generate(token_ids=prompts, max_new_tokens=2, **ONE_BY_ONE)  # records what is replayed
    begun = time.perf_counter()
    first = generator.generate(token_ids=others, max_new_tokens=1, **ONE_BY_ONE)
    prompt_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    generator.generate(token_ids=others, max_new_tokens=NEW_TOKENS + 1, **ONE_BY_ONE)
    step = (time.perf_counter() - begun) / (NEW_TOKENS + 1)
    assert len(first) == batch
    row = {
        "prompt_tokens_per_second": batch * context / prompt_seconds,
        "decode_tokens_per_second": batch / step,
    }
    if known:
        manifest = generator.folder.manifest
        assert manifest is not None
        assert manifest.num_parameters is not None
        weights = sum(path.stat().st_size for path in generator.folder.path.glob("model.onnx*"))
        operations = 2 * manifest.num_parameters * batch * context
        row["share_of_bandwidth"] = weights / step / known["bytes_per_second"]
        row["share_of_peak"] = operations / prompt_seconds / known["operations_per_second"]
    return row


def parse_arguments() -> argparse.Namespace:
    """Return what is to be measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", default="cuda")
    parser.add_argument("--families", nargs="*", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=["qwen3-0.6b", "llama-3.1-8b"])
    parser.add_argument("--forms", nargs="*", default=["fp16", "int4", "bf16"])
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--contexts", nargs="*", type=int, default=[128, 2048, 16384])
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--work", type=Path, help="where a folder lies for as long as it runs")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def rows_of(arguments: argparse.Namespace, work: Path) -> Iterator[Row]:
    """Measure everything that there is time for."""
    end = time.monotonic() + arguments.seconds
    no_cuda, known = why_no_cuda(), Row()
    if no_cuda is None:
        known = attempted({}, limits)
        free_torch_memory()
    yield {"provider": arguments.provider, **(known or {"limits": f"unknown: {no_cuda}"})}
    known = {} if "failed" in known else known
    for family in arguments.families:
        row = {"family": family, "form": arguments.forms[0]}
        measure = partial(measure_family, family, arguments.provider, arguments.forms[0], work)
        yield attempted(row, measure) if time.monotonic() < end else row | {"skipped": NO_TIME}
    for shape in arguments.shapes:
        for form in arguments.forms:
            yield from rows_of_form(arguments, shape, form, known, work, end)
            if form == arguments.forms[0]:
                yield reference_row(shape, arguments.contexts[0], known, no_cuda, end)


def rows_of_form(
    arguments: argparse.Namespace, shape: str, form: str, known: Row, work: Path, end: float
) -> Iterator[Row]:
    """Measure one form of a shape, whose folder is there only meanwhile: the next one may need its room."""
    row = {"folder": f"{shape}-{form}"}
    if time.monotonic() > end:
        yield row | {"skipped": NO_TIME}
        return
    try:
        folder = make_folder(shape, form, arguments.provider, work)
        for each in measure_shape(folder, arguments.provider, arguments.batches, arguments.contexts, known):
            yield each
            if time.monotonic() > end:
                yield row | {"skipped": f"what would follow: {NO_TIME}"}
                return
    except Exception as error:  # noqa: BLE001 (as in `attempted`)
        yield row | {"failed": f"{type(error).__name__}: {error}"}
    finally:
        shutil.rmtree(work / row["folder"], ignore_errors=True)


def reference_row(shape: str, context: int, known: Row, no_cuda: str | None, end: float) -> Row:
    """Measure what transformers makes of a shape, or say why not."""
    row = {"reference": f"transformers, static cache, compiled: {shape}-fp16", "batch": 1, "context": context}
    if no_cuda is not None:
        return row | {"skipped": no_cuda}
    if time.monotonic() + SECONDS_OF_REFERENCE > end:
        return row | {"skipped": NO_TIME}
    row = attempted(row, partial(measure_reference, shape, context, known))
    free_torch_memory()
    return row


def main() -> None:
    """Measure, and print rows as they come."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        for row in rows_of(arguments, Path(name)):
            print(
                "  ".join(
                    f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in row.items()
                ),
                flush=True,
            )
            if arguments.json is not None:
                with arguments.json.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
