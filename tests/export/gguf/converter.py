"""A small converter to GGUF that does to tests' checkpoints what llama.cpp's convert_hf_to_gguf.py does to real ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import MODEL_ARCH
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[Any]
Config = Mapping[str, Any]
Named = Iterator[tuple[str, Array]]

ARCHITECTURES: Mapping[str, MODEL_ARCH] = {
    "LlamaForCausalLM": MODEL_ARCH.LLAMA,
    "MistralForCausalLM": MODEL_ARCH.LLAMA,
    "MixtralForCausalLM": MODEL_ARCH.LLAMA,
    "SmolLM3ForCausalLM": MODEL_ARCH.SMOLLM3,
    "GraniteForCausalLM": MODEL_ARCH.GRANITE,
    "Qwen2ForCausalLM": MODEL_ARCH.QWEN2,
    "Qwen3ForCausalLM": MODEL_ARCH.QWEN3,
    "Qwen2MoeForCausalLM": MODEL_ARCH.QWEN2MOE,
    "Qwen3MoeForCausalLM": MODEL_ARCH.QWEN3MOE,
    "GemmaForCausalLM": MODEL_ARCH.GEMMA,
    "Gemma2ForCausalLM": MODEL_ARCH.GEMMA2,
    "Gemma3ForCausalLM": MODEL_ARCH.GEMMA3,
    "Gemma3nForCausalLM": MODEL_ARCH.GEMMA3N,
    "Gemma4ForCausalLM": MODEL_ARCH.GEMMA4,
    "PhiForCausalLM": MODEL_ARCH.PHI2,
    "Phi3ForCausalLM": MODEL_ARCH.PHI3,
    "GPT2LMHeadModel": MODEL_ARCH.GPT2,
    "FalconForCausalLM": MODEL_ARCH.FALCON,
    "StableLmForCausalLM": MODEL_ARCH.STABLELM,
    "Starcoder2ForCausalLM": MODEL_ARCH.STARCODER2,
    "Olmo2ForCausalLM": MODEL_ARCH.OLMO2,
    "Olmo3ForCausalLM": MODEL_ARCH.OLMO2,
    "GptOssForCausalLM": MODEL_ARCH.GPT_OSS,
    "DeepseekV2ForCausalLM": MODEL_ARCH.DEEPSEEK2,
    "DeepseekV3ForCausalLM": MODEL_ARCH.DEEPSEEK2,
}

PERMUTED = {MODEL_ARCH.LLAMA, MODEL_ARCH.SMOLLM3, MODEL_ARCH.GRANITE}
SHIFTED = {MODEL_ARCH.GEMMA, MODEL_ARCH.GEMMA2, MODEL_ARCH.GEMMA3}

KEYS: Mapping[str, tuple[str, ...]] = {
    "context_length": ("max_position_embeddings", "n_positions"),
    "embedding_length": ("hidden_size", "n_embd"),
    "feed_forward_length": ("intermediate_size", "ffn_hidden_size", "n_inner"),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.sliding_window": ("sliding_window",),
    "attention.shared_kv_layers": ("num_kv_shared_layers",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "attention.scale": ("attention_multiplier",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "logit_scale": ("logits_scaling",),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_shared_count": ("n_shared_experts",),
    "expert_weights_scale": ("routed_scaling_factor",),
    "expert_weights_norm": ("norm_topk_prob",),
    "expert_group_count": ("n_group",),
    "expert_group_used_count": ("topk_group",),
    "leading_dense_block_count": ("first_k_dense_replace",),
    "attention.q_lora_rank": ("q_lora_rank",),
    "attention.kv_lora_rank": ("kv_lora_rank",),
    "embedding_length_per_layer_input": ("hidden_size_per_layer_input",),
    "altup.active_idx": ("altup_active_idx",),
    "altup.num_inputs": ("altup_num_inputs",),
}

Quantize = Callable[[str, Array], gguf.GGMLQuantizationType | None]


def write_gguf(checkpoint: Path, path: Path, *, quantize: Quantize = lambda name, array: None) -> Path:
    """Write a checkpoint of tests as a GGUF file.

    Args:
        checkpoint: Its folder.
        path: The file to write.
        quantize: Returns the type of a tensor by its name in the file; `None` is float32.
    """
    config = json.loads((checkpoint / "config.json").read_text())
    arch = ARCHITECTURES[config["architectures"][0]]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    for key, value in metadata(config, arch).items():
        add(writer, f"{gguf.MODEL_ARCH_NAMES[arch]}.{key}", value)
    add_tokenizer(writer, checkpoint, config)
    names = gguf.get_tensor_name_map(arch, num_layers(config))
    for name, array in tensors(checkpoint, config, arch):
        stored = name
        if not name.startswith(("blk.", "rope_")):
            stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
            assert stored is not None, name
        array = np.ascontiguousarray(array, np.float32)
        kind = quantize(stored, array) if array.ndim > 1 else None
        if kind is None:
            writer.add_tensor(stored, array)
        else:
            writer.add_tensor(stored, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def num_layers(config: Config) -> int:
    return config.get("num_hidden_layers") or config["n_layer"]


def metadata(config: Config, arch: MODEL_ARCH) -> dict[str, Any]:
    """Return the architecture's own keys."""
    found: dict[str, Any] = {"block_count": num_layers(config)}
    for key, sources in KEYS.items():
        for source in sources:
            if config.get(source) is not None:
                found.setdefault(key, config[source])
    found |= rope(config, arch)
    layer_types = config.get("layer_types") or []
    if (
        arch in (MODEL_ARCH.GEMMA3, MODEL_ARCH.GEMMA3N, MODEL_ARCH.GEMMA4)
        or "Olmo3" in config["architectures"][0]
    ):
        found["attention.sliding_window_pattern"] = [kind == "sliding_attention" for kind in layer_types]
    elif arch in (
        MODEL_ARCH.OLMO2,
        MODEL_ARCH.STABLELM,
        MODEL_ARCH.QWEN2,
        MODEL_ARCH.QWEN3,
        MODEL_ARCH.SMOLLM3,
    ):
        found.pop("attention.sliding_window", None)
    if arch == MODEL_ARCH.GPT_OSS:
        found["expert_feed_forward_length"] = config["intermediate_size"]
    if arch == MODEL_ARCH.PHI3:
        found["attention.sliding_window"] = config.get("sliding_window") or 0
    if arch == MODEL_ARCH.FALCON:
        found["attention.head_count_kv"] = 1 if config["multi_query"] else config["num_kv_heads"]
        if config["new_decoder_architecture"]:
            found["attention.head_count_kv"] = config["num_kv_heads"]
    if arch == MODEL_ARCH.DEEPSEEK2:
        latent, rotated = config["kv_lora_rank"], config["qk_rope_head_dim"]
        found |= {
            "attention.head_count_kv": 1,
            "attention.key_length": latent + rotated,
            "attention.value_length": latent,
            "attention.key_length_mla": config["qk_nope_head_dim"] + rotated,
            "attention.value_length_mla": config["v_head_dim"],
            "rope.dimension_count": rotated,
            "expert_gating_func": 2 if "V3" in config["architectures"][0] else 1,
        }
    if arch == MODEL_ARCH.GEMMA3N:
        normal = torch_normal()
        found["activation_sparsity_scale"] = [normal(s) for s in config["activation_sparsity_pattern"]]
    if arch == MODEL_ARCH.GEMMA4:
        wide = config["num_hidden_layers"] - config["num_kv_shared_layers"]
        layers = config.get("per_layer_config") or {}
        full = next(iter(layers.values()), {"head_dim": config.get("global_head_dim")})["head_dim"]
        factor = 2 if config["use_double_wide_mlp"] else 1
        sizes = [config["intermediate_size"] * (1 if i < wide else factor) for i in range(num_layers(config))]
        found |= {
            "attention.key_length": full,
            "attention.value_length": full,
            "attention.key_length_swa": config["head_dim"],
            "attention.value_length_swa": config["head_dim"],
            "feed_forward_length": sizes,
        }
        for key in ("expert_count", "expert_used_count"):
            found.pop(key, None)
    return found


