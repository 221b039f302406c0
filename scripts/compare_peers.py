"""Compare genai with onnxruntime-genai and transformers: one machine, one checkpoint, one interleaved run.

    python scripts/compare_peers.py [--precision int4|int8|fp32] [--block-size N] [--rounds N] [--work DIR]

Makes a random checkpoint in a real model's shape (Qwen2.5-0.5B), exports it with genai and with onnxruntime-genai's
builder, then measures each engine in a process of its own, in turns: time to the first token of a 512-token prompt,
decoding speed after it, total speed of eight sequences, and peak memory. Ratios are taken within a round; the medians
over the rounds are printed. Needs the `dev` extra (torch, transformers, onnxruntime-genai).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": {
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
    },
}
PROMPT_TOKENS, NEW_TOKENS, BATCH = 512, 64, 8


@dataclass(frozen=True)
class Measurement:
    """One round of one engine.

    `prefill` is prompt tokens per second to the first token, `decode` new tokens per second after it, `batch` new
    tokens per second of `BATCH` sequences together, prompts of 64 tokens included.
    """

    prefill: float
    decode: float
    batch: float
    peak_mb: float


class PeerEngine(Protocol):
    """Generates greedily from several prompts of equal length, exactly so many tokens."""

    def __call__(self, prompts: np.ndarray, new_tokens: int) -> None:
        """Generate; prompts are int64 [num_prompts, length]."""
        ...


def genai_engine(folder: str) -> PeerEngine:
    """Return genai."""
    from genai import Generator

    generator = Generator(folder)

    def generate(prompts: np.ndarray, new_tokens: int) -> None:
        generator.generate(token_ids=prompts.tolist(), max_new_tokens=new_tokens, ignore_eos=True)

    return generate


def oga_engine(folder: str) -> PeerEngine:
    """Return onnxruntime-genai."""
    import onnxruntime_genai as og

    model = og.Model(folder)

    def generate(prompts: np.ndarray, new_tokens: int) -> None:
        length = prompts.shape[1] + new_tokens
        params = og.GeneratorParams(model)
        params.set_search_options(
            do_sample=False, min_length=length, max_length=length, batch_size=len(prompts)
        )
        generator = og.Generator(model, params)
        generator.append_tokens(prompts.astype(np.int32))
        for _ in range(new_tokens):
            generator.generate_next_token()

    return generate


def transformers_engine(folder: str) -> PeerEngine:
    """Return transformers, in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    def generate(prompts: np.ndarray, new_tokens: int) -> None:
        ids = torch.from_numpy(prompts)
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )

    return generate


ENGINES: dict[str, Callable[[str], PeerEngine]] = {
    "genai": genai_engine,
    "onnxruntime-genai": oga_engine,
    "transformers": transformers_engine,
}


def measure(generate: PeerEngine, random: np.random.Generator, vocab_size: int) -> Measurement:
    """Take one round; every prompt is new, so that nobody answers from a cache."""

    def seconds(num_prompts: int, prompt_tokens: int, new_tokens: int) -> float:
        prompts = random.integers(3, vocab_size, (num_prompts, prompt_tokens))
        start = time.perf_counter()
        generate(prompts, new_tokens)
        return time.perf_counter() - start

    first = seconds(1, PROMPT_TOKENS, 1)
    whole = seconds(1, PROMPT_TOKENS, NEW_TOKENS)
    batch = seconds(BATCH, 64, NEW_TOKENS)
    return Measurement(
        prefill=PROMPT_TOKENS / first,
        decode=(NEW_TOKENS - 1) / max(whole - first, 1e-9),
        batch=BATCH * NEW_TOKENS / batch,
        peak_mb=_peak_mb(),
    )


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def serve_worker(engine: str, folder: str, vocab_size: int) -> None:
    """Measure once per line of standard input, in this process."""
    generate = ENGINES[engine](folder)
    random = np.random.default_rng(0)
    measure(generate, random, vocab_size)  # warm up
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(asdict(measure(generate, random, vocab_size))), flush=True)


