"""int8 and int4 graphs against transformers with the dequantized weights, and the sharing of tied embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers

from genai.export import export_model
from genai.folder import ModelFolder
from genai.quantize import BlockScheme, dequantize_rows, quantize_rows, quantize_scales
from tests.checkpoints import FAMILIES, VOCAB_SIZE, load_reference, make_checkpoint
from tests.export.runner import GraphRunner

PROMPT = np.random.default_rng(0).integers(3, VOCAB_SIZE, 24).tolist()


def dequantized_reference(checkpoint: Path, scheme: BlockScheme) -> transformers.PreTrainedModel:
    """Return transformers' model with every matrix rounded as the export rounds it."""
    model = load_reference(checkpoint)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Embedding) and not _is_positions(model, module):
                module.weight.copy_(_round_trip(module.weight, scheme))
            elif isinstance(module, transformers.pytorch_utils.Conv1D):
                module.weight.copy_(_round_trip(module.weight.T, scheme).T)
    return model


def _is_positions(model: transformers.PreTrainedModel, module: torch.nn.Module) -> bool:
    return module is getattr(model.base_model, "wpe", None)


def _round_trip(weight: torch.Tensor, scheme: BlockScheme) -> torch.Tensor:
    rows = weight.numpy().astype(np.float32)
    codes, scales = quantize_rows(rows, scheme), quantize_scales(rows, scheme)
    return torch.from_numpy(dequantize_rows(codes, scales, scheme, num_columns=rows.shape[1]).copy())


def with_float_activations(folder: ModelFolder) -> ModelFolder:
    """Make MatMulNBits compute in floats, so that nothing but the weights is rounded."""
    model = onnx.load(folder.model_path, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                assert attribute.i == 4
                attribute.i = 1
    onnx.save(model, folder.model_path)
    return folder


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def expected_logits(checkpoint: Path, scheme: BlockScheme) -> np.ndarray:
    with torch.no_grad():
        return dequantized_reference(checkpoint, scheme)(torch.tensor([PROMPT])).logits[0].numpy()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_logits_are_those_of_the_dequantized_weights(family: str, precision: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    exported = export_model(checkpoint, tmp_path / "model", precision=precision)
    expected = expected_logits(checkpoint, BlockScheme(int(precision[3:]), 32))
    # With int8 activations (accuracy_level 4) a product is off by 0.5 to 1 %, which adds up over the layers.
    assert relative_error(GraphRunner(exported).feed(PROMPT), expected) < 5e-2
    assert relative_error(GraphRunner(with_float_activations(exported)).feed(PROMPT), expected) < 1e-4


@pytest.mark.parametrize("block_size", [16, 64, 128, 256])
@pytest.mark.parametrize("tied", [False, True])
def test_every_block_size_works(block_size: int, tied: bool, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", tie_word_embeddings=tied)
    exported = export_model(checkpoint, tmp_path / "model", precision="int4", block_size=block_size)
    assert exported.manifest is not None
    assert exported.manifest.quantization["block_size"] == block_size
    expected = expected_logits(checkpoint, BlockScheme(4, block_size))
    assert relative_error(GraphRunner(with_float_activations(exported)).feed(PROMPT), expected) < 1e-4


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_tied_embeddings_are_stored_once(precision: str, tmp_path: Path) -> None:
    """The tied model has the untied one's tensors but for a second table, and its head reads the same bytes."""
    sizes = {}
    for tied in (False, True):
        checkpoint = make_checkpoint("llama", tmp_path / f"checkpoint {tied}", tie_word_embeddings=tied)
        exported = export_model(checkpoint, tmp_path / f"model {tied}", precision=precision)
        sizes[tied] = (exported.path / "model.onnx.data").stat().st_size
    table = {"fp32": 48 * 4, "fp16": 48 * 2, "int8": 64 + 2 * 4, "int4": 32 + 2 * 4}[precision] * VOCAB_SIZE
    assert table - 256 <= sizes[False] - sizes[True] <= table + 256


def test_scales_and_floats_of_quantized_graphs_are_fp32(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gpt2", tmp_path / "checkpoint", dtype=torch.bfloat16)
    exported = export_model(checkpoint, tmp_path / "model", precision="int4")
    model = onnx.load(exported.model_path, load_external_data=False)
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert types <= {onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT64}
