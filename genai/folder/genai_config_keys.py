"""The keys of genai_config.json that onnxruntime-genai 0.18 knows (src/config.cpp), and news of those it does not.

A key that is in no release genai knows of is reported by the logger "genai.folder", in one line per file, and passed
over. Known keys that change nothing here (run options, the settings of its own engine and of its own speculation) are
passed over in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from genai.folder.files import CONFIG_FILE

__all__ = ["INPUT_KEYS", "OTHER_PARTS", "OUTPUT_KEYS", "report_unknown_keys"]

logger = logging.getLogger("genai.folder")

INPUT_KEYS: Mapping[str, str] = {
    "input_ids": "input_ids",
    "attention_mask": "attention_mask",
    "position_ids": "position_ids",
    "past_key_names": "past_key",
    "past_value_names": "past_value",
    "past_names": "past",
    "past_conv_names": "past_conv",
    "past_sequence_length": "past_sequence_length",
    "total_sequence_length": "total_sequence_length",
}
OUTPUT_KEYS: Mapping[str, str] = {
    "logits": "logits",
    "present_key_names": "present_key",
    "present_value_names": "present_value",
    "present_names": "present",
    "present_conv_names": "present_conv",
}
"""Keys that name inputs and outputs, with the fields of GraphNames that they fill."""

OTHER_PARTS = ("embedding", "encoder", "joiner", "speech", "vad", "vision")
"""Sections of models that are more than a text decoder."""

_KNOWN: Mapping[str, frozenset[str]] = {
    "": frozenset({"engine", "model", "search", "speculative"}),
    "model": frozenset(
        {
            *OTHER_PARTS,
            *("bos_token_id", "context_length", "decoder", "decoder_start_token_id", "draft", "eos_token_id"),
            *("mtp", "pad_token_id", "sep_token_id", "tokenizer_dir", "type", "vocab_size"),
            *("bor_token_id", "bot_token_id", "eor_token_id", "eot_token_id"),
            *("audio_token_id", "boa_token_id", "image_token_id", "video_token_id", "vision_start_token_id"),
        }
    ),
    "model.decoder": frozenset(
        {
            *("conv_cache_size", "filename", "head_size", "hidden_size", "inputs", "layer_types", "outputs"),
            *("num_attention_heads", "num_hidden_layers", "num_key_value_heads", "pipeline", "run_options"),
            *("session_options", "shared_initializers", "sliding_window"),
        }
    ),
    "model.decoder.inputs": frozenset(
        {
            *INPUT_KEYS,
            *("attention_metadata", "block_table", "block_table_windowed", "cache_indirection"),
            *("cross_past_key_names", "cross_past_value_names", "cumulative_sequence_lengths"),
            *("current_sequence_length", "encoder_attention_mask", "encoder_hidden_states", "hidden_states"),
            *("inputs_embeds", "lstm_cell_state", "lstm_hidden_state", "past_key_values_length"),
            *("past_sequence_lengths", "per_layer_inputs", "rnn_states_prev", "targets", "targets_length"),
        }
    ),
    "model.decoder.outputs": frozenset(
        {
            *OUTPUT_KEYS,
            *("hidden_states", "lstm_cell_state", "lstm_hidden_state", "output_cross_qk_names", "outputs"),
            *("outputs_length", "rnn_states"),
        }
    ),
    "model.decoder.pipeline": frozenset(
        {
            *(
                "filename",
                "inherit_session_options",
                "inputs",
                "is_lm_head",
                "output_names_forwarder",
                "outputs",
            ),
            *("reset_session_idx", "run_on_prompt", "run_on_token_gen", "run_options", "session_options"),
        }
    ),
    "model.decoder.sliding_window": frozenset(
        {
            *("alignment", "cache_slack", "layers", "pad_value", "slide_inputs", "slide_key_value_cache"),
            "window_size",
        }
    ),
    "search": frozenset(
        {
            *(
                "batch_size",
                "blank_penalty",
                "chunk_size",
                "diversity_penalty",
                "do_sample",
                "early_stopping",
            ),
            *("length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beams"),
            *("num_return_sequences", "past_present_share_buffer", "random_seed", "repetition_penalty"),
            *("temperature", "top_k", "top_p"),
        }
    ),
}
"""The keys that may stand in each section, but for session options, where any may."""


def report_unknown_keys(values: Mapping[str, Any]) -> None:
    """Warn of a genai_config.json's keys that nothing here understands."""
    unknown = list(_unknown_keys(values, ""))
    if unknown:
        logger.warning("%s: unknown keys, which are passed over: %s", CONFIG_FILE, ", ".join(unknown))


def _unknown_keys(section: Mapping[str, Any], path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for key, value in section.items():
        inner = f"{prefix}{key}"
        if key not in _KNOWN[path]:
            yield inner
        elif inner == "model.decoder.pipeline":
            groups = value if isinstance(value, list) else [value]
            for stage in (stage for group in groups for stage in group.values()):
                yield from _unknown_keys(stage, inner)
        elif inner in _KNOWN and isinstance(value, Mapping):
            yield from _unknown_keys(value, inner)
