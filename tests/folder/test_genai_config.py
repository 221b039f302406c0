from __future__ import annotations

import copy
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.errors import ModelFolderError
from genai.folder import DecoderConfig, GraphNames, StageConfig, read_genai_config, write_genai_config

CONFIG: dict[str, Any] = {
    "model": {
        "bos_token_id": 1,
        "context_length": 128,
        "decoder": {
            "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
            "filename": "model.onnx",
            "head_size": 8,
            "hidden_size": 32,
            "inputs": {
                "input_ids": "input_ids",
                "attention_mask": "attention_mask",
                "past_key_names": "past_key_values.%d.key",
                "past_value_names": "past_key_values.%d.value",
            },
            "outputs": {
                "logits": "logits",
                "present_key_names": "present.%d.key",
                "present_value_names": "present.%d.value",
            },
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
        },
        "eos_token_id": [2, 5],
        "pad_token_id": 0,
        "type": "llama",
        "vocab_size": 100,
    },
    "search": {"do_sample": False, "max_length": 128, "num_beams": 1, "past_present_share_buffer": True},
}


def config(**changes: Any) -> dict[str, Any]:
    """Return a genai_config.json with values changed; a key is a path with dots, and None removes it."""
    values = copy.deepcopy(CONFIG)
    for path, value in changes.items():
        *sections, key = path.split(".")
        section = values
        for name in sections:
            section = section.setdefault(name, {})
        if value is None:
            section.pop(key, None)
        else:
            section[key] = value
    return values


def read(**changes: Any) -> DecoderConfig:
    return read_genai_config(json.loads(json.dumps(config(**changes))))


def test_what_genai_writes_is_what_it_reads() -> None:
    assert write_genai_config(read()) == CONFIG


ROUND_TRIPS: list[dict[str, Any]] = [
    {},
    {"model.eos_token_id": []},
    {"model.decoder.inputs.past_names": "past_%d", "model.decoder.outputs.present_names": "present_%d"},
    {"model.decoder.session_options.provider_options": [{"cuda": {"enable_cuda_graph": "0"}}, {"dml": {}}]},
    {"model.decoder.sliding_window": {"window_size": 12, "layers": [0, 2]}, "model.tokenizer_dir": "text"},
    {
        "model.decoder.pipeline": [
            {"embed": {"filename": "e.onnx", "inputs": ["input_ids"], "outputs": ["x"]}},
            {
                "head": {
                    "filename": "h.onnx",
                    "inputs": ["x"],
                    "outputs": ["logits"],
                    "is_lm_head": True,
                    "session_options": {"provider_options": [{"cpu": {}}]},
                    "output_names_forwarder": {"logits": "y"},
                }
            },
        ]
    },
]


@pytest.mark.parametrize("changes", ROUND_TRIPS, ids=lambda changes: ", ".join(changes) or "plain")
def test_a_config_survives_a_round_trip(changes: dict[str, Any]) -> None:
    decoder = read(**changes)
    assert read_genai_config(write_genai_config(decoder)) == decoder


def test_names_of_inputs_and_outputs() -> None:
    decoder = read(
        **{
            "model.decoder.inputs.input_ids": "tokens",
            "model.decoder.inputs.past_key_names": "k_in.%d.key",
            "model.decoder.outputs.present_key_names": "k_out.%d.key",
            "model.decoder.outputs.logits": "scores",
        }
    )
    assert decoder.names == GraphNames(
        input_ids="tokens",
        past_key="k_in.%d.key",
        present_key="k_out.%d.key",
        past_conv="k_in.%d.conv_state",  # as onnxruntime-genai derives them
        past_recurrent="k_in.%d.recurrent_state",
        present_conv="k_out.%d.conv_state",
        present_recurrent="k_out.%d.recurrent_state",
        logits="scores",
    )
    found = decoder.names.canonical(
        ["tokens", "attention_mask", "k_in.12.key", "k_out.0.conv_state", "k_in.x.key"]
    )
    assert found == {
        "tokens": "input_ids",
        "k_in.12.key": "past_key_values.12.key",
        "k_out.0.conv_state": "present.0.conv_state",
    }


@given(st.integers(0, 10**6))
def test_a_canonical_name_is_left_alone(layer: int) -> None:
    names = [f"past_key_values.{layer}.key", f"present.{layer}.value", "input_ids", "logits"]
    assert GraphNames().canonical(names) == {}


