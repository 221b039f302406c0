"""Bad input: one clear error that names the culprit, and no folder that looks whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genai.errors import CheckpointError, ExportError, OptionError, UnsupportedModelError
from genai.export import ExportSettings, export_model, plan_export
from genai.export.write import graph_writer as writer_module
from tests.checkpoints import VOCAB_SIZE, make_checkpoint


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint("llama", tmp_path_factory.mktemp("llama") / "checkpoint")


@pytest.fixture
def checkpoint(llama: Path, tmp_path: Path) -> Path:
    """A checkpoint of the test's own, to be damaged."""
    return Path(shutil.copytree(llama, tmp_path / "checkpoint"))


def change_config(checkpoint: Path, **values: Any) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensors(checkpoint: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    change(tensors)
    save_file(tensors, checkpoint / "model.safetensors")


def assert_fails(checkpoint: Path, error: type[Exception], *parts: str, **options: Any) -> None:
    """The export raises this error with all these parts in its message, and leaves nothing behind."""
    parent = checkpoint.parent / "out"
    parent.mkdir(exist_ok=True)
    with pytest.raises(error) as caught:
        export_model(checkpoint, parent / "model", **{"via": "native", **options})
    for part in parts:
        assert part in str(caught.value)
    assert list(parent.iterdir()) == []


def test_an_unknown_architecture_names_the_nearest(checkpoint: Path) -> None:
    change_config(checkpoint, architectures=["LlamaForCausalML"])
    assert_fails(
        checkpoint,
        UnsupportedModelError,
        str(checkpoint),
        '"LlamaForCausalML"',
        'Did you mean "LlamaForCausalLM"?',
    )


@pytest.mark.parametrize("architectures", [None, [], "LlamaForCausalLM"])
def test_a_config_without_architecture(checkpoint: Path, architectures: object) -> None:
    change_config(checkpoint, architectures=architectures)
    assert_fails(checkpoint, CheckpointError, "config.json", '"architectures"')


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (
            {"rope_parameters": {"rope_type": "yarm", "factor": 2.0}},
            ['"rope_type" is "yarm"', 'mean "yarn"?'],
        ),
        ({"hidden_act": "mish"}, ['"hidden_act" is "mish"', "silu"]),
        (
            {"quantization_config": {"quant_method": "aqlm"}},
            ["quantization_config", '"quant_method" is "aqlm"', "gptq, modelopt", "quantized from"],
        ),
        ({"num_local_experts": 8}, ['"num_local_experts" is 8', "mixtures of experts"]),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.1}},
            ['"partial_rotary_factor"'],
        ),
        (
            {
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
                "rope_scaling": {"rope_type": "yarn", "factor": 4.0},
            },
            ['"rope_scaling"', '"rope_parameters"', "keep one of them"],
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}},
            ['"rope_parameters"', "each of full_attention", "none for all layers"],
        ),
    ],
)
def test_a_config_that_asks_for_too_much(checkpoint: Path, values: dict[str, Any], parts: list[str]) -> None:
    change_config(checkpoint, **values)
    assert_fails(checkpoint, UnsupportedModelError, str(checkpoint), *parts)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"hidden_size": None}, ['"hidden_size" is missing']),
        ({"hidden_size": "48"}, ['"hidden_size" must be a whole number', "'48'"]),
        ({"num_hidden_layers": -1}, ['"num_hidden_layers"', ">= 1", "-1"]),
        ({"num_hidden_layers": 0}, ['"num_hidden_layers"', ">= 1"]),
        ({"num_attention_heads": 0}, ['"num_attention_heads"', ">= 1"]),
        ({"rms_norm_eps": "tiny"}, ['"rms_norm_eps" must be a number']),
        ({"tie_word_embeddings": 1}, ['"tie_word_embeddings" must be true or false']),
        ({"num_key_value_heads": 3}, ["4 query heads", "3 key/value heads"]),
        ({"rope_parameters": {"rope_type": "linear"}}, ['rope_parameters: the key "factor" is missing']),
        ({"rope_parameters": [1]}, ['"rope_parameters" must be an object']),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0}}, ['"factor" must be a number > 0']),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": -1.0}}, ['"rope_theta"', "> 0"]),
        ({"rms_norm_eps": float("nan")}, ['"rms_norm_eps" must be a finite number']),
        ({"eos_token_id": "</s>"}, ['"eos_token_id" must be a token id', "</s>"]),
        ({"text_config": [1]}, ['"text_config" must be an object']),
        ({"eos_token_id": [2, None]}, ['"eos_token_id" must be a token id']),
        ({"pad_token_id": 0.5}, ['"pad_token_id" must be a token id']),
    ],
)
def test_a_config_that_makes_no_sense(checkpoint: Path, values: dict[str, Any], parts: list[str]) -> None:
    (checkpoint / "generation_config.json").unlink()
    change_config(checkpoint, **values)
    assert_fails(checkpoint, CheckpointError, str(checkpoint), *parts)


