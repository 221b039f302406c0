"""Runs in an environment with Optimum: `python optimum_program.py JOB` makes random models, exports and runs them.

JOB is a JSON file with "root", "prompts" and "num_new". Every family's folder is ROOT/FAMILY; what Optimum's own runtime
generates from the prompts, past any end of text, is written to ROOT/tokens.json, by family.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FAMILIES = ("bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "llama", "mpt", "opt", "phi", "qwen2")


def config_of(family: str) -> Any:
    """Return a tiny config, by the family's own names for the numbers."""
    import transformers

    tokens = {
        "vocab_size": 331,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "initializer_range": 0.15,
    }
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, **tokens}
    old_sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, **tokens}
    positions = {"max_position_embeddings": 256, "intermediate_size": 88}
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "bloom": ("BloomConfig", {"hidden_size": 64, "n_layer": 2, "n_head": 4, **tokens}),
        "falcon": ("FalconConfig", {**sizes, "ffn_hidden_size": 88, "max_position_embeddings": 256}),
        "gpt2": ("GPT2Config", old_sizes),
        "gpt_bigcode": ("GPTBigCodeConfig", old_sizes),
        "gpt_neox": ("GPTNeoXConfig", {**sizes, **positions}),
        "llama": ("LlamaConfig", {**sizes, **positions, "num_key_value_heads": 2}),
        "mpt": ("MptConfig", {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, **tokens}),
        "opt": ("OPTConfig", {**sizes, "ffn_dim": 88, "max_position_embeddings": 256, "init_std": 0.15}),
        "phi": ("PhiConfig", {**sizes, **positions}),
        "qwen2": ("Qwen2Config", {**sizes, **positions, "num_key_value_heads": 2}),
    }
    name, values = made[family]
    return getattr(transformers, name)(**values)


def make_folder(family: str, root: Path) -> Path:
    """Export a random model of a family as Optimum does for generation with a cache."""
    import torch
    from optimum.exporters.onnx import main_export
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    checkpoint, folder = root / f"{family}-checkpoint", root / family
    AutoModelForCausalLM.from_config(config_of(family)).save_pretrained(checkpoint)
    main_export(str(checkpoint), folder, task="text-generation-with-past", do_validation=False)
    return folder


def greedy(folder: Path, prompts: list[list[int]], num_new: int) -> list[list[int]]:
    """Return the tokens that Optimum's own runtime generates."""
    import torch
    from optimum.onnxruntime import ORTModelForCausalLM

    model = ORTModelForCausalLM.from_pretrained(folder)
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        limits = {"max_new_tokens": num_new, "min_new_tokens": num_new, "do_sample": False}
        result = model.generate(ids, attention_mask=torch.ones_like(ids), **limits)
        found.append(result[0, len(prompt) :].tolist())
    return found


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    root = Path(job["root"])
    found = {}
    for family in FAMILIES:
        found[family] = greedy(make_folder(family, root), job["prompts"], job["num_new"])
    (root / "tokens.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