def test_stages_of_a_pipeline() -> None:
    stages = {
        "prompt": {"filename": "p.onnx", "inputs": ["a"], "outputs": ["b"], "run_on_token_gen": False},
        "head": {
            "filename": "h.onnx",
            "inputs": ["b"],
            "outputs": ["logits"],
            "is_lm_head": True,
            "inherit_session_options": True,
            "session_options": {"graph_optimization_level": "ORT_DISABLE_ALL"},
            "output_names_forwarder": {"b": "c"},
        },
    }
    expected = (
        StageConfig("prompt", "p.onnx", ("a",), ("b",), run_on_token_gen=False),
        StageConfig(
            "head",
            "h.onnx",
            ("b",),
            ("logits",),
            is_lm_head=True,
            session_options={"log_id": "onnxruntime-genai", "graph_optimization_level": "ORT_DISABLE_ALL"},
            forwarded={"b": "c"},
        ),
    )
    for pipeline in (stages, [stages], [{name: stage} for name, stage in stages.items()]):
        decoder = read(**{"model.decoder.pipeline": pipeline, "model.decoder.filename": None})
        assert decoder.stages == expected
        assert decoder.filename == "p.onnx"


def test_provider_options_by_the_names_that_genai_uses() -> None:
    options = [
        {"DML": {}},
        {
            "CUDAExecutionProvider": {
                "enable_cuda_graph": "0",
                "device_filtering_options": {"hardware_device_id": 1},
            }
        },
        {"NvTensorRtRtx": None},
    ]
    decoder = read(**{"model.decoder.session_options.provider_options": options})
    assert decoder.provider_options == (
        ("directml", {}),
        ("cuda", {"enable_cuda_graph": "0"}),
        ("nv_tensorrt_rtx", {}),
    )
    assert decoder.session_options == {"log_id": "onnxruntime-genai"}


def test_what_may_be_absent() -> None:
    decoder = read(
        **{"model.decoder.hidden_size": None, "model.decoder.num_attention_heads": None, "search": None}
    )
    assert (decoder.num_heads, decoder.hidden_size, decoder.search) == (2, 16, {})
    assert read(**{"model.eos_token_id": None}).eos_token_ids == (
        0,
    )  # the one for padding, as its maker reads it
    assert read(**{"model.eos_token_id": []}).eos_token_ids == ()
    assert read(**{"model.eos_token_id": None, "model.pad_token_id": None}).eos_token_ids == ()


def test_unknown_keys_are_reported_in_one_line_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    changes = {
        "new": {"a": 1},
        "search.new": 1,
        "model.decoder.inputs.new": "x",
        "model.decoder.session_options.any.key": "1",
        "model.decoder.run_options": {"any.key": "1"},
        "speculative": {"max_draft_tokens": 4},
        "model.decoder.pipeline": [
            {
                "one": {
                    "filename": "a.onnx",
                    "inputs": [],
                    "outputs": [],
                    "color": "red",
                    "run_on_prompt": True,
                }
            }
        ],
    }
    with caplog.at_level(logging.WARNING, "genai.folder"):
        read(**changes)
    (record,) = caplog.records
    assert record.getMessage() == (
        "genai_config.json: unknown keys, which are passed over: model.decoder.inputs.new, "
        "model.decoder.pipeline.color, search.new, new"
    )


def test_known_keys_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    read(**{"model.decoder.sliding_window": {"window_size": 4, "cache_slack": 0}, "search.chunk_size": 8})
    assert caplog.records == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "model is missing; export the model again"),
        ({"model.context_length": None}, "model.context_length is missing"),
        ({"model.context_length": 0}, "model.context_length must be at least 1, not 0"),
        ({"model.decoder.head_size": "8"}, r"model.decoder.head_size must be an integer, not '8'"),
        ({"model.decoder.head_size": 8.5}, "must be an integer, not 8.5"),
        ({"model.vocab_size": True}, "must be an integer, not True"),
        ({"model.decoder.inputs": ["input_ids"]}, "model.decoder.inputs must be an object"),
        ({"model.decoder.filename": "../model.onnx"}, "must name a file within the folder"),
        ({"model.decoder.filename": "/etc/model.onnx"}, "must name a file within the folder"),
        ({"model.decoder.filename": "C:\\model.onnx"}, "must name a file within the folder"),
        (
            {"model.decoder.pipeline": [{"a": {"inputs": [], "outputs": []}}]},
            "pipeline.a.filename is missing",
        ),
        (
            {
                "model.type": "phi3v",
                "model.vision": {"filename": "v.onnx"},
                "model.embedding": {"filename": "e.onnx"},
            },
            r'a "phi3v" model is more than a text decoder \(it has the parts embedding, vision\)',
        ),
        ({"model.type": "whisper", "model.encoder": {"filename": "e.onnx"}}, "has the parts encoder"),
        (
            {"model.decoder.inputs": {"inputs_embeds": "inputs_embeds"}},
            "takes embeddings, not token ids",
        ),
    ],
)
def test_what_cannot_be_run_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFolderError, match=message):
        read(**changes)
