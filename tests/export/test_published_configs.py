"""config.json files as the presets' repositories publish them, in real widths and without weights.

Each is read as transformers reads it, in the form it was published in and in the form that transformers 5 saves;
only the number of layers is smaller than in reality.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from genai.config import ExportSettings
from genai.export.architecture.rope import RopeSpec
from genai.export.build.decoder_graph import build_decoder
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.precision import Precision
from genai.export.checkpoint.formats import decoded
from genai.export.checkpoint.weights import Weights
from genai.export.families import find_family
from genai.export.plan import plan_export
from genai.export.write.folder_files import decoder_config
from genai.folder import read_genai_config, write_genai_config
from tests.export.published import ShapesOnly, as_transformers, read_spec, stored_shapes

NUM_LAYERS = 7

_SMOLLM2: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 960, "initializer_range": 0.02, "intermediate_size": 2560,
    "is_llama_config": True, "max_position_embeddings": 8192, "mlp_bias": False, "model_type": "llama",
    "num_attention_heads": 15, "num_key_value_heads": 5, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16", "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}, "use_cache": True,
    "vocab_size": 49152,
}  # fmt: skip

_TINYLLAMA: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5632,
    "max_position_embeddings": 2048, "model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 4,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 32000,
}  # fmt: skip

_LLAMA_3_2: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
    "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False,
    "model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8, "pretraining_tp": 1,
    "rms_norm_eps": 1e-05, "rope_scaling": {
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3",
    }, "rope_theta": 500000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
    "vocab_size": 128256,
}  # fmt: skip

_MISTRAL_V0_3: Mapping[str, Any] = {
    "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
    "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 32768,
}  # fmt: skip

_QWEN2_5: Mapping[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
    "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02, "intermediate_size": 4864,
    "max_position_embeddings": 32768, "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 14,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True, "use_sliding_window": False,
    "vocab_size": 151936,
}  # fmt: skip

_DEEPSEEK_R1: Mapping[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
    "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02, "intermediate_size": 8960,
    "max_position_embeddings": 131072, "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 12,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "use_mrope": False,
    "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip

_QWEN3: Mapping[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
    "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
    "num_attention_heads": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": None,
    "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "use_cache": True, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip

_PHI_4_MINI: Mapping[str, Any] = {
    "architectures": ["Phi3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "bos_token_id": 199999, "embd_pdrop": 0.0,
    "eos_token_id": 199999, "full_attn_mod": 1, "hidden_act": "silu", "hidden_size": 3072, "initializer_range": 0.02,
    "intermediate_size": 8192, "interpolate_factor": 1, "lm_head_bias": False, "max_position_embeddings": 131072,
    "mlp_bias": False, "model_type": "phi3", "num_attention_heads": 24, "num_key_value_heads": 8,
    "original_max_position_embeddings": 4096, "pad_token_id": 199999, "partial_rotary_factor": 0.75,
    "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_scaling": {
        "long_factor": [1 + n for n in range(48)], "short_factor": [1.0 + n / 100 for n in range(48)],
        "type": "longrope",
    }, "rope_theta": 10000.0, "sliding_window": 262144, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "use_cache": True, "vocab_size": 200064,
}  # fmt: skip

_PHI_3_5_MINI: Mapping[str, Any] = {
    "architectures": ["Phi3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1,
    "embd_pdrop": 0.0, "eos_token_id": 32000, "hidden_act": "silu", "hidden_size": 3072, "initializer_range": 0.02,
    "intermediate_size": 8192, "max_position_embeddings": 131072, "model_type": "phi3", "num_attention_heads": 32,
    "num_key_value_heads": 32, "original_max_position_embeddings": 4096, "pad_token_id": 32000, "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05, "rope_scaling": {
        "long_factor": [1 + n for n in range(48)], "short_factor": [1.0 + n / 100 for n in range(48)],
        "type": "longrope",
    }, "rope_theta": 10000.0, "sliding_window": 262144, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "use_cache": True, "attention_probs_dropout": 0.0, "vocab_size": 32064,
}  # fmt: skip

_PHI_2: Mapping[str, Any] = {
    "architectures": ["PhiForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 50256, "embd_pdrop": 0.0,
    "eos_token_id": 50256, "hidden_act": "gelu_new", "hidden_size": 2560, "initializer_range": 0.02,
    "intermediate_size": 10240, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "model_type": "phi",
    "num_attention_heads": 32, "num_key_value_heads": 32, "partial_rotary_factor": 0.4, "qk_layernorm": False,
    "resid_pdrop": 0.1, "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "torch_dtype": "float16", "use_cache": True, "vocab_size": 51200,
}  # fmt: skip

_GEMMA_2: Mapping[str, Any] = {
    "architectures": ["Gemma2ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 107],
    "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2304, "initializer_range": 0.02,
    "intermediate_size": 9216, "max_position_embeddings": 8192, "model_type": "gemma2", "num_attention_heads": 8,
    "num_key_value_heads": 4, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0, "sliding_window": 4096, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 256000,
}  # fmt: skip

_GEMMA_3: Mapping[str, Any] = {
    "architectures": ["Gemma3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "attn_logit_softcapping": None, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 106],
    "final_logit_softcapping": None, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152,
    "initializer_range": 0.02, "intermediate_size": 6912, "max_position_embeddings": 32768,
    "model_type": "gemma3_text", "num_attention_heads": 4, "num_key_value_heads": 1, "pad_token_id": 0,
    "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000, "rope_scaling": None,
    "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6, "torch_dtype": "bfloat16",
    "use_cache": True, "vocab_size": 262144,
}  # fmt: skip

_GPT2: Mapping[str, Any] = {
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1, "bos_token_id": 50256,
    "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_positions": 1024, "resid_pdrop": 0.1,
    "summary_activation": None, "summary_proj_to_labels": True, "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": 50257,
}  # fmt: skip

# By repository: the config, the rotary dimensions, the eos ids, and the windows of the layers.
PUBLISHED: Mapping[str, tuple[Mapping[str, Any], int, tuple[int, ...], list[int | None]]] = {
    "HuggingFaceTB/SmolLM2-360M-Instruct": (_SMOLLM2, 64, (2,), [None] * 7),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": (_TINYLLAMA, 64, (2,), [None] * 7),
    "meta-llama/Llama-3.2-1B-Instruct": (_LLAMA_3_2, 64, (128001, 128008, 128009), [None] * 7),
    "mistralai/Mistral-7B-Instruct-v0.3": (_MISTRAL_V0_3, 128, (2,), [None] * 7),
    "Qwen/Qwen2.5-0.5B-Instruct": (_QWEN2_5, 64, (151645,), [None] * 7),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (_DEEPSEEK_R1, 128, (151643,), [None] * 7),
    "Qwen/Qwen3-0.6B": (_QWEN3, 128, (151645,), [None] * 7),
    "microsoft/Phi-4-mini-instruct": (_PHI_4_MINI, 96, (199999,), [None] * 7),
    "microsoft/Phi-3.5-mini-instruct": (_PHI_3_5_MINI, 96, (32000,), [None] * 7),
    "microsoft/phi-2": (_PHI_2, 32, (50256,), [None] * 7),
    "google/gemma-2-2b-it": (_GEMMA_2, 256, (1, 107), [4096, None] * 3 + [4096]),
    "google/gemma-3-1b-it": (_GEMMA_3, 256, (1, 106), [512] * 5 + [None, 512]),
    "openai-community/gpt2": (_GPT2, 0, (50256,), [None] * 7),
}


def published(repo: str) -> dict[str, Any]:
    config = PUBLISHED[repo][0]
    return {**config, "n_layer" if config["model_type"] == "gpt2" else "num_hidden_layers": NUM_LAYERS}


@pytest.mark.parametrize("repo", PUBLISHED)
def test_the_form_that_transformers_5_saves_means_the_same(repo: str) -> None:
    config = published(repo)
    saved = json.loads(as_transformers(config).to_json_string())
    assert saved["architectures"] == config["architectures"]
    assert "rope_scaling" not in saved
    assert read_spec(saved) == read_spec(config)


@pytest.mark.parametrize("repo", PUBLISHED)
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_the_graph_is_built_in_real_widths(repo: str, precision: str, tmp_path: Path) -> None:
    config = published(repo)
    shapes, num_parameters = stored_shapes(config)
    family = find_family(config["architectures"][0])
    spec, weight_map = family.read(config)
    spec = spec.limited_to(spec.max_positions)
    checkpoint = decoded(ShapesOnly(tmp_path, config, shapes))
    weights = Weights(
        checkpoint,
        weight_map,
        shapes=spec.parameters(),
        num_layers=len(spec.layers),
        tied=spec.tied,
        prefixes=family.prefixes,
        ignored=family.ignored,
    )
    assert sum(view.size for view in weights.values()) == num_parameters
    graph = GraphBuilder(Precision.of(ExportSettings(precision)), weights)
    build_decoder(graph, spec)
    assert len(graph.inputs) == 2 + 2 * NUM_LAYERS + 1
    rotary_dim, eos_token_ids, windows = PUBLISHED[repo][1:]
    assert [layer.mixer.window for layer in spec.layers] == windows
    assert {rope.dim for rope in spec.ropes} == ({rotary_dim} if rotary_dim else set())
    (tmp_path / "config.json").write_text(json.dumps(config))
    plan_export(tmp_path, ExportSettings(precision=precision))
    written = read_genai_config(write_genai_config(decoder_config(checkpoint, family, spec)))
    assert written.eos_token_ids == eos_token_ids
    assert written.bos_token_id == config["bos_token_id"]
    assert written.context_length == config.get("max_position_embeddings", 1024)


@pytest.mark.parametrize("repo", [repo for repo, (_, rotary_dim, *_) in PUBLISHED.items() if rotary_dim])
def test_rotary_tables_are_those_of_transformers(repo: str) -> None:
    config = published(repo)
    reference = as_transformers(config)
    with torch.device("meta"):
        rotary = type(transformers.AutoModelForCausalLM.from_config(reference).model.rotary_emb)
    module, spec = rotary(reference), read_spec(config)
    for index, rope in enumerate(layer.mixer.rope for layer in spec.layers):
        assert rope is not None
        layer_types = getattr(reference, "layer_types", None)
        by_type = {"layer_type": layer_types[index]} if "gemma-3" in repo and layer_types else {}
        for last in [1000, *([] if rope.switch_length is None else [rope.switch_length])]:
            positions = torch.tensor([[0, 1, 17, last]])
            with torch.no_grad():
                cos, sin = module(torch.zeros(1), positions, **by_type)
            expected = np.stack([cos[0, :, : rope.dim // 2], sin[0, :, : rope.dim // 2]])
            np.testing.assert_allclose(table_rows(rope, positions[0].tolist()), expected, atol=1e-3, rtol=0)


def table_rows(rope: RopeSpec, positions: list[int]) -> np.ndarray:
    """The cosines and sines of positions of a sequence that ends with the last of them."""
    is_long = rope.switch_length is not None and positions[-1] >= rope.switch_length
    rows = [position + (rope.switch_length or 0) * is_long for position in positions]
    angles = np.concatenate([rope.angles(row, row + 1) for row in rows])
    return np.stack([np.cos(angles), np.sin(angles)]) * rope.magnitude
