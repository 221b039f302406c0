"""What a caller can ask for: options of a generation, chat messages and settings of an export, as frozen values.

Nothing here knows a model, a tokenizer or a device; a check that needs one of them happens where it is known.
"""

from __future__ import annotations

from genai.config.annotations import type_of
from genai.config.export import (
    ACTIVATIONS,
    CALIBRATED_METHODS,
    EXPORT_VERSION,
    KV_PRECISIONS,
    PRECISIONS,
    QUANTIZE_METHODS,
    VIAS,
    ExportOptions,
    ExportSettings,
    check_block_size,
)
from genai.config.generation import CODE_OPTIONS, LEAST_TEMPERATURE, GenerationConfig
from genai.config.generation_options import GenerationOptions, LogitsFunction, StoppingCriterion
from genai.config.message import Message
from genai.config.messages import plain_messages
from genai.config.option import Option, did_you_mean_option, options_of
from genai.config.option_schemas import option_schemas
from genai.config.provider_form import FLOAT_TYPES, PROVIDER_FORMS, ProviderForm, provider_form, provider_name
from genai.config.response_format import JSON_WHITESPACE, ResponseFormat, ResponseFormatLike
from genai.config.run import (
    OPTIMIZE_FOR,
    SHARE_OF_FREE_MEMORY,
    RunOptions,
    check_optimize_for,
    check_run_options,
)
from genai.config.samplers import NEUTRAL_FILTERS, SAMPLERS
from genai.config.tool_call import CutCall, ToolCall, ToolChoiceLike
from genai.config.watermark import GreenListSettings, SynthIDSettings, WatermarkSettings

__all__ = [
    "ACTIVATIONS",
    "CALIBRATED_METHODS",
    "CODE_OPTIONS",
    "EXPORT_VERSION",
    "FLOAT_TYPES",
    "JSON_WHITESPACE",
    "KV_PRECISIONS",
    "LEAST_TEMPERATURE",
    "NEUTRAL_FILTERS",
    "OPTIMIZE_FOR",
    "PRECISIONS",
    "PROVIDER_FORMS",
    "QUANTIZE_METHODS",
    "SAMPLERS",
    "SHARE_OF_FREE_MEMORY",
    "VIAS",
    "CutCall",
    "ExportOptions",
    "ExportSettings",
    "GenerationConfig",
    "GenerationOptions",
    "GreenListSettings",
    "LogitsFunction",
    "Message",
    "Option",
    "ProviderForm",
    "ResponseFormat",
    "ResponseFormatLike",
    "RunOptions",
    "StoppingCriterion",
    "SynthIDSettings",
    "ToolCall",
    "ToolChoiceLike",
    "WatermarkSettings",
    "check_block_size",
    "check_optimize_for",
    "check_run_options",
    "did_you_mean_option",
    "option_schemas",
    "options_of",
    "plain_messages",
    "provider_form",
    "provider_name",
    "type_of",
]
