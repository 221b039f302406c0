"""RWKV-4: no attention, but a mean of all earlier values and a feed-forward block that sees the last token, in turns."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import ChannelMixSpec, DecoderSpec, LayerSpec, NormSpec, TimeMixSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Flat, WeightMap
from genai.export.layouts.llama import decoder_of

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json; a block of the checkpoint is two layers."""
    norm = NormSpec("layer", config.number("layer_norm_epsilon"), bias=True)
    size, num_blocks = config.integer("hidden_size"), config.integer("num_hidden_layers")
    time = TimeMixSpec(size, config.integer("attention_hidden_size", size), norm)
    channels = ChannelMixSpec(size, config.integer("intermediate_size", 4 * size), norm)
    layers = [
        layer
        for index in range(num_blocks)
        for layer in _halved(config, index, LayerSpec(time, None, None), LayerSpec(channels, None, None))
    ]
    decoder = decoder_of(config, layers, final_norm=NormSpec("layer", 1e-5, bias=True))
    return replace(decoder, embedding_norm=norm)


def _halved(config: ModelConfig, index: int, *layers: LayerSpec) -> list[LayerSpec]:
    """A block's layers, with the residual stream halved behind every n-th block, and what is added to it as often."""
    every = config.integer("rescale_every", minimum=-1)
    if every <= 0:
        return list(layers)
    *others, last = (replace(layer, residual_scale=0.5 ** (index // every)) for layer in layers)
    return [*others, replace(last, output_scale=1.0 if (index + 1) % every else 0.5)]


_TIME, _CHANNELS = "blocks.{half}.attention", "blocks.{half}.feed_forward"

_WEIGHTS: WeightMap = {
    "embedding": "embeddings",
    "embedding_norm": "blocks.0.pre_ln",
    "time_mix.norm": "blocks.{half}.ln1",
    "time_mix.k": f"{_TIME}.key",
    "time_mix.v": f"{_TIME}.value",
    "time_mix.r": f"{_TIME}.receptance",
    "time_mix.k_share": Flat(f"{_TIME}.time_mix_key"),
    "time_mix.v_share": Flat(f"{_TIME}.time_mix_value"),
    "time_mix.r_share": Flat(f"{_TIME}.time_mix_receptance"),
    "time_mix.decay_rates": f"{_TIME}.time_decay",
    "time_mix.bonus": f"{_TIME}.time_first",
    "time_mix.output": f"{_TIME}.output",
    "channel_mix.norm": "blocks.{half}.ln2",
    "channel_mix.up": f"{_CHANNELS}.key",
    "channel_mix.r": f"{_CHANNELS}.receptance",
    "channel_mix.up_share": Flat(f"{_CHANNELS}.time_mix_key"),
    "channel_mix.r_share": Flat(f"{_CHANNELS}.time_mix_receptance"),
    "channel_mix.down": f"{_CHANNELS}.value",
    "final_norm": "ln_out",
    "head": "head",
}


FAMILY = Family(
    architectures=("RwkvForCausalLM",),
    model_type="rwkv",
    spec=spec,
    weights=_WEIGHTS,
    defaults={
        "layer_norm_epsilon": 1e-5,
        "max_position_embeddings": 1024,
        "rescale_every": 6,
        "tie_word_embeddings": False,
    },
    aliases={"context_length": "max_position_embeddings"},
    prefixes=("rwkv.", ""),
)