class Worker:
    """An engine in a process of its own."""

    def __init__(self, engine: str, folder: Path, vocab_size: int) -> None:
        command = [
            sys.executable,
            __file__,
            "--worker",
            engine,
            "--work",
            str(folder),
            "--vocab",
            str(vocab_size),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._read() == "ready", f"{engine} did not start"

    def measure(self) -> Measurement:
        """Take one round."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return Measurement(**json.loads(self._read()))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def make_folders(shape: str, precision: str, block_size: int, work: Path) -> dict[str, tuple[str, Path]]:
    """Make the checkpoint and every engine's folder; return (engine, folder) by the name to print."""
    checkpoint = work / shape
    if not checkpoint.exists():
        _make_checkpoint(SHAPES[shape], checkpoint)
    ours = work / f"{shape}-genai-{precision}-{block_size}"
    if not ours.exists():
        from genai.export import export_model

        export_model(checkpoint, ours, precision=precision, block_size=block_size)
    folders = {"genai": ("genai", ours)}
    extras = [f"int4_block_size={block_size}", "int4_accuracy_level=4"] if precision != "fp32" else []
    tuned = (
        ["shared_embeddings=true", "prune_lm_head=true"] if precision != "fp32" else ["prune_lm_head=true"]
    )
    for name, options in {"onnxruntime-genai": extras, "onnxruntime-genai, tuned": [*extras, *tuned]}.items():
        folder = work / f"{shape}-{name.replace(', ', '-')}-{precision}-{block_size}"
        if not folder.exists():
            _build_oga(checkpoint, folder, precision, options)
        folders[name] = ("onnxruntime-genai", folder)
    return {**folders, "transformers bf16": ("transformers", checkpoint)}


def _make_checkpoint(shape: dict[str, Any], path: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**shape, bos_token_id=1, eos_token_id=2)).save_pretrained(path)
    backend = Tokenizer(models.WordLevel({f"t{i}": i for i in range(shape["vocab_size"])}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="t1", eos_token="t2").save_pretrained(path)


def _build_oga(checkpoint: Path, folder: Path, precision: str, options: Sequence[str]) -> None:
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    command += ["-m", str(checkpoint), "-i", str(checkpoint), "-o", str(folder), "-p", precision, "-e", "cpu"]
    command += ["-c", str(folder.parent / "cache")]
    if options:
        command += ["--extra_options", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--precision", choices=["int4", "int8", "fp32"], default="int4")
    parser.add_argument("--block-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("build/peers"))
    parser.add_argument("--skip", nargs="*", default=[], help="names of rows to leave out")
    parser.add_argument("--worker", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--vocab", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve_worker(arguments.worker, str(arguments.work), arguments.vocab)
        return
    folders = make_folders(arguments.shape, arguments.precision, arguments.block_size, arguments.work)
    vocab_size = SHAPES[arguments.shape]["vocab_size"]
    workers = {
        name: Worker(engine, folder, vocab_size)
        for name, (engine, folder) in folders.items()
        if name not in arguments.skip
    }
    rounds: dict[str, list[Measurement]] = {name: [] for name in workers}
    for _ in range(arguments.rounds):
        for name, worker in workers.items():
            rounds[name].append(worker.measure())
    for worker in workers.values():
        worker.close()
    _print_table(rounds)


def _print_table(rounds: dict[str, list[Measurement]]) -> None:
    fields = ("prefill", "decode", "batch", "peak_mb")
    print(f"{'median (genai / peer in the same round)':42}" + "".join(f"{field:>20}" for field in fields))
    for name, measurements in rounds.items():
        row = f"{name:42}"
        for field in fields:
            values = [getattr(m, field) for m in measurements]
            ratios = [
                getattr(ours, field) / value for ours, value in zip(rounds["genai"], values, strict=True)
            ]
            row += f"{statistics.median(values):12.1f} ({statistics.median(ratios):4.2f}x)"
        print(row)


if __name__ == "__main__":
    main()
