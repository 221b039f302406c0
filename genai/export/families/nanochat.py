"""nanochat: llama without weights in its norms, squared rectifiers, queries and keys normalized after they are rotated."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.gpt import gpt_mlp
from genai.export.layouts.llama import decoder_of, head_dim_of, llama_attention

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"), weight=False)
    rope = replace(read_rope(config, head_dim=head_dim_of(config)), is_reversed=True)
    attention = replace(llama_attention(config, rope=rope), qk_norm=norm, qk_norm_after_rope=True)
    layer = LayerSpec(attention, gpt_mlp(config, bias=False), input_norm=norm, mlp_norm=norm)
    return replace(
        decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm),
        embedding_norm=norm,
        logit_softcap=config.optional_number("final_logit_softcapping"),
    )


FAMILY = Family(
    architectures=("NanoChatForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        "embedding": "embed_tokens",
        "attention.q": "layers.{i}.self_attn.q_proj",
        "attention.k": "layers.{i}.self_attn.k_proj",
        "attention.v": "layers.{i}.self_attn.v_proj",
        "attention.output": "layers.{i}.self_attn.o_proj",
        "mlp.up": "layers.{i}.mlp.fc1",
        "mlp.down": "layers.{i}.mlp.fc2",
        "head": "lm_head",
    },
    defaults={
        "final_logit_softcapping": 15.0,
        "hidden_act": "relu2",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    },
)