def torch_normal() -> Callable[[float], float]:
    import torch

    normal = torch.distributions.Normal(0.0, 1.0)
    return lambda share: float(normal.icdf(torch.tensor(share)).item())


def rope(config: Config, arch: MODEL_ARCH) -> dict[str, Any]:
    """Return the keys of the rotary embedding."""
    parameters = config.get("rope_parameters") or {}
    full = parameters.get("full_attention", parameters)
    found = {"rope.freq_base": full["rope_theta"]} if "rope_theta" in full else {}
    if "sliding_attention" in parameters:
        found["rope.freq_base_swa"] = parameters["sliding_attention"]["rope_theta"]
    head_dim = head_dim_of(config)
    share = full.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    if arch not in (MODEL_ARCH.GPT2, MODEL_ARCH.GEMMA4):
        found["rope.dimension_count"] = int(share * head_dim)
    kind = full.get("rope_type")
    if kind in ("linear", "yarn"):
        found |= {"rope.scaling.type": kind, "rope.scaling.factor": full["factor"]}
    if kind == "yarn":
        found["rope.scaling.original_context_length"] = full["original_max_position_embeddings"]
        for key, source in (("yarn_attn_factor", "attention_factor"), ("yarn_beta_fast", "beta_fast")):
            if full.get(source) is not None:
                found[f"rope.scaling.{key}"] = full[source]
    if full.get("mscale_all_dim") is not None:
        found["rope.scaling.yarn_log_multiplier"] = 0.1 * full["mscale_all_dim"]
    if kind == "longrope":
        original = full["original_max_position_embeddings"]
        scale = config["max_position_embeddings"] / original
        found["rope.scaling.original_context_length"] = original
        found["rope.scaling.attn_factor"] = (
            math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
        )
    return found


