"""Measure an export in real widths: seconds, and memory above the mapped checkpoint.

Run from the repository's root: `python scripts/measure_export.py --shape 7b --precision int4`. A sharded checkpoint of
random bfloat16 weights is written first (14 GB for the 7b shape) and removed with the export at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np

SHAPES = {
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 151936},
    "7b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 32768},
}  # fmt: skip
SHARD_BYTES = 4 << 30
SAMPLE_SECONDS = 0.1
EXPORT = "import sys; from genai.export import export_model; export_model(sys.argv[1], sys.argv[2], precision=sys.argv[3])"


def tensors_of(shape: dict[str, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the names and shapes of a Llama's tensors."""
    hidden, inner, head_dim = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
    queries, keys = shape["num_attention_heads"] * head_dim, shape["num_key_value_heads"] * head_dim
    yield "model.embed_tokens.weight", (shape["vocab_size"], hidden)
    for index in range(shape["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        for name, rows, columns in (
            ("q", queries, hidden), ("k", keys, hidden), ("v", keys, hidden), ("o", hidden, queries),
        ):  # fmt: skip
            yield f"{layer}.self_attn.{name}_proj.weight", (rows, columns)
        for name, rows, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
            yield f"{layer}.mlp.{name}_proj.weight", (rows, columns)
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (shape["vocab_size"], hidden)


def write_checkpoint(folder: Path, shape: dict[str, int]) -> int:
    """Write config.json and shards of random weights; return their bytes."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        **shape,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    size = 0
    for name, dims in tensors_of(shape):
        num_bytes = 2 * int(np.prod(dims))
        if size + num_bytes > SHARD_BYTES and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append((name, dims))
        size += num_bytes
    files = [f"model-{n + 1:05}-of-{len(shards):05}.safetensors" for n in range(len(shards))]
    weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name, _ in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return sum(write_shard(folder / file, shard) for file, shard in zip(files, shards, strict=True))


def write_shard(path: Path, tensors: list[tuple[str, tuple[int, ...]]]) -> int:
    """Write one safetensors file; return the bytes of its tensors."""
    header, end = {}, 0
    for name, dims in tensors:
        start, end = end, end + 2 * int(np.prod(dims))
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    rng = np.random.default_rng(0)
    pattern = (rng.standard_normal(1 << 22, np.float32) * 0.02).astype(ml_dtypes.bfloat16).tobytes()
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for start in range(0, end, len(pattern)):
            file.write(pattern[: min(len(pattern), end - start)])
    return end


def export(checkpoint: Path, target: Path, precision: str) -> tuple[float, int]:
    """Export in a process of its own; return its seconds and the most anonymous memory that it had, in bytes."""
    begun, peak = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, "-c", EXPORT, str(checkpoint), str(target), precision])
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except ProcessLookupError:
            break
        lines = [line for line in status.splitlines() if line.startswith("RssAnon")]
        peak = max([peak, *(int(line.split()[1]) << 10 for line in lines)])
        time.sleep(SAMPLE_SECONDS)
    if process.wait():
        raise SystemExit("the export failed")
    return time.perf_counter() - begun, peak


def main() -> None:
    """Write, export, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--precision", default="int4")
    parser.add_argument("--folder", help="where the checkpoint and the export go for the time being")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        checkpoint, target = Path(folder) / "checkpoint", Path(folder) / "model"
        checkpoint.mkdir()
        checkpoint_bytes = write_checkpoint(checkpoint, SHAPES[options.shape])
        seconds, peak = export(checkpoint, target, options.precision)
        written = sum(file.stat().st_size for file in target.iterdir())
    print(
        f"{options.shape} {options.precision}: checkpoint {checkpoint_bytes / 1e9:.2f} GB, export {written / 1e9:.2f} GB "
        f"in {seconds:.0f} s; memory above the mapped files: {peak / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
