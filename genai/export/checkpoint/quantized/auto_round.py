"""AutoRound (https://arxiv.org/abs/2309.05516) as Intel's tool stores it in the packing of GPTQ.

The parts are those of `Gptq`, with groups of neighbours. Its `packing_format` "auto_round:auto_gptq" has zeros less 1, like
the format "gptq"; "auto_round" and "auto_round:gptqmodel" have them as they are. The reference is `QuantLinear` in
auto_round_extension/torch.
"""

from __future__ import annotations

from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.format import ADVICE
from genai.export.checkpoint.quantized.gptq import GPTQ_BITS, Gptq

__all__ = ["read_auto_round"]

_ZERO_OFFSETS = {
    "auto_round:auto_gptq": 1,
    "auto_round:gptq": 1,
    "auto_round": 0,
    "auto_round:gptqmodel": 0,
}
_MIN_FLOAT_BITS = 16
# How it was made, or how activations would be rounded.
_DESCRIPTIVE = (
    *("act_data_type", "act_dynamic", "act_group_size", "act_sym", "amp", "autoround_version", "batch_size"),
    *("block_name_to_quantize", "dataset", "enable_minmax_tuning", "enable_norm_bias_tuning"),
    *("enable_quanted_input", "gradient_accumulate_steps", "iters", "low_gpu_mem_usage", "lr", "minmax_lr"),
    *("modules_to_not_convert", "nsamples", "provider", "quant_block_list", "quant_method", "scale_dtype"),
    *("seqlen", "static_attention_dtype", "static_attention_granularity", "static_kv_dtype"),
    *("static_kv_granularity", "supported_types", "sym", "to_quant_block_names"),
)


def read_auto_round(config: ModelConfig) -> Gptq:
    """Read a quantization_config of AutoRound.

    Raises:
        UnsupportedModelError: Its matrices are packed in another way.
    """
    known = ("act_bits", "backend", "bits", "data_type", "extra_config", "group_size", "packing_format")
    config.refuse_others((*known, *_DESCRIPTIVE), ADVICE)
    packing = config.string("packing_format", config.string("backend", "auto_round:auto_gptq"))
    if packing not in _ZERO_OFFSETS:
        raise config.unsupported(
            "packing_format",
            f'is "{packing}"; of AutoRound genai reads {", ".join(_ZERO_OFFSETS)}, which are packed like GPTQ: {ADVICE}',
        )
    config.refuse("data_type", ADVICE, unless=(None, "int"))
    config.refuse("act_bits", ADVICE, unless=(None, _MIN_FLOAT_BITS, 32))
    bits, group_size = config.integer("bits"), config.integer("group_size", -1, minimum=-1)
    if bits not in GPTQ_BITS:
        raise config.unsupported("bits", f"is {bits}; genai reads {', '.join(map(str, GPTQ_BITS))}: {ADVICE}")
    others = config.part("extra_config") if "extra_config" in config else ModelConfig({})
    for name in others.part_names():
        module = others.part(name)
        if module.integer("bits", bits) < _MIN_FLOAT_BITS:  # of how many else, its tensors show
            module.refuse("group_size", ADVICE, unless=(None, group_size))
            module.refuse("data_type", ADVICE, unless=(None, "int"))
    return Gptq(bits, group_size, _ZERO_OFFSETS[packing], is_ordered=False)