def test_heads_that_onnx_runtime_cannot_compute(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", head_dim=20)
    assert_fails(checkpoint, UnsupportedModelError, "heads of 20 dimensions", "multiple of 8")
    with pytest.raises(UnsupportedModelError, match="heads of 20 dimensions"):
        plan_export(checkpoint, ExportSettings(via="native"))


def test_gemma_with_bidirectional_attention(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gemma3_text", tmp_path / "checkpoint")
    change_config(checkpoint, use_bidirectional_attention=True)
    assert_fails(checkpoint, UnsupportedModelError, '"use_bidirectional_attention"')


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"hidden_activation": None}, ['"hidden_activation" is missing']),
        ({"query_pre_attn_scalar": 0}, ['"query_pre_attn_scalar" must be a number > 0']),
    ],
)
def test_a_gemma_config_that_makes_no_sense(values: dict[str, Any], parts: list[str], tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gemma2", tmp_path / "checkpoint")
    change_config(checkpoint, **values)
    assert_fails(checkpoint, CheckpointError, *parts)


def test_an_unknown_layer_type(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gemma2", tmp_path / "checkpoint")
    change_config(checkpoint, layer_types=["full_attention", "linear_attention", "full_attention"])
    assert_fails(checkpoint, UnsupportedModelError, '"layer_types"', '"linear_attention"')


def test_longrope_factors_of_the_wrong_number(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("phi3", tmp_path / "checkpoint")
    rope = {
        "rope_type": "longrope",
        "short_factor": [1.0],
        "long_factor": [1.0] * 8,
        "partial_rotary_factor": 0.5,
    }
    change_config(checkpoint, rope_parameters=rope)
    assert_fails(checkpoint, UnsupportedModelError, '"short_factor" must hold 8 numbers', "not 1")


def test_a_missing_tensor(checkpoint: Path) -> None:
    change_tensors(checkpoint, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    assert_fails(checkpoint, CheckpointError, '"model.layers.1.mlp.up_proj.weight" is missing')


def test_a_misshapen_tensor(checkpoint: Path) -> None:
    name = "model.layers.0.self_attn.k_proj.weight"
    change_tensors(checkpoint, lambda tensors: tensors.update({name: tensors[name][:-1].copy()}))
    assert_fails(checkpoint, CheckpointError, "model.safetensors", f'"{name}"', "[31, 48]", "[32, 48]")


def test_a_misshapen_transposed_tensor(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gpt2", tmp_path / "checkpoint")
    name = "transformer.h.0.attn.c_attn.weight"
    change_tensors(checkpoint, lambda tensors: tensors.update({name: tensors[name][:, 1:].copy()}))
    assert_fails(checkpoint, CheckpointError, f'"{name}"', "[64, 191]", "[64, 192]")


def test_a_tensor_that_would_be_ignored(checkpoint: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.bias"
    change_tensors(checkpoint, lambda tensors: tensors.update({name: np.ones(64, np.float32)}))
    assert_fails(checkpoint, UnsupportedModelError, f'"{name}"', "has no place in LlamaForCausalLM")


@pytest.mark.parametrize(
    ("value", "precision"),
    [(np.nan, "fp32"), (np.inf, "int4"), (np.nan, "int8"), (1e6, "fp16")],
    ids=["nan", "inf, quantized", "nan, quantized", "too much for fp16"],
)
def test_a_weight_that_the_precision_cannot_hold(value: float, precision: str, checkpoint: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = value

    change_tensors(checkpoint, change)
    assert_fails(
        checkpoint,
        CheckpointError,
        str(checkpoint),
        "layers.1.mlp.down",
        "infinite or no number",
        precision=precision,
    )


def test_a_tied_head_that_is_stored(checkpoint: Path) -> None:
    """One that is the embedding is passed over; transformers would use another one instead of the embedding."""
    change_config(checkpoint, tie_word_embeddings=True)
    assert_fails(checkpoint, CheckpointError, '"lm_head.weight" is not the embedding', "tie_word_embeddings")
    change_tensors(
        checkpoint,
        lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].copy()}),
    )
    export_model(checkpoint, checkpoint.parent / "model", precision="int4")


def test_buffers_of_old_checkpoints_are_passed_over(checkpoint: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    change_tensors(checkpoint, lambda tensors: tensors.update({name: np.ones(8, np.float32)}))
    export_model(checkpoint, checkpoint.parent / "model", precision="int4")


def test_a_tensor_of_a_type_that_is_no_float(checkpoint: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    change_tensors(checkpoint, lambda tensors: tensors.update({name: tensors[name].astype(np.int8)}))
    assert_fails(checkpoint, CheckpointError, f'"{name}" has type I8', "BF16")


@pytest.mark.parametrize("size", [4, 200, 20_000])
def test_a_truncated_file(checkpoint: Path, size: int) -> None:
    path = checkpoint / "model.safetensors"
    assert path.stat().st_size > size
    os.truncate(path, size)
    assert_fails(checkpoint, CheckpointError, str(path), "truncated")


def test_a_file_that_is_no_safetensors(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes((5).to_bytes(8, "little") + b"hello")
    assert_fails(checkpoint, CheckpointError, "model.safetensors", "not JSON")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1]},
        "text",
    ],
)
def test_a_header_that_lies(checkpoint: Path, entry: object) -> None:
    header = json.dumps({"model.norm.weight": entry}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(64)
    (checkpoint / "model.safetensors").write_bytes(content)
    assert_fails(checkpoint, CheckpointError, "model.safetensors", '"model.norm.weight"')


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", max_shard_size="50KB")
    shard = sorted(checkpoint.glob("*.safetensors"))[1]
    shard.unlink()
    assert_fails(checkpoint, CheckpointError, shard.name, "is missing")


@pytest.mark.parametrize("weight_map", [None, ["model.safetensors"], {"lm_head.weight": 1}])
def test_an_index_that_makes_no_sense(weight_map: object, checkpoint: Path) -> None:
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_fails(checkpoint, CheckpointError, "model.safetensors.index.json", '"weight_map"')


def test_a_checkpoint_of_pickles(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    assert_fails(checkpoint, CheckpointError, "pytorch_model.bin", "not an archive", "save_pretrained")
    (checkpoint / "pytorch_model.bin").rename(checkpoint / "consolidated.pth")
    assert_fails(
        checkpoint, CheckpointError, "no safetensors file, and no pytorch_model.bin", "consolidated.pth"
    )


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert_fails(tmp_path / "nowhere", CheckpointError, "nowhere", "not a folder")


def test_a_config_that_is_no_json(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{")
    assert_fails(checkpoint, CheckpointError, "config.json", "JSON")


@pytest.mark.parametrize("content", ["{", "[]", '{"temperature": -1}'])
def test_a_generation_config_that_makes_no_sense(checkpoint: Path, content: str) -> None:
    """It is seen before gigabytes are written, and the message names the checkpoint's own file."""
    path = checkpoint / "generation_config.json"
    path.write_text(content)
    assert_fails(checkpoint, CheckpointError, str(path))


def test_a_context_beyond_the_checkpoints(checkpoint: Path) -> None:
    assert_fails(checkpoint, OptionError, "max_context must be at most 256", "257", max_context=257)
    change_config(checkpoint, rope_parameters={"rope_type": "dynamic", "factor": 2.0})
    assert_fails(checkpoint, OptionError, "at most 256", "dynamic rotary scaling", max_context=512)


def test_a_context_beyond_what_an_indexer_takes_whole(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("deepseek_v32", tmp_path / "checkpoint", index_topk=64)
    assert_fails(checkpoint, OptionError, "at most 64", "its indexer chooses", max_context=65)
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32")
    assert exported.decoder.context_length == 64
    assert exported.manifest is not None
    assert "(index_topk)" in exported.manifest.attributes["context_limit_reason"]


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_a_context_that_is_no_length(checkpoint: Path, value: object) -> None:
    assert_fails(checkpoint, OptionError, "max_context must be a whole number >= 1", max_context=value)


def test_an_unknown_precision(checkpoint: Path) -> None:
    assert_fails(checkpoint, OptionError, '"itn4"', 'Did you mean "int4"?', precision="itn4")


def test_a_full_disk_is_seen_before_writing(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(checkpoint)._replace(free=1_000_000)
    monkeypatch.setattr(writer_module.shutil, "disk_usage", lambda path: usage)
    assert_fails(checkpoint, ExportError, "no room on the disk", "needs 67,", "1,000,000 are free")


def test_a_disk_that_fills_up_while_writing(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer_module, "_write_data", fail)
    assert_fails(checkpoint, ExportError, "no room on the disk", "are free")


def test_an_interrupted_export_leaves_nothing(checkpoint: Path) -> None:
    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    assert_fails(checkpoint, KeyboardInterrupt, progress=interrupt)  # type: ignore[arg-type]


def test_an_existing_target_is_kept_unless_overwritten(checkpoint: Path) -> None:
    target = checkpoint.parent / "model"
    target.mkdir()
    (target / "precious.txt").write_text("mine")
    with pytest.raises(ExportError, match="exists already"):
        export_model(checkpoint, target)
    assert [path.name for path in target.iterdir()] == ["precious.txt"]
    with pytest.raises(ExportError, match="no model folder, and overwriting would remove"):
        export_model(checkpoint, target, overwrite=True)
    assert [path.name for path in target.iterdir()] == ["precious.txt"]
    (target / "genai_config.json").write_text("{}")
    exported = export_model(checkpoint, target, overwrite=True)
    assert exported.decoder.vocab_size == VOCAB_SIZE
    assert not (target / "precious.txt").exists()


def test_a_checkpoint_is_never_replaced_by_its_export(checkpoint: Path) -> None:
    for target in (checkpoint, checkpoint.parent):
        with pytest.raises(ExportError, match="would replace the checkpoint"):
            export_model(checkpoint, target, overwrite=True)
    assert (checkpoint / "model.safetensors").is_file()
