"""Every format against its description: rows, an export as floats, and an export that keeps the codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from genai.errors import OptionError, UnsupportedModelError
from genai.export import export_model
from genai.export.checkpoint.checkpoint import Checkpoint, read_config
from genai.export.checkpoint.formats import open_checkpoint
from genai.export.checkpoint.rows import codes_of
from genai.folder import ModelFolder
from tests.checkpoints import VOCAB_SIZE, load_reference
from tests.export.quantized.encoders import CASES, Pair, bitnet_online, gptq, make_pair
from tests.export.runner import GraphRunner, without_worst_positions

PROMPT = np.random.default_rng(3).integers(3, VOCAB_SIZE, 24).tolist()


def opened(path: Path) -> Checkpoint:
    return open_checkpoint(path, read_config(path))


def expected_logits(pair: Pair) -> np.ndarray:
    with torch.no_grad():
        return load_reference(pair.floats)(torch.tensor([PROMPT])).logits[0].numpy()


def with_float_activations(folder: ModelFolder) -> ModelFolder:
    """Let the products of an export compute with floats, so that nothing but the weights is rounded."""
    path = folder.model_path
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    onnx.save(model, path)
    return folder


def scale_type_of(pair: Pair) -> np.dtype:
    """Scales that the file holds as float16, and that are used as they are, take no more bytes in the folder."""
    ending = "down_proj.scales", "down_proj.weight_scale", "down_proj.weight:_weight_scale"
    stored = load_file(pair.quantized / "model.safetensors")
    return np.dtype(
        "float16"
        if any(name.endswith(ending) and part.dtype == torch.float16 for name, part in stored.items())
        else "float32"
    )


@pytest.mark.parametrize("name", CASES)
def test_rows_are_what_the_format_says(name: str, tmp_path: Path) -> None:
    pair = make_pair(CASES[name], tmp_path)
    checkpoint = opened(pair.quantized)
    floats = opened(pair.floats)
    assert pair.matrices.keys() <= checkpoint.keys()
    assert {each for each in sorted(checkpoint.keys()) if not each.endswith(".bias")} == floats.keys()
    for tensor, matrix in pair.matrices.items():
        view = checkpoint[tensor]
        assert view.shape == matrix.shape
        np.testing.assert_array_equal(view[:], matrix)
        np.testing.assert_array_equal(view[3:9], matrix[3:9])
        for columns in (slice(0, 7), slice(5, 6), slice(16, 48), slice(33, 64), slice(9, 9)):
            np.testing.assert_array_equal(view[:, columns], matrix[:, columns])
            np.testing.assert_array_equal(view[2:5, columns], matrix[2:5, columns])
        codes = codes_of(view)
        assert (codes is not None) == CASES[name].is_kept
        if codes is not None:
            np.testing.assert_array_equal(codes.dequantize(), matrix)
            np.testing.assert_array_equal(codes.dequantize(slice(4, 6)), matrix[4:6])


@pytest.mark.parametrize("name", CASES)
def test_an_export_as_floats_is_the_model_of_the_decoded_weights(name: str, tmp_path: Path) -> None:
    pair = make_pair(CASES[name], tmp_path)
    exported = export_model(pair.quantized, tmp_path / "model", precision="fp32", via="native")
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected_logits(pair), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_keep_carries_the_codes_over(name: str, tmp_path: Path) -> None:
    pair = make_pair(CASES[name], tmp_path)
    if not CASES[name].is_kept:
        with pytest.raises(OptionError, match="no quantized weights that could be kept"):
            export_model(pair.quantized, tmp_path / "model", precision="keep", via="native")
        return
    exported = export_model(pair.quantized, tmp_path / "model", precision="keep", via="native")
    model = onnx.load(exported.model_path)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    codes = codes_of(opened(pair.quantized)["model.layers.1.mlp.down_proj.weight"])
    assert codes is not None
    np.testing.assert_array_equal(stored["layers.1.mlp.down.weight"], codes.codes[:])
    np.testing.assert_array_equal(stored["layers.1.mlp.down.scales"], codes.scales[:])
    assert stored["layers.1.mlp.down.scales"].dtype == scale_type_of(pair)
    assert exported.manifest is not None
    told = exported.manifest.exporter_notes["quantized_weights"]["parameters"]
    assert len(told) == len(pair.matrices)
    assert told["layers.1.mlp.down.weight"] == {"was": codes.scheme.method, "carried_over": True}
    assert stored["embedding.weight"].dtype == np.float32
    expected = expected_logits(pair)
    rounded = GraphRunner(exported).feed(PROMPT)
    assert np.linalg.norm(rounded - expected) < 0.05 * np.linalg.norm(expected)
    found = GraphRunner(with_float_activations(exported)).feed(PROMPT)
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)


def test_groups_of_unequal_sizes_are_decoded(tmp_path: Path) -> None:
    pair = make_pair(gptq(order="unequal"), tmp_path)
    for tensor, matrix in pair.matrices.items():
        view = opened(pair.quantized)[tensor]
        np.testing.assert_array_equal(view[:], matrix)
        assert codes_of(view) is None
    exported = export_model(pair.quantized, tmp_path / "model", precision="keep", via="native")
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected_logits(pair), atol=1e-4, rtol=0)
    assert exported.manifest is not None
    told = exported.manifest.exporter_notes["quantized_weights"]
    assert told["decoded"] == {"gptq": len(pair.matrices)}
    assert told["parameters"]["layers.1.mlp.down.weight"]["stored"] == "float"


@pytest.mark.parametrize("name", ["gptq", "bitsandbytes-nf4", "fp8-tensor"])
def test_other_precisions_quantize_anew(name: str, tmp_path: Path) -> None:
    """As from the decoded checkpoint, byte for byte."""
    pair = make_pair(CASES[name], tmp_path)
    files = []
    for checkpoint in (pair.quantized, pair.floats):
        exported = export_model(
            checkpoint, tmp_path / checkpoint.name / "model", precision="int8", via="native"
        )
        assert exported.manifest is not None
        files.append(exported.manifest.files["model.onnx.data"])
    assert files[0] == files[1]


@pytest.mark.parametrize("precision", ["fp32", "keep"])
@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("phi3", "gptq-asymmetric"),
        ("qwen2", "awq-gemm"),
        ("gpt2", "gptq-act-order"),
        ("gpt2", "bitsandbytes-int8"),
        ("qwen3_moe", "compressed-int4-asymmetric"),
        ("mixtral", "gptq"),
        ("lfm2", "compressed-w8a8"),
    ],
)
def test_families_that_store_modules_otherwise(
    family: str, name: str, precision: str, tmp_path: Path
) -> None:
    """Fused, with biases, transposed in floats, as experts."""
    sizes = {"hidden_size": 128, "intermediate_size": 96}
    pair = make_pair(CASES[name], tmp_path, family=family, **sizes)
    assert pair.matrices
    exported = export_model(pair.quantized, tmp_path / "model", precision=precision, via="native")
    found, expected = GraphRunner(with_float_activations(exported)).feed(PROMPT), expected_logits(pair)
    if precision == "fp32":
        np.testing.assert_allclose(found, expected, atol=2e-4, rtol=0)
    else:
        found, expected = without_worst_positions(found, expected, share=0.3)
        assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


@pytest.mark.parametrize("precision", ["fp32", "keep"])
def test_what_bitnet_rounds_in_every_product_is_rounded_once(precision: str, tmp_path: Path) -> None:
    pair = make_pair(bitnet_online(), tmp_path, family="bitnet")
    checkpoint = opened(pair.quantized)
    for tensor, matrix in pair.matrices.items():
        np.testing.assert_allclose(checkpoint[tensor][:], matrix, rtol=1e-6)
    exported = export_model(pair.quantized, tmp_path / "model", precision=precision, via="native")
    found = GraphRunner(with_float_activations(exported)).feed(PROMPT)
    np.testing.assert_allclose(found, expected_logits(pair), atol=1e-3, rtol=0)


def test_rounding_in_every_product_is_refused_where_it_is_not_known_of_what(tmp_path: Path) -> None:
    pair = make_pair(bitnet_online(), tmp_path)
    with pytest.raises(UnsupportedModelError, match='"quantization_mode" is "online"'):
        export_model(pair.quantized, tmp_path / "model", precision="fp32", via="native")
