"""Exported graphs against transformers: logits over prompt, chunks and decode steps, and greedy tokens."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from genai.export import export_model
from tests.checkpoints import FAMILIES, VOCAB_SIZE, has_experts, load_reference, make_checkpoint
from tests.export.runner import GraphRunner, without_worst_positions

TOLERANCE = 1e-4
PROMPT = np.random.default_rng(0).integers(3, VOCAB_SIZE, 24).tolist()

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.1 * i for i in range(8)],
    "long_factor": [2.0 + 0.3 * i for i in range(8)],
    "original_max_position_embeddings": 32,
}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "one kv head": ("llama", {"num_key_value_heads": 1}),
    "as many kv heads": ("llama", {"num_key_value_heads": 4, "num_attention_heads": 4}),
    "biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "heads of 24": ("llama", {"head_dim": 24}),
    "gelu": ("llama", {"hidden_act": "gelu"}),
    "relu2": ("llama", {"hidden_act": "relu2"}),
    "quick_gelu": ("llama", {"hidden_act": "quick_gelu"}),
    "linear rope": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0}}),
    "dynamic rope": ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0}}),
    "llama3 rope": ("llama", {"rope_parameters": LLAMA3}),
    "yarn rope": ("llama", {"rope_parameters": YARN}),
    "yarn rope, not truncated": ("llama", {"rope_parameters": {**YARN, "truncate": False, "beta_fast": 8.0}}),
    "yarn rope, mscale": ("llama", {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.1}}),
    "yarn rope, attention factor": ("llama", {"rope_parameters": {**YARN, "attention_factor": 1.3}}),
    "mistral without window": ("mistral", {"sliding_window": None}),
    "upper windows": ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    "qwen2, untied": ("qwen2", {"tie_word_embeddings": False}),
    "qwen3 with biases": ("qwen3", {"attention_bias": True, "tie_word_embeddings": False}),
    "qwen3, heads of 8": ("qwen3", {"head_dim": 8}),
    "phi with q/k norms": ("phi", {"qk_layernorm": True}),
    "phi, rotary of 8": ("phi", {"partial_rotary_factor": 0.25}),
    "phi3, three quarters rotary": ("phi3", {"hidden_size": 256, "partial_rotary_factor": 0.75}),
    "phi3, tied, windows": ("phi3", {"tie_word_embeddings": True, "sliding_window": 9}),
    "gemma2 without caps": ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "gemma2, untied": ("gemma2", {"tie_word_embeddings": False}),
    "gemma3, all local but the last": ("gemma3_text", {"sliding_window_pattern": 3}),
    "gpt_neox, sequential, no biases": (
        "gpt_neox",
        {"use_parallel_residual": False, "attention_bias": False},
    ),
    "gpt_neox, rotary of 8": ("gpt_neox", {"hidden_size": 64, "rotary_pct": 0.5}),
    "gptj, heads of 24": ("gptj", {"n_embd": 96, "rotary_dim": 8}),
    "opt without biases and norm weights": (
        "opt",
        {"enable_bias": False, "layer_norm_elementwise_affine": False},
    ),
    "opt, untied": ("opt", {"tie_word_embeddings": False}),
    "opt, norms on the stream, narrow embeddings": (
        "opt",
        {"do_layer_norm_before": False, "word_embed_proj_dim": 40},
    ),
    "opt, no norm before the head": ("opt", {"_remove_final_layer_norm": True}),
    "codegen, two heads over four cores": ("codegen", {"n_embd": 48, "n_head": 2, "rotary_dim": 16}),
    "gpt_bigcode, a key for each query, untied": (
        "gpt_bigcode",
        {"multi_query": False, "tie_word_embeddings": False, "activation_function": "gelu"},
    ),
    "gpt_bigcode, no scale": ("gpt_bigcode", {"scale_attn_weights": False}),
    "mpt, tied, another scale": (
        "mpt",
        {"tie_word_embeddings": True, "attn_config": {"softmax_scale": 0.3}},
    ),
    "mpt, 4 heads": ("mpt", {"hidden_size": 64, "num_attention_heads": 4}),
    "bloom, 6 heads, tied": ("bloom", {"n_head": 6, "hidden_size": 96, "tie_word_embeddings": True}),
    "falcon, biases, a head for each query": ("falcon", {"multi_query": False, "bias": True}),
    "falcon, linear biases, sequential": ("falcon", {"alibi": True, "parallel_attn": False, "bias": True}),
    "falcon, new architecture": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon, new architecture, one norm": (
        "falcon",
        {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
    ),
    "deepseek_v2, queries with a latent, no groups": (
        "deepseek_v2",
        {"q_lora_rank": 36, "topk_method": "greedy", "attention_bias": True},
    ),
    "deepseek_v2, biases": ("deepseek_v2", {"attention_bias": True, "mlp_bias": True}),
    "deepseek_v3 without a latent for queries, yarn": (
        "deepseek_v3",
        {
            "q_lora_rank": None,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10_000.0,
                "factor": 4.0,
                "mscale": 0.7,
                "mscale_all_dim": 1.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "deepseek_v3, halves rotated, weights not normalized": (
        "deepseek_v3",
        {"rope_interleave": False, "norm_topk_prob": False, "first_k_dense_replace": 0},
    ),
    "deepseek_v32, experts in the first layer, biases, yarn": (
        "deepseek_v32",
        {
            "mlp_layer_types": ["sparse", "dense"],
            "attention_bias": True,
            "rope_parameters": {**YARN, "rope_theta": 10_000.0, "mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "mistral4, groups, weights not normalized, halves rotated, dense first layer": (
        "mistral4",
        {
            "n_group": 2,
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.7,
            "rope_interleave": False,
            "first_k_dense_replace": 1,
            "q_lora_rank": None,
        },
    ),
    "glm without biases, tied": ("glm", {"attention_bias": False, "tie_word_embeddings": True}),
    "glm4_moe, biases, no head norms, weights not normalized": (
        "glm4_moe",
        {
            "attention_bias": True,
            "use_qk_norm": False,
            "norm_topk_prob": False,
            "first_k_dense_replace": 0,
            "n_group": 1,
        },
    ),
    "glm4_moe_lite, halves rotated, no latent for queries, dense last": (
        "glm4_moe_lite",
        {"rope_interleave": False, "q_lora_rank": None, "mlp_layer_types": ["sparse", "dense"]},
    ),
    "dots1, biases, experts everywhere, weights not normalized, no windows": (
        "dots1",
        {
            "attention_bias": True,
            "first_k_dense_replace": 0,
            "norm_topk_prob": False,
            "sliding_window": None,
            "tie_word_embeddings": True,
        },
    ),
    "ernie4_5_moe, biases, untied, every other layer": (
        "ernie4_5_moe",
        {
            "use_bias": True,
            "tie_word_embeddings": False,
            "moe_layer_start_index": 0,
            "moe_layer_end_index": -1,
            "moe_layer_interval": 2,
        },
    ),
    "ernie4_5_moe, nothing shared": ("ernie4_5_moe", {"moe_num_shared_experts": 0}),
    "minimax_m2, dimensions that rotate, tied": (
        "minimax_m2",
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
            "rotary_dim": 8,
            "tie_word_embeddings": True,
        },
    ),
    "exaone4, full attention only": (
        "exaone4",
        {"sliding_window": None, "layer_types": ["full_attention"] * 2},
    ),
    "exaone_moe, no positions, groups, weights not normalized": (
        "exaone_moe",
        {
            "layer_types": ["full_attention"] * 3,
            "mlp_layer_types": ["sparse", "dense", "sparse"],
            "n_group": 2,
            "norm_topk_prob": False,
        },
    ),
    "solar_open with yarn, biases": ("solar_open", {"rope_parameters": YARN, "attention_bias": True}),
    "hy_v3, biases, two shared, dense last": (
        "hy_v3",
        {
            "attention_bias": True,
            "mlp_bias": True,
            "mlp_layer_types": ["sparse", "dense"],
            "num_shared_experts": 2,
            "router_scaling_factor": 0.7,
        },
    ),
    "hunyuan, stretched base": (
        "hunyuan_v1_dense",
        {"rope_parameters": {"rope_type": "dynamic", "alpha": 1000.0, "factor": 1.0, "rope_theta": 10_000.0}},
    ),
    "hunyuan, an alpha that stretches nothing": (
        "hunyuan_v1_dense",
        {"rope_parameters": {"rope_type": "default", "alpha": 1000.0, "rope_theta": 10_000.0}},
    ),
    "hunyuan, biases, tied": ("hunyuan_v1_dense", {"attention_bias": True, "tie_word_embeddings": True}),
    "hunyuan with experts, stretched base": (
        "hunyuan_v1_moe",
        {"rope_parameters": {"rope_type": "dynamic", "alpha": 1000.0, "factor": 1.0, "rope_theta": 10_000.0}},
    ),
    "hunyuan with experts, numbers for each layer, biases, tied": (
        "hunyuan_v1_moe",
        {"moe_topk": [2, 2], "attention_bias": True, "tie_word_embeddings": True},
    ),
    "ernie4_5, biases, untied": ("ernie4_5", {"use_bias": True, "tie_word_embeddings": False}),
    "qwen3.5, tied, biases, as many key heads": (
        "qwen3_5_text",
        {"tie_word_embeddings": True, "attention_bias": True, "linear_num_key_heads": 6},
    ),
    "qwen3.5, one key head, width of 2": (
        "qwen3_5_text",
        {"linear_num_key_heads": 1, "linear_conv_kernel_dim": 2, "linear_key_head_dim": 40},
    ),
    "qwen3-next, dense, as many key heads": (
        "qwen3_next",
        {"mlp_only_layers": [0, 1, 2], "linear_num_key_heads": 6},
    ),
    "qwen3-next, biases, one key head, free weights": (
        "qwen3_next",
        {"attention_bias": True, "linear_num_key_heads": 1, "norm_topk_prob": False},
    ),
    "lfm2_moe, plain routing": (
        "lfm2_moe",
        {
            "use_expert_bias": False,
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.7,
            "num_dense_layers": 0,
        },
    ),
    "gemma4, values are keys, no inputs of layers": (
        "gemma4_text",
        {
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 2,
            "num_kv_shared_layers": 0,
            "hidden_size_per_layer_input": 0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma3n, other active stream, no scale, nothing shared": (
        "gemma3n_text",
        {
            "altup_active_idx": 1,
            "altup_correct_scale": False,
            "altup_num_inputs": 2,
            "num_kv_shared_layers": 0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma4, experts": (
        "gemma4_text",
        {"enable_moe_block": True, "num_experts": 6, "top_k_experts": 3, "moe_intermediate_size": 40},
    ),
    "gemma4, tokens of images see later ones": ("gemma4_text", {"use_bidirectional_attention": "vision"}),
    "gemma4, nothing shared, untied": (
        "gemma4_text",
        {"num_kv_shared_layers": 0, "use_double_wide_mlp": False, "tie_word_embeddings": False},
    ),
    "lfm2, biases, width of 5": ("lfm2", {"conv_bias": True, "conv_L_cache": 5, "block_multiple_of": 24}),
    "lfm2, untied, size as it is": (
        "lfm2",
        {"tie_word_embeddings": False, "block_auto_adjust_ff_dim": False, "conv_L_cache": 2},
    ),
    "llama4, tied, biases, no norms, positions everywhere": (
        "llama4_text",
        {
            "tie_word_embeddings": True,
            "attention_bias": True,
            "use_qk_norm": False,
            "no_rope_layers": [1, 1, 1, 1],
            "moe_layers": [0, 3],
        },
    ),
    "llama4, no chunks, no temperature, llama3 rope without a ramp": (
        "llama4_text",
        {
            "attention_chunk_size": None,
            "attn_temperature_tuning": False,
            "rope_parameters": {**LLAMA3, "high_freq_factor": 1.0, "rope_theta": 5000.0},
        },
    ),
    "llama4, chunks where no positions are, rope that scales, heads of 24": (
        "llama4_text",
        {
            "head_dim": 24,
            "rope_parameters": {**YARN, "rope_theta": 5000.0},
            "layer_types": ["full_attention", "chunked_attention"] * 2,
        },
    ),
    "mixtral, gelu, tied, windows": (
        "mixtral",
        {"hidden_act": "gelu", "tie_word_embeddings": True, "sliding_window": 7},
    ),
    "mixtral, one expert each": ("mixtral", {"num_experts_per_tok": 1}),
    "qwen2_moe, normalized, windows, no biases": (
        "qwen2_moe",
        {"norm_topk_prob": True, "use_sliding_window": True, "sliding_window": 7, "qkv_bias": False},
    ),
    "qwen3_moe, every other layer, not normalized, windows": (
        "qwen3_moe",
        {
            "decoder_sparse_step": 2,
            "mlp_only_layers": [],
            "norm_topk_prob": False,
            "use_sliding_window": True,
            "sliding_window": 7,
        },
    ),
    "olmoe, normalized, biases": ("olmoe", {"norm_topk_prob": True, "attention_bias": True}),
    "granitemoe, tied, no factors": (
        "granitemoe",
        {"tie_word_embeddings": True, "embedding_multiplier": 1.0, "residual_multiplier": 1.0},
    ),
    "granitemoeshared, nothing shared, tied": (
        "granitemoeshared",
        {"shared_intermediate_size": 0, "tie_word_embeddings": True},
    ),
    "phimoe, longrope": (
        "phimoe",
        {
            "rope_parameters": {**LONGROPE, "short_mscale": 1.2, "long_mscale": 1.2},
            "original_max_position_embeddings": 32,
        },
    ),
    "phimoe, no biases, windows": (
        "phimoe",
        {
            "attention_bias": False,
            "lm_head_bias": False,
            "sliding_window": 7,
            "router_jitter_noise": 0.01,
        },
    ),
    "gpt_oss, no biases, full attention": (
        "gpt_oss",
        {"attention_bias": False, "layer_types": ["full_attention"] * 2, "swiglu_limit": 7.0},
    ),
    "gemma, untied, named gelu": ("gemma", {"tie_word_embeddings": False, "hidden_act": "gelu"}),
    "gemma with biases": ("gemma", {"attention_bias": True}),
    "granite, tied, biases": (
        "granite",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    ),
    "granite 4 with positions, dense": (
        "granitemoehybrid",
        {
            "position_embedding_type": "rope",
            "num_local_experts": 0,
            "layer_types": ["attention", "mamba", "attention"],
        },
    ),
    "bamba, biases, one group": (
        "bamba",
        {"mamba_proj_bias": True, "attention_bias": True, "mlp_bias": True, "mamba_n_groups": 1},
    ),
    "bamba without a bias of the convolution": (
        "bamba",
        {"mamba_conv_bias": False, "tie_word_embeddings": True},
    ),
    "falcon-h1 without norm": ("falcon_h1", {"mamba_rms_norm": False, "mamba_d_ssm": None}),
    "falcon-h1, gated first, plain factors": (
        "falcon_h1",
        {
            "mamba_norm_before_gate": False,
            "ssm_multipliers": None,
            "mlp_multipliers": None,
            "ssm_in_multiplier": 1.0,
        },
    ),
    "nemotron-h, biases, no experts": (
        "nemotron_h",
        {
            "layers_block_type": ["mlp", "mamba", "attention"],
            "use_bias": True,
            "mlp_bias": True,
            "num_hidden_layers": 3,
        },
    ),
    "minimax, windows, plain factors": (
        "minimax",
        {
            "sliding_window": 9,
            "layer_types": None,
            **{
                f"{part}_{factor}_factor": 1
                for part in ("full_attn", "linear_attn", "mlp")
                for factor in ("alpha", "beta")
            },
        },
    ),
    "kimi linear, no latent for queries, biases, one group": (
        "kimi_linear",
        {
            "q_lora_rank": None,
            "attention_bias": True,
            "n_group": 1,
            "norm_topk_prob": False,
            "linear_attn_config": {
                "full_attn_layers": [3],
                "kda_layers": [1, 2],
                "head_dim": 16,
                "num_heads": 2,
                "short_conv_kernel_size": 3,
            },
            "layer_types": None,
            "mlp_layer_types": None,
        },
    ),
    "ling 3, decays without a bound, yarn": (
        "bailing_hybrid",
        {
            "kda_safe_gate": False,
            "q_lora_rank": None,
            "rope_parameters": {**YARN, "rope_theta": 10_000.0, "mscale_all_dim": 1.0},
        },
    ),
    "ling 3, counted": (
        "bailing_hybrid",
        {"layer_types": None, "mlp_layer_types": None, "layer_group_size": 2, "first_k_dense_replace": 1},
    ),
    "olmo hybrid with positions, biases": (
        "olmo_hybrid",
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
            "attention_bias": True,
            "linear_allow_neg_eigval": False,
        },
    ),
    "olmo hybrid, derived widths": (
        "olmo_hybrid",
        {
            "linear_num_key_heads": None,
            "linear_num_value_heads": None,
            "linear_key_head_dim": None,
            "linear_value_head_dim": 12,
            "layer_types": None,
        },
    ),
    "recurrent gemma, biases, all rotary, untied": (
        "recurrent_gemma",
        {
            "attention_bias": True,
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
            "lru_width": 64,
        },
    ),
    "mamba, biases, untied, width of 2": (
        "mamba",
        {"use_bias": True, "use_conv_bias": False, "tie_word_embeddings": False, "conv_kernel": 2},
    ),
    "falcon-mamba, biases, tied": ("falcon_mamba", {"use_bias": True, "tie_word_embeddings": True}),
    "mamba-2, biases, tied, one group": (
        "mamba2",
        {"use_bias": True, "use_conv_bias": False, "tie_word_embeddings": True, "n_groups": 1},
    ),
    "zamba2, biases, one block, no positions": (
        "zamba2",
        {
            "add_bias_linear": True,
            "num_mem_blocks": 1,
            "use_shared_attention_adapter": False,
            "num_key_value_heads": 2,
            "use_mem_rope": False,
            "mamba_ngroups": 1,
        },
    ),
    "jamba, biases, no experts, tied": (
        "jamba",
        {"num_experts": 1, "mamba_proj_bias": True, "mamba_conv_bias": False, "tie_word_embeddings": True},
    ),
    "rwkv, never halved, derived widths": (
        "rwkv",
        {"rescale_every": 0, "attention_hidden_size": None, "intermediate_size": None},
    ),
    "gpt-neo, untied, local first": (
        "gpt_neo",
        {
            "tie_word_embeddings": False,
            "attention_types": [[["local"], 1], [["global"], 1]],
            "intermediate_size": None,
        },
    ),
    "olmo without clipping": (
        "olmo",
        {"clip_qkv": None, "num_key_value_heads": 4, "tie_word_embeddings": True},
    ),
    "olmo with biases": ("olmo", {"attention_bias": True}),
    "olmo2 with biases": ("olmo2", {"attention_bias": True, "num_key_value_heads": 4}),
    "olmo3, scaled where it sees all": (
        "olmo3",
        {
            "rope_parameters": {
                "full_attention": {**YARN, "rope_theta": 5000.0, "attention_factor": 1.2},
                "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0},
            },
            "layer_types": ["full_attention", "sliding_attention"],
        },
    ),
    "flex_olmo, normalized, biases": ("flex_olmo", {"norm_topk_prob": True, "attention_bias": True}),
    "smollm3 with windows": (
        "smollm3",
        {"use_sliding_window": True, "sliding_window": 9, "tie_word_embeddings": False, "layer_types": None},
    ),
    "smollm3, listed": ("smollm3", {"no_rope_layers": [0, 1, 1], "attention_bias": True, "mlp_bias": True}),
    "starcoder2, no biases": ("starcoder2", {"use_bias": False, "sliding_window": None}),
    "starcoder2, untied": ("starcoder2", {"tie_word_embeddings": False, "hidden_act": "gelu"}),
    "stablelm, parallel, head norms": (
        "stablelm",
        {"use_parallel_residual": True, "qk_layernorm": True, "num_key_value_heads": 4},
    ),
    "stablelm, head norms, biases, rotary of 8": (
        "stablelm",
        {"qk_layernorm": True, "use_qkv_bias": True, "partial_rotary_factor": 0.25},
    ),
    "cohere with head norms": ("cohere", {"use_qk_norm": True, "tie_word_embeddings": False}),
    "cohere with biases": ("cohere", {"attention_bias": True, "hidden_act": "gelu"}),
    "cohere, heads of 24": ("cohere", {"hidden_size": 96}),
    "cohere2, listed": ("cohere2", {"layer_types": ["full_attention", "sliding_attention"]}),
    "cohere2 with biases": ("cohere2", {"attention_bias": True, "tie_word_embeddings": False}),
    "cohere2_moe, sigmoids, a sum, layer norms": (
        "cohere2_moe",
        {
            "expert_selection_fn": "sigmoid",
            "norm_topk_prob": False,
            "rms_norm_eps": None,
            "shared_expert_combination_strategy": "sum",
            "prefix_dense_sliding_window_pattern": 2,
        },
    ),
    "cohere2_moe, normalized sigmoids, nothing shared, untied": (
        "cohere2_moe",
        {"expert_selection_fn": "sigmoid", "num_shared_experts": 0, "tie_word_embeddings": False},
    ),
    "cohere2_moe, its own patterns": (
        "cohere2_moe",
        {
            "layer_types": None,
            "mlp_layer_types": None,
            "first_k_dense_replace": 2,
            "prefix_dense_sliding_window_pattern": 2,
            "sliding_window_pattern": 2,
            "prefix_dense_intermediate_size": None,
        },
    ),
    "ministral3 with windows": ("ministral3", {"sliding_window": 9, "tie_word_embeddings": True}),
    "nemotron with biases": (
        "nemotron",
        {"attention_bias": True, "mlp_bias": True, "partial_rotary_factor": 0.25},
    ),
    "helium with biases": ("helium", {"attention_bias": True, "mlp_bias": True}),
    "seed_oss, biases everywhere": ("seed_oss", {"attention_out_bias": True, "mlp_bias": True}),
    "arcee with yarn": ("arcee", {"rope_parameters": YARN, "attention_bias": True, "mlp_bias": True}),
    "gpt2, untied": ("gpt2", {"tie_word_embeddings": False}),
    "gpt2, scales by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    "gpt2, no scale": ("gpt2", {"scale_attn_weights": False}),
}


def reference_logits(checkpoint: Path, tokens: list[int]) -> np.ndarray:
    with torch.no_grad():
        return load_reference(checkpoint)(torch.tensor([tokens])).logits[0].numpy()


def assert_parity(checkpoint: Path, folder: Path, tokens: list[int] = PROMPT) -> None:
    """Whole prompt at once, and in pieces: prompt, chunk, then token by token."""
    exported = export_model(checkpoint, folder, precision="fp32", via="native")
    expected = reference_logits(checkpoint, tokens)
    np.testing.assert_allclose(GraphRunner(exported).feed(tokens), expected, atol=TOLERANCE, rtol=0)
    pieces = GraphRunner(exported)
    first, second = len(tokens) // 2, len(tokens) // 2 + 5
    logits = [pieces.feed(tokens[:first]), pieces.feed(tokens[first:second])]
    logits += [pieces.feed([token]) for token in tokens[second:]]
    np.testing.assert_allclose(np.concatenate(logits), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_computes_what_transformers_computes(family: str, tmp_path: Path) -> None:
    assert_parity(make_checkpoint(family, tmp_path / "checkpoint"), tmp_path / "model")


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_odd_shape_computes_what_transformers_computes(variant: str, tmp_path: Path) -> None:
    family, overrides = VARIANTS[variant]
    assert_parity(make_checkpoint(family, tmp_path / "checkpoint", **overrides), tmp_path / "model")


@pytest.mark.parametrize("family", FAMILIES)
def test_64_greedy_tokens_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    reference = load_reference(checkpoint)
    reference.generation_config.eos_token_id = None
    expected = reference.generate(torch.tensor([PROMPT]), max_new_tokens=64, do_sample=False)[
        0, len(PROMPT) :
    ]
    tokens = GraphRunner(exported).greedy(PROMPT, 64)
    assert tokens == expected.tolist()
    assert len(set(tokens)) > 5, "the tokens are degenerate; the test proves little"


@pytest.mark.parametrize("length", [32, 33, 60], ids=["short", "one too long", "long"])
def test_longrope_chooses_its_factors_by_the_length(length: int, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(
        "phi3", tmp_path / "checkpoint", rope_parameters=LONGROPE, original_max_position_embeddings=32
    )
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    assert exported.manifest is not None
    assert exported.manifest.attributes == {"rope_switch_length": 32}
    tokens = np.random.default_rng(1).integers(3, VOCAB_SIZE, length).tolist()
    expected = reference_logits(checkpoint, tokens)
    np.testing.assert_allclose(GraphRunner(exported).feed(tokens), expected, atol=TOLERANCE, rtol=0)
    if length <= 32:
        pieces = GraphRunner(exported)
        logits = [pieces.feed(tokens[:20]), pieces.feed(tokens[20:25])]
        logits += [pieces.feed([token]) for token in tokens[25:]]
        np.testing.assert_allclose(np.concatenate(logits), expected, atol=TOLERANCE, rtol=0)


def test_longrope_within_its_original_length_needs_one_table(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(
        "phi3", tmp_path / "checkpoint", rope_parameters=LONGROPE, original_max_position_embeddings=32
    )
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", max_context=32, via="native")
    assert exported.manifest is not None
    assert exported.manifest.attributes == {}
    nodes = onnx.load(exported.model_path, load_external_data=False).graph.node
    assert "RotaryEmbedding" not in {node.op_type for node in nodes}
    expected = reference_logits(checkpoint, PROMPT)
    np.testing.assert_allclose(GraphRunner(exported, 32).feed(PROMPT), expected, atol=TOLERANCE, rtol=0)


def test_phimoe_chooses_its_factors_by_the_length_too(tmp_path: Path) -> None:
    """As its authors' code does; transformers forgets to tell the length, and is told it here."""
    checkpoint = make_checkpoint(
        "phimoe",
        tmp_path / "checkpoint",
        rope_parameters={**LONGROPE, "short_mscale": 1.2, "long_mscale": 1.2},
        original_max_position_embeddings=32,
    )
    tokens = np.random.default_rng(1).integers(3, VOCAB_SIZE, 60).tolist()
    reference = load_reference(checkpoint)
    rotary = reference.model.rotary_emb
    choose = rotary.rope_init_fn
    rotary.rope_init_fn = lambda config: choose(config, seq_len=len(tokens))
    with torch.no_grad():
        expected = reference(torch.tensor([tokens])).logits[0].numpy()
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    np.testing.assert_allclose(GraphRunner(exported).feed(tokens), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("num_heads", [4, 6])
@pytest.mark.parametrize(("logit_scale", "factor"), [(0.25, 0.25), ("inv_sqrt_d_model", 96**-0.5)])
def test_mpt_keeps_what_transformers_leaves_out(
    num_heads: int, logit_scale: float | str, factor: float, tmp_path: Path
) -> None:
    """As its authors' code does: other slopes and a factor on the logits, which transformers is told here."""
    checkpoint = make_checkpoint(
        "mpt",
        tmp_path / "checkpoint",
        num_attention_heads=num_heads,
        attn_config={"alibi_bias_max": 3},
        logit_scale=logit_scale,
    )
    reference = load_reference(checkpoint)
    decoder = reference.transformer
    decoder.build_mpt_alibi_tensor = partial(decoder.build_mpt_alibi_tensor, alibi_bias_max=3)
    with torch.no_grad():
        expected = reference(torch.tensor([PROMPT])).logits[0].numpy() * factor
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32")
    assert exported.manifest is not None
    assert exported.manifest.exporter == "native"
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("family", "rope"),
    [
        ("llama", {**LLAMA3, "rope_theta": 5000.0}),
        ("phi3", {**LONGROPE, "rope_theta": 5000.0, "rope_type": "su"}),
        ("qwen2", {"rope_type": "default", "rope_theta": 5000.0}),
    ],
)
def test_configs_from_before_transformers_5_mean_the_same(
    family: str, rope: dict[str, Any], tmp_path: Path
) -> None:
    """`rope_theta` and `rope_scaling` (with `type`) instead of `rope_parameters`."""
    new = {**rope, "rope_type": "longrope" if rope["rope_type"] == "su" else rope["rope_type"]}
    extra = {"original_max_position_embeddings": 32} if family == "phi3" else {}
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint", rope_parameters=new, **extra)
    expected = reference_logits(checkpoint, PROMPT)
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    if "partial_rotary_factor" in parameters:
        config["partial_rotary_factor"] = parameters.pop("partial_rotary_factor")
    parameters.pop("rope_type")
    config["rope_scaling"] = (
        None if rope["rope_type"] == "default" else {**parameters, "type": rope["rope_type"]}
    )
    path.write_text(json.dumps(config))
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected, atol=TOLERANCE, rtol=0)


