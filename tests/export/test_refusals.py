"""What a config.json of a known family can ask for and no graph here computes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genai.errors import CheckpointError, GenaiError, UnsupportedModelError
from genai.export.families import find_family
from tests.checkpoints import make_config


@pytest.mark.parametrize(
    ("family", "architecture", "values", "error", "part"),
    [
        (
            "gemma",
            "GemmaForCausalLM",
            {"use_bidirectional_attention": True},
            UnsupportedModelError,
            '"use_bidirectional_attention"',
        ),
        (
            "smollm3",
            "SmolLM3ForCausalLM",
            {"no_rope_layers": [1]},
            UnsupportedModelError,
            '"no_rope_layers" names 1 layers, but there are 2',
        ),
        (
            "granitemoehybrid",
            "GraniteMoeHybridForCausalLM",
            {"layer_types": ["mamba", "rwkv", "attention"]},
            UnsupportedModelError,
            '"layer_types" asks for 3 layers, rwkv',
        ),
        (
            "granitemoehybrid",
            "GraniteMoeHybridForCausalLM",
            {"time_step_limit": [0.01, 0.1]},
            UnsupportedModelError,
            '"time_step_limit" limits the time steps',
        ),
        (
            "ministral3",
            "Ministral3ForCausalLM",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "llama_4_scaling_beta": 0.1}},
            CheckpointError,
            '"original_max_position_embeddings" is missing',
        ),
        (
            "codegen",
            "CodeGenForCausalLM",
            {"n_embd": 90},
            UnsupportedModelError,
            '"n_embd" must be a multiple of 4',
        ),
        (
            "gpt_bigcode",
            "GPTBigCodeForCausalLM",
            {"add_cross_attention": True},
            UnsupportedModelError,
            '"add_cross_attention"',
        ),
        *(
            ("mpt", "MptForCausalLM", {key: value}, UnsupportedModelError, f'"{key}" is {value!r}')
            for key, value in (
                ("expansion_ratio", 2),
                ("no_bias", False),
                ("norm_type", "rmsnorm"),
                ("logit_scale", "sqrt"),
            )
        ),
        *(
            (
                "mpt",
                "MptForCausalLM",
                {"attn_config": {key: value}},
                UnsupportedModelError,
                f'"{key}" is {value!r}',
            )
            for key, value in (("alibi", False), ("rope", True), ("qk_ln", True), ("prefix_lm", True))
        ),
        (
            "ernie4_5_moe",
            "Ernie4_5_MoeForCausalLM",
            {"moe_norm_min": 0.1},
            UnsupportedModelError,
            '"moe_norm_min" is above',
        ),
        *(
            (
                "minimax_m2",
                "MiniMaxM2ForCausalLM",
                {key: value},
                UnsupportedModelError,
                f'"{key}" is {value!r}',
            )
            for key, value in (
                ("attn_type_list", [1, 0]),
                ("qk_norm_type", "per_head"),
                ("shared_intermediate_size", 64),
                ("use_qk_norm", False),
                ("use_routing_bias", False),
            )
        ),
        *(
            (
                "hunyuan_v1_moe",
                "HunYuanMoEV1ForCausalLM",
                {key: value},
                UnsupportedModelError,
                f'"{key}" is {value!r}',
            )
            for key, value in (
                ("moe_intermediate_size", [40, 40]),
                ("moe_layer_num_skipped", 1),
                ("norm_topk_prob", False),
                ("num_shared_expert", 2),
                ("use_cla", True),
                ("use_mla", True),
                ("use_mixed_mlp_moe", False),
                ("use_qk_norm", False),
            )
        ),
        (
            "hunyuan_v1_moe",
            "HunYuanMoEV1ForCausalLM",
            {"moe_topk": [2, 3]},
            UnsupportedModelError,
            '"moe_topk" is not the same for all layers',
        ),
        (
            "solar_open",
            "SolarOpenForCausalLM",
            {"first_k_dense_replace": 1},
            UnsupportedModelError,
            '"first_k_dense_replace" is 1',
        ),
        ("hy_v3", "HYV3ForCausalLM", {"route_norm": False}, UnsupportedModelError, '"route_norm" is False'),
        (
            "cohere2_moe",
            "Cohere2MoeForCausalLM",
            {"use_parallel_block": False},
            UnsupportedModelError,
            '"use_parallel_block" is False',
        ),
        ("granite", "GraniteForCausalLM", {"logits_scaling": 0}, CheckpointError, '"logits_scaling" must be'),
    ],
)
def test_it_is_refused(
    family: str, architecture: str, values: dict[str, Any], error: type[GenaiError], part: str
) -> None:
    config = json.loads(make_config(family).to_json_string())
    known = find_family(architecture)
    known.read(config)
    with pytest.raises(error) as caught:
        known.read({**config, **values})
    assert part in str(caught.value)
