"""Every architecture: the export of a GGUF file against the export of the checkpoint that it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genai.export import export_model
from genai.export.checkpoint.gguf.architectures import KNOWN
from tests.checkpoints import VOCAB_SIZE, make_checkpoint
from tests.export.gguf.converter import write_gguf
from tests.export.runner import GraphRunner

TOLERANCE = 1e-4
PROMPT = np.random.default_rng(0).integers(3, VOCAB_SIZE, 24).tolist()

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + 0.1 * i for i in range(8)],
    "long_factor": [2.0 + 0.3 * i for i in range(8)],
    "original_max_position_embeddings": 32,
    "partial_rotary_factor": 0.5,
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, linear rope": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
    ),
    "llama, llama3 rope": ("llama", {"rope_parameters": LLAMA3}),
    "llama, other divisors": ("llama", {"rope_parameters": {**LLAMA3, "low_freq_factor": 1.5}}),
    "llama, yarn": ("llama", {"rope_parameters": YARN}),
    "llama, yarn with factors": (
        "llama",
        {"rope_parameters": {**YARN, "attention_factor": 1.3, "beta_fast": 8.0}},
    ),
    "mistral": ("mistral", {}),
    "mixtral": ("mixtral", {}),
    "smollm3": ("smollm3", {"num_hidden_layers": 5, "no_rope_layer_interval": 4}),
    "granite": ("granite", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "qwen2_moe": ("qwen2_moe", {"mlp_only_layers": []}),
    "qwen3_moe": ("qwen3_moe", {"mlp_only_layers": []}),
    "gemma": ("gemma", {}),
    "gemma2": ("gemma2", {"query_pre_attn_scalar": 16}),
    "gemma3": ("gemma3_text", {"query_pre_attn_scalar": 16}),
    "gemma3n": ("gemma3n_text", {"altup_num_inputs": 4}),
    "gemma4": ("gemma4_text", {}),
    "phi2": ("phi", {"num_key_value_heads": 4}),
    "phi3": ("phi3", {}),
    "phi3, longrope": ("phi3", {"rope_parameters": LONGROPE, "sliding_window": 12}),
    "gpt2": ("gpt2", {}),
    "falcon": ("falcon", {"alibi": False}),
    "falcon, new architecture": (
        "falcon",
        {"new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False},
    ),
    "stablelm": ("stablelm", {}),
    "stablelm, norms and parallel": (
        "stablelm",
        {"qk_layernorm": True, "use_parallel_residual": True, "use_qkv_bias": True},
    ),
    "starcoder2": ("starcoder2", {}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", {}),
    "gpt_oss": ("gpt_oss", {"swiglu_limit": 7.0}),
    "deepseek_v2": ("deepseek_v2", {}),
    "deepseek_v3": ("deepseek_v3", {"norm_topk_prob": True}),
}


def logits_of(folder: Path) -> np.ndarray:
    """Return the logits over a prompt in chunks, and over single steps."""
    runner = GraphRunner(folder)
    return np.concatenate(
        [runner.feed(PROMPT[:9]), runner.feed(PROMPT[9:21]), *(runner.feed([t]) for t in PROMPT[21:])]
    )


@pytest.mark.parametrize("case", CASES)
def test_logits_are_the_checkpoints(case: str, tmp_path: Path) -> None:
    family, overrides = CASES[case]
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint", **overrides)
    file = write_gguf(checkpoint, tmp_path / "model.gguf")
    export_model(checkpoint, tmp_path / "original", precision="fp32")
    export_model(file, tmp_path / "exported", precision="fp32")
    expected = logits_of(tmp_path / "original")
    np.testing.assert_allclose(logits_of(tmp_path / "exported"), expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_every_architecture_is_proven() -> None:
    import gguf

    from tests.export.gguf.converter import ARCHITECTURES

    proven = {gguf.MODEL_ARCH_NAMES[arch] for arch in ARCHITECTURES.values()} | {
        "mistral"
    }  # another name of llama
    assert set(KNOWN) == proven