def test_gemma3_configs_from_before_transformers_5_mean_the_same(tmp_path: Path) -> None:
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 50_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 3_000.0},
    }
    checkpoint = make_checkpoint("gemma3_text", tmp_path / "checkpoint", rope_parameters=rope)
    assert_parity(checkpoint, tmp_path / "new")
    expected = reference_logits(checkpoint, PROMPT)
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    for key in ("rope_parameters", "layer_types", "vocab_size", "head_dim"):
        config.pop(key)
    config |= {
        "rope_theta": 50_000.0,
        "rope_local_base_freq": 3_000.0,
        "vocab_size": VOCAB_SIZE,
        "head_dim": 16,
    }
    config |= {"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window_pattern": 2}
    path.write_text(json.dumps(config))
    exported = export_model(checkpoint, tmp_path / "old", precision="fp32", via="native")
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected, atol=TOLERANCE, rtol=0)


def test_both_forms_of_the_rotary_parameters_may_stand_together_if_they_agree(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", rope_parameters=LLAMA3)
    expected = reference_logits(checkpoint, PROMPT)
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    theta = config["rope_parameters"]["rope_theta"]
    path.write_text(json.dumps({**config, "rope_scaling": LLAMA3, "rope_theta": theta}))
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_shards_are_read_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", dtype=dtype, max_shard_size="50KB")
    assert len(list(checkpoint.glob("*.safetensors"))) > 1
    assert_parity(checkpoint, tmp_path / "model")


@pytest.mark.parametrize("family", FAMILIES)
def test_fp16_stays_close_to_fp32(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    exported = export_model(checkpoint, tmp_path / "model", precision="fp16", via="native")
    logits = GraphRunner(exported).feed(PROMPT)
    expected = reference_logits(checkpoint, PROMPT)
    assert logits.dtype == np.float32
    if has_experts(family):  # where two experts are as good, a position may pass the other one
        logits, expected = without_worst_positions(logits, expected, share=0.1)
    assert np.linalg.norm(logits - expected) < 5e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {}),
        ("gpt2", {}),
        ("llama", {"head_dim": 24}),
        ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 16}),
        ("ministral3", {}),
        ("cohere2", {}),
        ("gemma4_text", {}),
        ("llama4_text", {}),
    ],
    ids=[
        "positions inside",
        "learned positions",
        "rotary before attention",
        "rotary rows by length",
        "queries by position",
        "neighbours inside, or no positions",
        "another layer's cache",
        "chunks, and queries by position",
    ],
)
def test_prompts_padded_on_the_right_are_computed_as_alone(
    family: str, overrides: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint", **overrides)
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    session = GraphRunner(exported).session
    rows = [PROMPT, PROMPT[5:14]]
    feeds: dict[str, np.ndarray] = {
        "input_ids": np.asarray([[*row, *[7] * (24 - len(row))] for row in rows], np.int64),
        "attention_mask": np.asarray([[1] * len(row) + [0] * (24 - len(row)) for row in rows], np.int64),
        "num_logits_to_keep": np.asarray([24], np.int64),
    }
    for value in session.get_inputs():
        if value.name.startswith("past"):
            feeds[value.name] = np.zeros((2, value.shape[1], 0, value.shape[3]), np.float32)
    logits = session.run(["logits"], feeds)[0]
    for row, found in zip(rows, logits, strict=True):
        expected = reference_logits(checkpoint, row)
        np.testing.assert_allclose(found[: len(row)], expected, atol=TOLERANCE, rtol=0)


def test_keeping_no_logits_still_fills_the_cache(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    runner = GraphRunner(exported)
    assert runner.feed(PROMPT[:-1], keep=0).shape == (0, VOCAB_SIZE)
    expected = reference_logits(checkpoint, PROMPT)[-1:]
    np.testing.assert_allclose(runner.feed(PROMPT[-1:], keep=1), expected, atol=TOLERANCE, rtol=0)
