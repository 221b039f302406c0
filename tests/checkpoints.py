"""Tiny random Hugging Face checkpoints of every family, with a tokenizer, made by transformers itself.

Shapes are odd on purpose: a head is not hidden_size / num_heads wide, the vocabulary is no multiple of 32, and no
width is a multiple of every block size.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE = 331
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_COMMON: Mapping[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 48,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
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

_QWEN_NEXT: Mapping[str, Any] = {
    **_COMMON,
    "head_dim": 32,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
}

_MAMBA2: Mapping[str, Any] = {
    "mamba_n_heads": 8,
    "mamba_n_groups": 2,
    "mamba_d_state": 24,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
}

_MIXED = ["sliding_attention", "full_attention"]

_LINEAR_FIRST: Mapping[str, Any] = {
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}

_EXPERTS: Mapping[str, Any] = {**_COMMON, "num_local_experts": 5, "num_experts_per_tok": 2}

_QWEN_MOE: Mapping[str, Any] = {
    **_COMMON,
    "num_hidden_layers": 3,
    "mlp_only_layers": [1],
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 40,
}

_QWEN_NEXT_EXPERTS: Mapping[str, Any] = {
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 40,
    "shared_expert_intermediate_size": 72,
}

_LATENT: Mapping[str, Any] = {
    "kv_lora_rank": 40,
    "q_lora_rank": 36,
    "qk_nope_head_dim": 20,
    "qk_rope_head_dim": 16,
    "v_head_dim": 24,
    "moe_intermediate_size": 56,
    "n_shared_experts": 2,
}

_SHARED_EXPERTS: Mapping[str, Any] = {
    **_COMMON,
    "moe_intermediate_size": 40,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
}

_GEMMA4: Mapping[str, Any] = {
    **_COMMON,
    "head_dim": 16,
    "global_head_dim": 32,
    "num_key_value_heads": 1,
    "sliding_window": 12,
    "num_hidden_layers": 5,
    "layer_types": [
        "sliding_attention",
        "sliding_attention",
        "full_attention",
        "sliding_attention",
        "full_attention",
    ],
    "num_kv_shared_layers": 2,
    "use_double_wide_mlp": True,
    "hidden_size_per_layer_input": 20,
    "vocab_size_per_layer_input": VOCAB_SIZE,
}

_CONFIGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("LlamaConfig", {**_COMMON, "head_dim": 16}),
    "mistral": ("MistralConfig", {**_COMMON, "head_dim": 32, "num_key_value_heads": 1, "sliding_window": 12}),
    "qwen2": ("Qwen2Config", {**_COMMON, "hidden_size": 64, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {**_COMMON, "head_dim": 32, "tie_word_embeddings": True}),
    "phi3": ("Phi3Config", {**_COMMON, "hidden_size": 128, "partial_rotary_factor": 0.5}),
    "phi": ("PhiConfig", {**_COMMON, "hidden_size": 128, "partial_rotary_factor": 0.5}),
    "gemma2": ("Gemma2Config", {**_GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}),
    "gemma3_text": ("Gemma3TextConfig", {**_GEMMA, "sliding_window_pattern": 2}),
    "gemma3n_text": (
        "Gemma3nTextConfig",
        {
            **{
                key: value
                for key, value in _GEMMA4.items()
                if key not in ("global_head_dim", "use_double_wide_mlp")
            },
            "activation_sparsity_pattern": [0.9, 0.8, 0.0, 0.0, 0.0],
            "altup_num_inputs": 3,
            "laurel_rank": 20,
            "intermediate_size": [88, 88, 104, 88, 88],
            "vocab_size_per_layer_input": 200,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 50_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 3_000.0},
            },
        },
    ),
    "gemma4_text": ("Gemma4TextConfig", _GEMMA4),
    "gpt_neox": ("GPTNeoXConfig", {**_COMMON, "hidden_size": 128, "rotary_pct": 0.5}),
    "gptj": ("GPTJConfig", {**_COMMON, "hidden_size": 128, "n_inner": 88, "rotary_dim": 16}),
    "opt": ("OPTConfig", {**_COMMON, "hidden_size": 64, "ffn_dim": 88}),
    "bloom": ("BloomConfig", {**_COMMON, "hidden_size": 64, "seq_length": 256, "tie_word_embeddings": False}),
    "deepseek_v2": (
        "DeepseekV2Config",
        {
            **_COMMON,
            **_LATENT,
            "num_key_value_heads": 4,
            "n_routed_experts": 8,
            "n_group": 4,
            "topk_group": 2,
            "topk_method": "group_limited_greedy",
            "num_experts_per_tok": 3,
            "first_k_dense_replace": 1,
            "q_lora_rank": None,
        },
    ),
    "deepseek_v3": (
        "DeepseekV3Config",
        {
            **_COMMON,
            **_LATENT,
            "num_key_value_heads": 4,
            "n_routed_experts": 8,
            "n_group": 2,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "first_k_dense_replace": 1,
        },
    ),
    "deepseek_v32": (
        "DeepseekV32Config",
        {
            **_COMMON,
            **_LATENT,
            "num_key_value_heads": 4,
            "n_routed_experts": 8,
            "n_group": 2,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "first_k_dense_replace": 1,
            "index_topk": 128,
            "index_head_dim": 64,
            "index_n_heads": 3,
            "initializer_range": 0.12,
        },
    ),
    "glm": ("GlmConfig", {**_COMMON, "head_dim": 32, "partial_rotary_factor": 0.5}),
    "glm4": ("Glm4Config", {**_COMMON, "head_dim": 32, "partial_rotary_factor": 0.5}),
    "glm4_moe": (
        "Glm4MoeConfig",
        {
            **_SHARED_EXPERTS,
            "head_dim": 32,
            "use_qk_norm": True,
            "n_group": 2,
            "topk_group": 1,
            "routed_scaling_factor": 1.7,
        },
    ),
    "glm4_moe_lite": (
        "Glm4MoeLiteConfig",
        {
            **_COMMON,
            **_LATENT,
            "num_key_value_heads": 4,
            "n_routed_experts": 8,
            "num_experts_per_tok": 3,
            "mlp_layer_types": ["dense", "sparse"],
        },
    ),
    "dots1": (
        "Dots1Config",
        {
            **_SHARED_EXPERTS,
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "first_k_dense_replace": 1,
            "norm_topk_prob": True,
            "sliding_window": 12,
            "max_window_layers": 2,
            "routed_scaling_factor": 1.7,
        },
    ),
    "ernie4_5_moe": (
        "Ernie4_5_MoeConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "moe_intermediate_size": 40,
            "moe_k": 3,
            "moe_num_experts": 6,
            "moe_layer_end_index": 1,
        },
    ),
    "minimax_m2": (
        "MiniMaxM2Config",
        {
            **_COMMON,
            "num_local_experts": 9,
            "num_experts_per_tok": 3,
            "head_dim": 32,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        },
    ),
    "exaone4": (
        "Exaone4Config",
        {**_COMMON, "hidden_size": 64, "sliding_window": 12, "sliding_window_pattern": 2},
    ),
    "exaone_moe": (
        "ExaoneMoeConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "sliding_window": 12,
            "sliding_window_pattern": 2,
            "moe_intermediate_size": 40,
            "num_experts": 8,
            "num_experts_per_tok": 3,
        },
    ),
    "solar_open": ("SolarOpenConfig", {**_SHARED_EXPERTS, "head_dim": 32}),
    "hy_v3": (
        "HYV3Config",
        {**_COMMON, "head_dim": 32, "moe_intermediate_size": 40, "num_experts": 8, "num_experts_per_tok": 3},
    ),
    "hunyuan_v1_dense": ("HunYuanDenseV1Config", {**_COMMON, "head_dim": 16}),
    "hunyuan_v1_moe": ("HunYuanMoEV1Config", {**_COMMON, "head_dim": 16, "num_experts": 6, "moe_topk": 3}),
    "ernie4_5": ("Ernie4_5Config", {**_COMMON, "head_dim": 32}),
    "falcon": ("FalconConfig", {**_COMMON, "hidden_size": 64, "ffn_hidden_size": 88}),
    "qwen3_next": ("Qwen3NextConfig", {**_QWEN_NEXT, **_QWEN_NEXT_EXPERTS, "mlp_only_layers": [1]}),
    "qwen3_5_text": ("Qwen3_5TextConfig", _QWEN_NEXT),
    "qwen3_5_moe_text": ("Qwen3_5MoeTextConfig", {**_QWEN_NEXT, **_QWEN_NEXT_EXPERTS}),
    "lfm2": (
        "Lfm2Config",
        {
            **_COMMON,
            "hidden_size": 64,
            "block_multiple_of": 8,
            "num_hidden_layers": 4,
            "layer_types": ["conv", "full_attention", "conv", "conv"],
        },
    ),
    "ministral3": (
        "Ministral3Config",
        {
            **_COMMON,
            "head_dim": 16,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 16.0,
                "original_max_position_embeddings": 7,  # the queries grow within the tests' prompts
                "beta_fast": 8.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.4,
            },
        },
    ),
    "mistral4": (
        "Mistral4Config",
        {
            **_COMMON,
            **_LATENT,
            "num_key_value_heads": 4,
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 16.0,
                "original_max_position_embeddings": 7,  # the queries grow within the tests' prompts
                "beta_fast": 8.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.4,
            },
        },
    ),
    "ministral": (
        "MinistralConfig",
        {**_COMMON, "head_dim": 32, "sliding_window": 12, "layer_types": _MIXED},
    ),
    "gemma": ("GemmaConfig", {**_COMMON, "head_dim": 16, "num_key_value_heads": 1, "num_hidden_layers": 4}),
    "granite": (
        "GraniteConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "attention_multiplier": 0.4,
            "embedding_multiplier": 3.0,
            "logits_scaling": 2.5,
            "residual_multiplier": 0.6,
        },
    ),
    "granitemoehybrid": (
        "GraniteMoeHybridConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "attention_multiplier": 0.4,
            "embedding_multiplier": 3.0,
            "logits_scaling": 2.5,
            "residual_multiplier": 0.6,
            "shared_intermediate_size": 88,
            **_MAMBA2,
            "num_hidden_layers": 3,
            "layer_types": ["mamba", "attention", "mamba"],
            "num_local_experts": 5,
        },
    ),
    "nemotron_h": (
        "NemotronHConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "num_hidden_layers": 6,
            "layers_block_type": ["mamba", "moe", "mlp", "attention", "mamba", "mlp"],
            "head_dim": 24,
            "mamba_num_heads": 6,
            "mamba_head_dim": 16,
            "n_groups": 2,
            "ssm_state_size": 24,
            "n_routed_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 40,
            "moe_shared_expert_intermediate_size": 72,
            "n_group": 2,
            "topk_group": 1,
            "routed_scaling_factor": 1.7,
        },
    ),
    "falcon_h1": (
        "FalconH1Config",
        {
            **_COMMON,
            **_MAMBA2,
            "hidden_size": 64,
            "mamba_d_ssm": 96,
            "mamba_rms_norm": True,
            "lm_head_multiplier": 0.6,
            "embedding_multiplier": 3.0,
            "mlp_multipliers": [0.8, 0.6],
            "key_multiplier": 0.4,
            "attention_in_multiplier": 1.2,
            "attention_out_multiplier": 0.9,
            "ssm_multipliers": [0.4, 0.9, 0.7, 0.6, 1.3],
            "ssm_in_multiplier": 1.25,
            "ssm_out_multiplier": 0.7,
        },
    ),
    "bamba": (
        "BambaConfig",
        {**_COMMON, **_MAMBA2, "hidden_size": 64, "num_hidden_layers": 3, "attn_layer_indices": [1]},
    ),
    "minimax": (
        "MiniMaxConfig",
        {
            **_EXPERTS,
            **_LINEAR_FIRST,
            "head_dim": 16,
            "block_size": 16,
            "full_attn_alpha_factor": 0.7,
            "full_attn_beta_factor": 1.2,
            "linear_attn_alpha_factor": 1.3,
            "linear_attn_beta_factor": 0.8,
            "mlp_alpha_factor": 1.6,
            "mlp_beta_factor": 0.9,
        },
    ),
    "kimi_linear": (
        "KimiLinearConfig",
        {
            **_COMMON,
            **_LATENT,
            **_LINEAR_FIRST,
            "num_key_value_heads": 4,
            "mlp_layer_types": ["dense", "sparse", "sparse"],
            "linear_num_heads": 3,
            "linear_head_dim": 24,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
        },
    ),
    "bailing_hybrid": (
        "BailingHybridConfig",
        {
            **_COMMON,
            **_LATENT,
            **_LINEAR_FIRST,
            "num_key_value_heads": 4,
            "mlp_layer_types": ["dense", "sparse", "sparse"],
            "head_dim": 24,
            "num_local_experts": 16,
            "kda_lower_bound": -2.0,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
        },
    ),
    "olmo_hybrid": (
        "OlmoHybridConfig",
        {
            **_COMMON,
            **_LINEAR_FIRST,
            "hidden_size": 64,
            "linear_num_key_heads": 3,
            "linear_num_value_heads": 3,
            "linear_key_head_dim": 24,
            "linear_value_head_dim": 24,
            "rope_parameters": {"rope_type": "default", "rope_theta": None},
        },
    ),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "block_types": ["recurrent", "attention", "recurrent"],
            "attention_window_size": 12,
            "w_init_variance_scale": 0.1,
        },
    ),
    "mamba": ("MambaConfig", {**_COMMON, "state_size": 12, "time_step_rank": 10, "num_hidden_layers": 3}),
    "falcon_mamba": (
        "FalconMambaConfig",
        {
            **_COMMON,
            "hidden_size": 80,
            "intermediate_size": 104,
            "state_size": 24,
            "tie_word_embeddings": False,
        },
    ),
    "mamba2": (
        "Mamba2Config",
        {
            **_COMMON,
            "num_hidden_layers": 3,
            "num_heads": 8,
            "head_dim": 12,
            "n_groups": 2,
            "state_size": 24,
        },
    ),
    "zamba2": (
        "Zamba2Config",
        {
            **_COMMON,
            "hidden_size": 64,
            "num_hidden_layers": 5,
            "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid", "hybrid"],
            "num_key_value_heads": 4,
            "num_mem_blocks": 2,
            "adapter_rank": 12,
            "use_shared_attention_adapter": True,
            "use_mem_rope": True,
            "mamba_ngroups": 2,
            "mamba_d_state": 24,
            "initializer_range": 0.07,
        },
    ),
    "jamba": (
        "JambaConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "num_hidden_layers": 5,
            "attn_layer_period": 3,
            "attn_layer_offset": 1,
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "mamba_d_state": 12,
            "mamba_dt_rank": 10,
        },
    ),
    "rwkv": ("RwkvConfig", {**_COMMON, "num_hidden_layers": 3, "rescale_every": 2}),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 12,
        },
    ),
    "vaultgemma": (
        "VaultGemmaConfig",
        {**_GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},
    ),
    "cwm": ("CwmConfig", {**_COMMON, "head_dim": 16, "sliding_window": 12}),
    "olmo": ("OlmoConfig", {**_COMMON, "hidden_size": 64, "clip_qkv": 1.5}),
    "olmo2": ("Olmo2Config", {**_COMMON, "hidden_size": 64}),
    "olmo3": ("Olmo3Config", {**_COMMON, "hidden_size": 64, "sliding_window": 12, "layer_types": _MIXED}),
    "flex_olmo": (
        "FlexOlmoConfig",
        {**_COMMON, "hidden_size": 64, "num_experts": 6, "num_experts_per_tok": 3},
    ),
    "smollm3": ("SmolLM3Config", {**_COMMON, "hidden_size": 64, "no_rope_layer_interval": 2}),
    "starcoder2": ("Starcoder2Config", {**_COMMON, "hidden_size": 64, "sliding_window": 12}),
    "stablelm": ("StableLmConfig", {**_COMMON, "hidden_size": 128, "partial_rotary_factor": 0.5}),
    "cohere": ("CohereConfig", {**_COMMON, "hidden_size": 64, "logit_scale": 0.7}),
    "cohere2": (
        "Cohere2Config",
        {**_COMMON, "hidden_size": 64, "logit_scale": 0.7, "sliding_window": 12, "sliding_window_pattern": 2},
    ),
    "cohere2_moe": (
        "Cohere2MoeConfig",
        {
            **_COMMON,
            "head_dim": 16,
            "num_hidden_layers": 4,
            "logit_scale": 0.7,
            "sliding_window": 12,
            "layer_types": ["full_attention", "sliding_attention", "full_attention", "sliding_attention"],
            "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
            "prefix_dense_intermediate_size": 104,
            "num_experts": 6,
            "num_experts_per_tok": 3,
            "num_shared_experts": 2,
            "rms_norm_eps": 1e-6,
        },
    ),
    "nemotron": ("NemotronConfig", {**_COMMON, "head_dim": 32}),
    "helium": ("HeliumConfig", {**_COMMON, "hidden_size": 96, "head_dim": 24}),
    "seed_oss": ("SeedOssConfig", {**_COMMON, "head_dim": 16}),
    "arcee": ("ArceeConfig", {**_COMMON, "hidden_size": 64}),
    "apertus": ("ApertusConfig", {**_COMMON, "hidden_size": 64}),
    "youtu": (
        "YoutuConfig",
        {
            **_COMMON,
            **{key: value for key, value in _LATENT.items() if "moe" not in key and "expert" not in key},
            "num_key_value_heads": 4,
            "tie_word_embeddings": False,
        },
    ),
    "hyperclovax": (
        "HyperCLOVAXConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "attention_multiplier": 0.4,
            "embedding_multiplier": 3.0,
            "logits_scaling": 0.7,
            "residual_multiplier": 0.6,
        },
    ),
    "granite_swa": (
        "GraniteSWAConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "attention_multiplier": 0.3,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.0,
            "num_hidden_layers": 3,
            "sliding_window": 12,
            "layer_rope_theta": [0, 10_000.0, 5_000.0],
            "tie_word_embeddings": False,
        },
    ),
    "afmoe": (
        "AfmoeConfig",
        {
            **_COMMON,
            "head_dim": 32,
            "num_hidden_layers": 3,
            "global_attn_every_n_layers": 3,
            "sliding_window": 12,
            "num_experts": 6,
            "num_experts_per_tok": 3,
            "num_shared_experts": 1,
            "moe_intermediate_size": 40,
            "route_scale": 1.7,
            "mup_enabled": True,
        },
    ),
    "minicpm3": (
        "MiniCPM3Config",
        {
            **_COMMON,
            **{key: value for key, value in _LATENT.items() if "moe" not in key and "expert" not in key},
            "num_key_value_heads": 4,
            "scale_emb": 3,
            "scale_depth": 0.9,
            "dim_model_base": 20,
        },
    ),
    "nanochat": ("NanoChatConfig", {**_COMMON, "hidden_size": 64, "final_logit_softcapping": 5.0}),
    "bitnet": ("BitNetConfig", {**_COMMON, "hidden_size": 64}),
    "lfm2_moe": (
        "Lfm2MoeConfig",
        {
            **_COMMON,
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "layer_types": ["conv", "full_attention", "conv", "conv"],
            "num_dense_layers": 1,
            "num_experts": 6,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 40,
            "initializer_range": 0.25,
        },
    ),
    "codegen": (
        "CodeGenConfig",
        {**_COMMON, "hidden_size": 128, "num_attention_heads": 8, "n_inner": 88, "rotary_dim": 8},
    ),
    "gpt_bigcode": ("GPTBigCodeConfig", {**_COMMON, "hidden_size": 64, "n_inner": 88}),
    "mpt": (
        "MptConfig",
        {
            **_COMMON,
            "hidden_size": 96,
            "num_attention_heads": 6,
            "max_seq_len": 256,
            "attn_config": {"clip_qkv": 1.5},
            "tie_word_embeddings": False,
        },
    ),
    "gpt2": ("GPT2Config", {**_COMMON, "hidden_size": 64, "n_inner": 88}),
    "llama4_text": (
        "Llama4TextConfig",
        {
            **_COMMON,
            "head_dim": 32,
            "intermediate_size_mlp": 104,
            "num_hidden_layers": 4,
            "no_rope_layer_interval": 3,
            "interleave_moe_layer_step": 2,
            "num_local_experts": 5,
            "num_experts_per_tok": 1,
            "attention_chunk_size": 10,
            "floor_scale": 7,  # the queries grow within the tests' prompts
            "attn_scale": 0.4,
        },
    ),
    "mixtral": ("MixtralConfig", {**_EXPERTS, "head_dim": 32}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {**_QWEN_MOE, "hidden_size": 64, "shared_expert_intermediate_size": 72},
    ),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {**_QWEN_MOE, "head_dim": 32, "norm_topk_prob": True, "initializer_range": 0.25},
    ),
    "olmoe": (
        "OlmoeConfig",
        {**_COMMON, "hidden_size": 64, "num_experts": 6, "num_experts_per_tok": 3, "num_key_value_heads": 4},
    ),
    "granitemoe": (
        "GraniteMoeConfig",
        {
            **_EXPERTS,
            "hidden_size": 64,
            "attention_multiplier": 0.3,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.0,
        },
    ),
    "granitemoeshared": (
        "GraniteMoeSharedConfig",
        {
            **_EXPERTS,
            "hidden_size": 64,
            "attention_multiplier": 0.3,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.0,
            "shared_intermediate_size": 72,
        },
    ),
    "phimoe": (
        "PhimoeConfig",
        {
            **_EXPERTS,
            "hidden_size": 64,
            "attention_bias": True,
            "lm_head_bias": True,
            "router_jitter_noise": 0.3,
        },
    ),
    "gpt_oss": (
        "GptOssConfig",
        {
            **_EXPERTS,
            "head_dim": 32,
            "sliding_window": 12,
            "swiglu_limit": 0.8,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 150000.0,
                "factor": 8.0,
                "original_max_position_embeddings": 32,
                "truncate": False,
            },
        },
    ),
}

# transformers has it, but finds it only within the model that also sees images.
transformers.AutoModelForCausalLM.register(
    transformers.Mistral4Config, transformers.Mistral4ForCausalLM, exist_ok=True
)

UNSCALED = ("gemma3n_text", "gemma4_text")

FAMILIES = tuple(sorted(_CONFIGS))


def has_experts(family: str) -> bool:
    """Whether tokens choose experts, so that a small error can send one of them to another expert."""
    return not {"moe_k", "moe_topk", "num_experts_per_tok"}.isdisjoint(_CONFIGS[family][1])


def make_config(family: str, **overrides: Any) -> transformers.PretrainedConfig:
    """Return the tiny config of a family, with these values changed."""
    class_name, values = _CONFIGS[family]
    return getattr(transformers, class_name)(
        **deepcopy({**values, **overrides})
    )  # it adds keys to what it is given


def make_checkpoint(
    family: str,
    path: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "5GB",
    **config_overrides: Any,
) -> Path:
    """Save a random checkpoint of a family with its tokenizer, and return its folder."""
    config = make_config(family, **config_overrides)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomize(model, is_unscaled=family in UNSCALED)
    model.to(dtype).save_pretrained(path, max_shard_size=max_shard_size)
    make_tokenizer().save_pretrained(path)
    return path


def randomize(model: transformers.PreTrainedModel, *, is_unscaled: bool = False) -> None:
    """Change what a new model's weights have in common with those of any other, such as norms of ones.

    Args:
        model: The model.
        is_unscaled: Whether its scores are not scaled.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter is model.get_input_embeddings().weight and model.config.tie_word_embeddings:
                parameter.mul_(0.3)  # or every token would predict itself
            elif name == "rwkv.embeddings.weight":
                parameter.mul_(1e4)  # or its norm would see nothing but the epsilon
            elif name.endswith("conv1d.weight"):
                parameter.mul_(8)  # or queries and keys were nearly orthogonal, and a head's output all noise
            elif name.endswith("A_log"):
                parameter.sub_(2.5)  # or nothing would be remembered
            elif name.endswith("router.gate.weight"):
                parameter.normal_(0, model.config.initializer_range)  # transformers begins with zeros
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2)
            elif name.endswith("sinks"):
                parameter.normal_(0, 1.0)
            elif parameter.ndim == 1 or name.endswith("norm.weight"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
                if name.endswith("q_norm.weight") and is_unscaled:
                    parameter.mul_(0.25)  # or a softmax would choose one key
        for name, buffer in model.named_buffers():
            if name.endswith(("expert_bias", "score_correction_bias")):
                buffer.normal_(0, 0.2)
            elif name.endswith("layer_scalar"):
                buffer.uniform_(0.7, 1.4)


def load_reference(path: Path) -> transformers.PreTrainedModel:
    """Return the checkpoint as transformers computes it, in float32."""
    config = transformers.AutoConfig.from_pretrained(path)
    implementation = (
        "sdpa" if config.model_type == "falcon" else "eager"
    )  # its eager one adds linear biases twice
    return transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation=implementation
    ).eval()


@cache
def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer of at most `VOCAB_SIZE` tokens with a ChatML template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - 8,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 3] * 3, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[2],
        pad_token=SPECIAL_TOKENS[0],
        chat_template=CHAT_TEMPLATE,
    )
