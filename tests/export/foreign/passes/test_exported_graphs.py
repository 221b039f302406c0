"""The passes over what transformers' exporter makes of whole families: proven in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
import transformers

from genai.export.foreign.canonical import make_canonical
from genai.export.foreign.exporter_process import run_exporter
from genai.export.foreign.passes import apply_passes
from tests.export.foreign.passes.running import SharedRun, make_session, run_growing, run_shared

pytestmark = pytest.mark.slow

TOKENS = np.random.default_rng(5).integers(3, 331, 30).tolist()

_COMMON: Mapping[str, Any] = {
    "vocab_size": 331,
    "hidden_size": 64,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
}
_GEMMA: Mapping[str, Any] = {
    **_COMMON,
    "head_dim": 16,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 12,
    "sliding_window": 12,
    "num_hidden_layers": 3,
}
_GPT: Mapping[str, Any] = {**_COMMON, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}

FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bloom": ("BloomConfig", {**_COMMON, "n_layer": 2, "n_head": 4}),
    "codegen": ("CodeGenConfig", {**_GPT, "rotary_dim": 8}),
    "cohere": ("CohereConfig", _COMMON),
    "falcon": ("FalconConfig", {**_COMMON, "alibi": False}),
    "gemma2": ("Gemma2Config", {**_GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}),
    "gpt2": ("GPT2Config", {**_GPT, "n_inner": 88}),
    "gpt_neox": ("GPTNeoXConfig", {**_COMMON, "rotary_pct": 0.5}),
    "llama": ("LlamaConfig", _COMMON),
    "mistral": ("MistralConfig", {**_COMMON, "sliding_window": 12}),
    "opt": ("OPTConfig", {**_COMMON, "ffn_dim": 88, "word_embed_proj_dim": 64}),
    "phi": ("PhiConfig", {**_COMMON, "num_key_value_heads": 4, "partial_rotary_factor": 0.5}),
    "qwen2": ("Qwen2Config", _COMMON),
    "qwen3": ("Qwen3Config", {**_COMMON, "head_dim": 32}),
}
WINDOWS: Mapping[str, Mapping[str, int]] = {"gemma2": {"12": 2, "-1": 1}, "mistral": {"12": 2}}
"""How many attentions have which window, in families that have windows."""


@pytest.fixture(scope="session")
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    class_name, values = FAMILIES[request.param]
    config = getattr(transformers, class_name)(**values, bos_token_id=0, eos_token_id=2, pad_token_id=0)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
            elif parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return folder


def export_raw(checkpoint: Path, folder: Path) -> ir.Model:
    """Return the graph as the exporter makes it, under the canonical names."""
    run_exporter({"checkpoint": str(checkpoint), "output": str(folder), "dtype": "float32"}, folder=folder)
    model = ir.load(folder / "model.onnx")
    make_canonical(model)
    return model


@pytest.mark.parametrize("checkpoint", FAMILIES, indirect=True)
def test_every_pass_on_and_off(checkpoint: Path, tmp_path: Path) -> None:
    model = export_raw(checkpoint, tmp_path)
    before = make_session(model, tmp_path, "before")
    report = apply_passes(model)
    assert report.refusals == {}
    assert report.changes["last_positions"] == 1
    after = make_session(model, tmp_path, "after")
    attentions = [node for node in model.graph if node.op_type == "GroupQueryAttention"]
    windows = [node.attributes.get_int("local_window_size") for node in attentions]
    family = checkpoint.name.removesuffix("0")
    if family in WINDOWS:
        assert {str(window): windows.count(window) for window in windows} == WINDOWS[family]
    else:
        assert set(windows) == {-1}

    expected = run_growing(before, TOKENS, [30])
    for pieces in ([30], [12, 9, 6, 1, 1, 1], [1] * 30):
        lasts = expected[np.cumsum(pieces) - 1]
        np.testing.assert_allclose(run_shared(after, TOKENS, pieces), lasts, atol=1e-4, rtol=0)
    assert_rows_as_alone(before, after)


def assert_rows_as_alone(before: Any, after: Any) -> None:
    """A batch of prompts of different lengths, then steps: each row as the graph before gives it alone."""
    rows = [TOKENS[:5], TOKENS[3:20], TOKENS[7:8]]
    run = SharedRun(after, len(rows))
    logits = run.feed(rows, num_logits=17)
    expected = [run_growing(before, row, [len(row)]) for row in rows]
    for row, result, alone in zip(rows, logits, expected, strict=True):
        np.testing.assert_allclose(result[: len(row)], alone, atol=1e-4, rtol=0)
    for step in range(3):
        logits = run.feed([[TOKENS[20 + step + row]] for row in range(len(rows))])
        for row, tokens in enumerate(rows):
            tokens.append(TOKENS[20 + step + row])
            alone = run_growing(before, tokens, [len(tokens)])[-1:]
            np.testing.assert_allclose(logits[row], alone, atol=1e-4, rtol=0)
