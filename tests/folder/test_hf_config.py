from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

from genai.errors import ModelFolderError
from genai.folder import DecoderConfig
from genai.folder.graph_files import GraphFile
from genai.folder.hf_config import decoder_from_hf_config

FOLDER = Path("folder")


def read(values: dict[str, Any]) -> DecoderConfig:
    return decoder_from_hf_config(values, graph=GraphFile("onnx/model.onnx", "fp32"), folder=FOLDER)


LLAMA = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}

FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "llama": ("LlamaConfig", {**LLAMA, "num_key_value_heads": 2, "head_dim": 16}, 2),
    "gpt2": (
        "GPT2Config",
        {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        4,
    ),
    "gpt_bigcode": (
        "GPTBigCodeConfig",
        {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        1,
    ),
    "gpt_neo": (
        "GPTNeoConfig",
        {**LLAMA, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
        4,
    ),
    "gptj": (
        "GPTJConfig",
        {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        4,
    ),
    "falcon": ("FalconConfig", {**LLAMA, "multi_query": True}, 1),
    "mpt": (
        "MptConfig",
        {"vocab_size": 100, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
        4,
    ),
    "opt": ("OPTConfig", LLAMA, 4),
    "bloom": (
        "BloomConfig",
        {"vocab_size": 100, "hidden_size": 32, "n_layer": 2, "n_head": 4, "seq_length": 64},
        4,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_own_words(family: str) -> None:
    class_name, values, num_kv_heads = FAMILIES[family]
    values = {key: value for key, value in values.items() if key != "model_type"}
    config = getattr(transformers, class_name)(**values, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    decoder = read(config.to_dict())
    assert (decoder.model_type, decoder.vocab_size, decoder.context_length) == (family, 100, 64)
    assert (decoder.hidden_size, decoder.num_layers, decoder.num_heads) == (32, 2, 4)
    assert decoder.num_kv_heads == num_kv_heads
    assert decoder.head_dim == values.get("head_dim", 8)
    assert (decoder.bos_token_id, decoder.eos_token_ids, decoder.pad_token_id) == (1, (2,), 0)


def test_the_text_part_of_a_larger_model() -> None:
    text = {**LLAMA, "model_type": "gemma3_text", "eos_token_id": [1, 106]}
    decoder = read({"model_type": "gemma3", "eos_token_id": 1, "text_config": text})
    assert (decoder.model_type, decoder.eos_token_ids) == ("gemma3_text", (1, 106))


def test_numbers_per_layer() -> None:
    decoder = read(
        {**LLAMA, "num_attention_heads": None, "num_query_heads": [12, 16], "num_kv_heads": [3, 4]}
    )
    assert (decoder.num_heads, decoder.num_kv_heads) == (16, 4)


def test_a_model_without_positions_has_a_usable_length() -> None:
    assert read({**LLAMA, "max_position_embeddings": None}).context_length == 2048


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_encoder_decoder": True}, 'a "llama" model is an encoder with a decoder'),
        ({"vocab_size": None}, "config.json has none of vocab_size, n_vocab"),
        ({"num_hidden_layers": "2"}, "config.json has none of num_hidden_layers"),
        ({"num_attention_heads": True}, "config.json has none of num_attention_heads"),
    ],
)
def test_what_cannot_be_run_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFolderError, match=message):
        read({**LLAMA, **changes})