def head_dim_of(config: Config) -> int:
    heads = config.get("num_attention_heads") or config["n_head"]
    return config.get("head_dim") or (config.get("hidden_size") or config["n_embd"]) // heads


def add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def add_tokenizer(writer: gguf.GGUFWriter, checkpoint: Path, config: Config) -> None:
    """Write the byte-level BPE tokenizer that all of tests' checkpoints have."""
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    ids = {index: token for token, index in tokenizer["model"]["vocab"].items()}
    special = {token["id"] for token in tokenizer["added_tokens"]}
    vocab_size = config["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([ids.get(index, f"[PAD{index}]") for index in range(vocab_size)])
    kinds = [5 if index not in ids else 3 if index in special else 1 for index in range(vocab_size)]
    writer.add_token_types(kinds)
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    if config.get("pad_token_id") is not None:
        writer.add_pad_token_id(config["pad_token_id"])
    template = checkpoint / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text())


def tensors(checkpoint: Path, config: Config, arch: MODEL_ARCH) -> Named:
    """Return the tensors as the file has them, under transformers' names or, where those do not map, the file's own."""
    stored = load_file(checkpoint / "model.safetensors")
    stored = {name.replace("language_model.", ""): array for name, array in stored.items()}
    if config.get("tie_word_embeddings", arch in SHIFTED) and "lm_head.weight" in stored:
        del stored["lm_head.weight"]
    for name, array in merged(stored, config, arch):
        if name.endswith((".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")):
            continue
        if arch in SHIFTED and name.endswith("norm.weight"):
            array = array + 1
        if arch in PERMUTED and ".self_attn.q_proj" in name:
            array = permuted(array, config["num_attention_heads"])
        if arch in PERMUTED and ".self_attn.k_proj" in name:
            array = permuted(array, config["num_key_value_heads"])
        if arch == MODEL_ARCH.GPT2 and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            array = array.T
        if arch == MODEL_ARCH.FALCON and "query_key_value" in name:
            array = ungrouped(array, config)
        yield name, array
    yield from rope_tensors(config, arch)


