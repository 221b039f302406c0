"""Print the resident memory of this process, stage by stage: imports, loading a model, a prompt, decoding, a batch.

    python scripts/measure_memory.py [MODEL] [--prompt-tokens N] [--new-tokens N] [--batch N]

In MB: all that is resident, the part of it that is the process's own (anonymous; the rest is files, which several
processes share and the kernel can drop), and the peak so far. Linux only.
"""

from __future__ import annotations

import argparse
import importlib
import random
from pathlib import Path

BATCH_PROMPT_TOKENS = 64


def print_stage(name: str) -> None:
    """Print a row of the table."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sizes = [int(status[key].split()[0]) for key in ("VmRSS", "RssAnon", "VmHWM")]
    print(f"{name:28}" + "".join(f"{size / 1024:12.1f}" for size in sizes), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="sequences to run at the end; 0 for none")
    arguments = parser.parse_args()
    print(f"{'after':28}{'resident':>12}{'anonymous':>12}{'peak':>12}")
    print_stage("start")
    for module in ("genai", "numpy", "onnxruntime", "onnx", "tokenizers", "genai.generator"):
        importlib.import_module(module)
        print_stage(f"import {module}")
    generator = importlib.import_module("genai").Generator(arguments.model)
    print_stage("load")
    draw = random.Random(0)

    def generate(prompts: list[list[int]], new_tokens: int) -> None:
        generator.generate(token_ids=prompts, max_new_tokens=new_tokens, ignore_eos=True, do_sample=False)

    def make_prompts(count: int, length: int) -> list[list[int]]:
        return [[draw.randrange(generator.vocab_size) for _ in range(length)] for _ in range(count)]

    prompts = make_prompts(1, arguments.prompt_tokens)
    generate(prompts, 1)
    print_stage(f"prompt of {arguments.prompt_tokens}")
    generate(prompts, arguments.new_tokens)  # goes on from the cache
    print_stage(f"{arguments.new_tokens} tokens")
    if arguments.batch:
        generate(make_prompts(arguments.batch, BATCH_PROMPT_TOKENS), arguments.new_tokens)
        print_stage(f"{arguments.batch} of {BATCH_PROMPT_TOKENS} + {arguments.new_tokens}")


if __name__ == "__main__":
    main()
