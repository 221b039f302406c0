"""GPT-J: attention and feed-forward in parallel, neighbouring dimensions rotated together, a head with a bias."""

from __future__ import annotations

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope import RopeSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.gpt import gpt_mlp
from genai.export.layouts.llama import refuse_foreign_parts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_foreign_parts(config)
    hidden_size, num_heads = config.integer("n_embd"), config.integer("n_head")
    head_dim = hidden_size // num_heads
    norm = NormSpec("layer", config.number("layer_norm_epsilon"), bias=True)
    rope = RopeSpec(config.integer("rotary_dim"), 10000.0, interleaved=True)
    layer = LayerSpec(
        AttentionSpec(num_heads, num_heads, head_dim, rope=rope),
        gpt_mlp(
            config, size_key="n_inner", default_size=4 * hidden_size, activation_key="activation_function"
        ),
        input_norm=norm,
        parallel=True,
    )
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=config.integer("n_positions"),
        layers=(layer,) * config.integer("n_layer"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings"),
        head_bias=True,
    )


FAMILY = Family(
    architectures=("GPTJForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        "embedding": "wte",
        "input_norm": "h.{i}.ln_1",
        "attention.q": "h.{i}.attn.q_proj",
        "attention.k": "h.{i}.attn.k_proj",
        "attention.v": "h.{i}.attn.v_proj",
        "attention.output": "h.{i}.attn.out_proj",
        "mlp.up": "h.{i}.mlp.fc_in",
        "mlp.down": "h.{i}.mlp.fc_out",
        "final_norm": "ln_f",
        "head": "lm_head",
    },
    defaults={
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "rotary_dim": 64,
        "tie_word_embeddings": False,
    },
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    prefixes=("transformer.", ""),
)
