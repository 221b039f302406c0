"""What no format can be: parts that are missing, misshapen or lie, and settings that nobody knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export import export_model
from genai.export.checkpoint.checkpoint import read_config
from genai.export.checkpoint.formats import can_keep, open_checkpoint
from tests.export.quantized.encoders import CASES, make_pair

MODULE = "model.layers.0.self_attn.q_proj"
Change = Callable[[torch.Tensor], torch.Tensor | None]

CHANGES: dict[str, Change] = {
    "missing": lambda part: None,
    "another type": lambda part: part.to(torch.int16 if part.dtype != torch.int16 else torch.int64),
    "floats": lambda part: part.to(torch.float16 if part.dtype != torch.float16 else torch.float64),
    "one row less": lambda part: part[:-1] if part.ndim else part.reshape(1, 1, 1),
    "one column less": lambda part: part[:, :-1] if part.ndim == 2 else part.repeat(2, 2),
    "no rows": lambda part: part[:0] if part.ndim else torch.zeros(0),
    "another axis": lambda part: part[None],
    "largest bytes": lambda part: (
        torch.full_like(part.view(torch.uint8), 255).view(part.dtype) if part.ndim else part
    ),
}


def changed(checkpoint: Path, ending: str, change: Change) -> None:
    """Change one part of one module in the file."""
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    part = change(tensors.pop(f"{MODULE}{ending}"))
    if part is not None:
        tensors[f"{MODULE}{ending}"] = part.contiguous()
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["gptq-act-order", "gptq-3", "awq-gemm", "awq-gemv", "compressed-int4-asymmetric",
    "compressed-int4-act-order", "compressed-w8a8-asymmetric", "compressed-fp8-block", "compressed-nvfp4",
    "compressed-mxfp4", "modelopt-nvfp4", "fp8-tensor", "bitsandbytes-nested", "bitsandbytes-int8", "torchao-int8",
    "torchao-int4"])  # fmt: skip
def test_a_part_that_does_not_fit_is_one_clear_error(name: str, change: str, tmp_path: Path) -> None:
    """Or it fits all the same, where formats leave a choice; then there is a matrix."""
    pair = make_pair(CASES[name], tmp_path)
    original = (pair.quantized / "model.safetensors").read_bytes()
    endings = [
        key.removeprefix(MODULE) for key in load_file(pair.quantized / "model.safetensors") if MODULE in key
    ]
    refusals: list[str] = []
    for ending in endings:
        (pair.quantized / "model.safetensors").write_bytes(original)
        changed(pair.quantized, ending, CHANGES[change])
        checkpoint = open_checkpoint(pair.quantized, read_config(pair.quantized))
        try:
            with np.errstate(all="ignore"):
                view = checkpoint[f"{MODULE}.weight"]
                view[:], view[:, 3:9]
            if (
                view.shape != pair.matrices[f"{MODULE}.weight"].shape
            ):  # which the decoder's shapes then refuse
                refusals.append(MODULE)
        except CheckpointError as error:
            refusals.append(str(error))
        except KeyError:
            assert f"{MODULE}.weight" not in checkpoint
            refusals.append(MODULE)
    assert refusals or change == "largest bytes"
    assert all(MODULE in refusal for refusal in refusals)


@pytest.mark.parametrize("group", [-1, 2, 1 << 30])
def test_inputs_of_groups_that_do_not_exist(group: int, tmp_path: Path) -> None:
    pair = make_pair(CASES["gptq-act-order"], tmp_path)

    def replace_one(part: torch.Tensor) -> torch.Tensor:
        part[5] = group
        return part

    changed(pair.quantized, ".g_idx", replace_one)
    with pytest.raises(CheckpointError, match=rf"{MODULE}\.g_idx.*does not fit.*there are 2"):
        export_model(pair.quantized, tmp_path / "model", precision="keep", via="native")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no JSON"),
        (b"[]", "no JSON object"),
        (b'{"blocksize": 64}', '"shape" is missing'),
        (b'{"blocksize": 0, "shape": [64, 64]}', '"blocksize" must be'),
        (b'{"blocksize": 64, "shape": [64, 99999999999]}', "99999999999"),
        (b'{"blocksize": 64, "shape": [-64, -64]}', "no matrix"),
        (b'{"blocksize": 64, "shape": [4096]}', "no matrix"),
        (b"[" * 60_000, "is no JSON"),
    ],
)
def test_a_state_of_bitsandbytes_that_lies(content: bytes, message: str, tmp_path: Path) -> None:
    pair = make_pair(CASES["bitsandbytes-nf4"], tmp_path)
    state = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    changed(pair.quantized, ".weight.quant_state.bitsandbytes__nf4", lambda part: state)
    with pytest.raises(CheckpointError, match=message):
        export_model(pair.quantized, tmp_path / "model", precision="fp32", via="native")


def test_a_shape_of_compressed_tensors_that_lies(tmp_path: Path) -> None:
    pair = make_pair(CASES["compressed-int4"], tmp_path)
    for shape in ([64, 1 << 40], [-1, -1], [64, 0], [65, 64]):
        changed(pair.quantized, ".weight_shape", lambda part, shape=shape: torch.tensor(shape))
        with pytest.raises(CheckpointError, match="holds no matrix of shape"):
            export_model(pair.quantized, tmp_path / "model", precision="fp32", via="native")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "gptq",
            {"quant_method": "quip"},
            '"quant_method" is "quip".*it reads auto-round, awq, bitnet, bitsandbytes',
        ),
        (
            "gptq",
            {"quant_method": "unheard"},
            '"unheard", which genai does not read; it reads.*Export the checkpoint',
        ),
        ("gptq", {"quant_method": "aqlm"}, "AQLM adds vectors of codebooks; it reads.*Export the checkpoint"),
        ("gptq", {"quant_method": "hqq"}, "HQQ.*--quantize hqq"),
        ("gptq", {"quant_method": "quanto"}, "Quanto's tensors are stored as its own classes"),
        ("gptq", {"quant_method": "vptq"}, "VPTQ"),
        ("gptq", {"quant_method": "spqr"}, "SpQR"),
        ("gptq", {"quant_method": "eetq"}, "EETQ"),
        ("gptq", {"quant_method": "higgs"}, "HIGGS"),
        (
            "auto-round",
            {"packing_format": "auto_round:auto_awq"},
            'is "auto_round:auto_awq"; of AutoRound genai',
        ),
        ("auto-round", {"data_type": "mx_fp"}, "\"data_type\" is 'mx_fp'"),
        ("auto-round", {"act_bits": 8}, '"act_bits" is 8'),
        ("auto-round", {"bits": 5}, '"bits" is 5'),
        ("auto-round", {"rotation_configs": [{}]}, '"rotation_configs"'),
        (
            "auto-round",
            {"extra_config": {"lm_head": {"bits": 8, "group_size": 1}}},
            'lm_head: "group_size" is 1',
        ),
        ("gptq", {"quant_method": "gtpq"}, 'Did you mean "gptq"'),
        ("gptq", {"quant_method": None}, '"quant_method" is missing'),
        ("gptq", {"bits": 5}, '"bits" is 5; of GPTQ genai reads 2, 3, 4, 8'),
        ("gptq", {"bits": "four"}, '"bits" must be a whole number'),
        ("gptq", {"checkpoint_format": "marlin"}, 'is "marlin"; genai reads gptq and gptq_v2'),
        ("gptq", {"is_marlin_format": True}, '"is_marlin_format" is True, which genai does not know'),
        ("gptq", {"rotation": "hadamard"}, "\"rotation\" is 'hadamard', which genai does not know"),
        ("awq-gemm", {"version": "gemv_fast"}, 'is "gemv_fast"; of AWQ genai reads gemm and gemv'),
        ("awq-gemm", {"bits": 3}, '"bits" is 3'),
        ("compressed-int4", {"format": "marlin-24"}, '"format" is "marlin-24"'),
        ("compressed-int4", {"quantization_status": "frozen"}, '"quantization_status" is "frozen"'),
        ("compressed-int4", {"sparsity_config": {"format": "sparse-bitmask"}}, "sparse-bitmask"),
        ("compressed-int4", {"transform_config": {"R1": {"type": "hadamard"}}}, '"transform_config"'),
        ("compressed-int4", {"config_groups": {"W4A16": ["Linear"]}}, '"W4A16"'),
        ("compressed-int4", {"config_groups": {"a": {"weights": {"type": "float4"}}}}, '"type" is "float4"'),
        ("compressed-int4", {"config_groups": {"a": {"weights": {"dynamic": True}}}}, '"dynamic" is True'),
        ("bitsandbytes-nf4", {"llm_int8_has_fp16_weight": True}, "llm_int8_has_fp16_weight"),
        ("fp8-tensor", {"weight_block_size": [128]}, "two whole numbers"),
        ("fp8-tensor", {"expert_dtype": "fp4"}, '"expert_dtype"'),
        ("modelopt-fp8", {"quant_algo": "W4A8_AWQ"}, '"quant_algo" is "W4A8_AWQ"'),
    ],
)
def test_settings_that_are_not_supported_are_named(
    name: str, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Before any weights need be there."""
    pair = make_pair(CASES[name], tmp_path)
    (pair.quantized / "model.safetensors").unlink()
    config = json.loads((pair.quantized / "config.json").read_text())
    config["quantization_config"] |= values
    (pair.quantized / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        export_model(pair.quantized, tmp_path / "model", precision="int4")


def test_the_file_of_the_model_optimizer(tmp_path: Path) -> None:
    """Its own framework reads the quantization from a file beside config.json."""
    pair = make_pair(CASES["modelopt-nvfp4"], tmp_path)
    config = json.loads((pair.quantized / "config.json").read_text())
    settings = config.pop("quantization_config")
    (pair.quantized / "config.json").write_text(json.dumps(config))
    described = {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8",
        "group_size": 16,
        "exclude_modules": ["lm_head"],
    }
    path = pair.quantized / "hf_quant_config.json"
    path.write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": described}))
    assert settings["quant_method"] == "modelopt"
    view = open_checkpoint(pair.quantized, read_config(pair.quantized))[f"{MODULE}.weight"]
    np.testing.assert_array_equal(view[:], pair.matrices[f"{MODULE}.weight"])
    path.write_text(json.dumps({"quantization": {"quant_algo": "MIXED_PRECISION"}}))
    with pytest.raises(UnsupportedModelError, match='"quant_algo" is "MIXED_PRECISION"'):
        export_model(pair.quantized, tmp_path / "model")
    path.write_text(json.dumps({"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}))
    assert not read_config(pair.quantized).get("quantization_config")


def test_tensors_of_torchao_that_are_laid_out_for_a_kernel(tmp_path: Path) -> None:
    pair = make_pair(CASES["torchao-int8"], tmp_path)
    path = pair.quantized / "model.safetensors"
    tensors = load_file(path)
    described = {"_type": "Int4TilePackedTo4dTensor", "_data": {"block_size": [1, 64]}}
    save_file(tensors, path, metadata={f"{MODULE}.weight": json.dumps(described)})
    with pytest.raises(
        UnsupportedModelError, match='"_type" is "Int4TilePackedTo4dTensor", which is not supported'
    ):
        open_checkpoint(pair.quantized, read_config(pair.quantized))[f"{MODULE}.weight"]
    save_file(tensors, path)
    with pytest.raises(UnsupportedModelError, match="does not say which tensor of torchao"):
        open_checkpoint(pair.quantized, read_config(pair.quantized))[f"{MODULE}.weight"]


def test_the_quantization_of_a_part_of_the_config() -> None:
    """A model of several modalities may have it in its text_config; another key is an old name of it."""
    config = {"quant_method": "gptq", "bits": 4}
    assert can_keep({"quantization_config": config})
    assert can_keep({"text_config": {"quantization_config": config}})
    compressed = CASES["compressed-int4"].config
    assert can_keep({"compression_config": compressed})
    assert not can_keep({"quantization_config": None})
    assert not can_keep({})