def merged(stored: Mapping[str, Array], config: Config, arch: MODEL_ARCH) -> Named:
    """Return the tensors with experts and heads' norms stacked, and those split that the file has apart."""
    stacks: dict[str, list[Array]] = {}
    for name, array in sorted(stored.items(), key=lambda item: natural(item[0])):
        layer = name.split(".")[2] if ".layers." in name else ""
        if ".experts." in name and name.split(".experts.")[1][0].isdigit():
            after = name.split(".experts.")[1]
            part = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}.get(
                after.split(".")[1], after.split(".")[1]
            )
            stored_part = {"gate_proj": "gate", "down_proj": "down", "up_proj": "up"}[part]
            stacks.setdefault(f"blk.{layer}.ffn_{stored_part}_exps.weight", []).append(array)
        elif "layernorm.norms." in name:
            kind = "q" if "q_layernorm" in name else "k"
            stacks.setdefault(f"blk.{layer}.attn_{kind}_norm.weight", []).append(array)
        elif name.startswith(("model.altup_projections", "model.altup_unembed_projections")):
            stacks.setdefault("altup_" + ("unembd_" if "unembed" in name else "") + "proj.weight", []).append(
                array
            )
        elif arch == MODEL_ARCH.GPT_OSS and ".experts." in name:
            yield from gpt_oss_experts(name, array, layer)
        elif name.endswith("mlp.experts.gate_up_proj"):
            gate, up = np.split(array, 2, axis=1)
            yield f"blk.{layer}.ffn_gate_exps.weight", gate
            yield f"blk.{layer}.ffn_up_exps.weight", up
        elif name.endswith("mlp.experts.down_proj"):
            yield f"blk.{layer}.ffn_down_exps.weight", array
        elif name.endswith("kv_b_proj.weight"):
            heads = array.reshape(config["num_attention_heads"], -1, array.shape[-1])
            keys, values = np.split(heads, [config["qk_nope_head_dim"]], axis=1)
            yield f"blk.{layer}.attn_k_b.weight", keys.swapaxes(1, 2)
            yield f"blk.{layer}.attn_v_b.weight", values
        elif name.endswith("e_score_correction_bias"):
            yield f"blk.{layer}.exp_probs_b.bias", array
        elif name.endswith("sinks"):
            yield f"blk.{layer}.attn_sinks.weight", array
        elif name.endswith("layer_scalar"):
            yield f"blk.{layer}.layer_output_scale.weight", array
        elif name.endswith("correct_output_scale"):
            yield f"blk.{layer}.altup_correct_scale.weight", array
        else:
            yield name, array
    for name, arrays in stacks.items():
        yield name, np.stack(arrays)
    del config


def natural(name: str) -> list[Any]:
    """A key that sorts numbers in names as numbers."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]


def gpt_oss_experts(name: str, array: Array, layer: str) -> Named:
    ending = "bias" if name.endswith("_bias") else "weight"
    array = array if ending == "bias" else array.swapaxes(1, 2)
    if "down_proj" in name:
        yield f"blk.{layer}.ffn_down_exps.{ending}", array
    else:
        yield f"blk.{layer}.ffn_gate_exps.{ending}", array[:, ::2]
        yield f"blk.{layer}.ffn_up_exps.{ending}", array[:, 1::2]


def permuted(array: Array, num_heads: int) -> Array:
    halves = array.reshape(num_heads, 2, array.shape[0] // num_heads // 2, *array.shape[1:])
    return halves.swapaxes(1, 2).reshape(array.shape)


def ungrouped(array: Array, config: Config) -> Array:
    num_heads = config["num_attention_heads"]
    groups = config["num_kv_heads"] if config["new_decoder_architecture"] or not config["multi_query"] else 1
    head_dim = config["hidden_size"] // num_heads
    heads = array.reshape(groups, num_heads // groups + 2, head_dim, *array.shape[1:])
    parts = (heads[:, :-2], heads[:, [-2]], heads[:, [-1]])
    return np.concatenate([part.reshape(-1, *array.shape[1:]) for part in parts])


def rope_tensors(config: Config, arch: MODEL_ARCH) -> Named:
    """Return the divisors of frequencies."""
    parameters = config.get("rope_parameters") or {}
    full = parameters.get("full_attention", parameters)
    kind = full.get("rope_type")
    if kind == "longrope":
        yield "rope_factors_long.weight", np.asarray(full["long_factor"])
        yield "rope_factors_short.weight", np.asarray(full["short_factor"])
    if kind == "proportional":
        head_dim = next(iter((config.get("per_layer_config") or {}).values()), {}).get("head_dim")
        head_dim = head_dim or config["global_head_dim"]
        rotated = int(head_dim * full["partial_rotary_factor"] / 2)
        yield "rope_freqs.weight", np.asarray([1.0] * rotated + [1e30] * (head_dim // 2 - rotated))
    if kind == "llama3":
        dim = head_dim_of(config)
        wavelengths = 2 * math.pi * full["rope_theta"] ** (np.arange(0, dim, 2) / dim)
        low, high = full["low_freq_factor"], full["high_freq_factor"]
        smooth = np.clip((full["original_max_position_embeddings"] / wavelengths - low) / (high - low), 0, 1)
        yield "rope_freqs.weight", 1 / ((1 - smooth) / full["factor"] + smooth)
    del arch
