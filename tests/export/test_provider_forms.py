"""The forms that providers want: what the settings make of them, and what the graphs have and do without."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from genai.config import PROVIDER_FORMS, ExportSettings
from genai.errors import OptionError
from genai.export import carry_out, plan_export
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear, project, table
from genai.export.build.precision import Precision
from tests.checkpoints import make_checkpoint
from tests.export.quantized.encoders import CASES, make_pair
from tests.export.runner import GraphRunner, without_worst_positions
from tests.export.test_quantized_matrices import random_matrix

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.mark.parametrize(
    ("settings", "float_type"),
    [
        (ExportSettings(), "fp32"),
        (ExportSettings("fp16"), "fp16"),
        (ExportSettings("int8", provider="cuda"), "fp16"),
        (ExportSettings("int4", provider="cuda", activations="bf16"), "bf16"),
        (ExportSettings("keep", provider="webgpu"), "fp16"),
        (ExportSettings("int4", provider="webgpu", activations="fp32"), "fp32"),
    ],
)
def test_activations(settings: ExportSettings, float_type: str) -> None:
    assert settings.float_type == float_type


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16", "activations": "fp32"}, "choose precision fp32, or leave activations out"),
        ({"precision": "bf16", "provider": "webgpu"}, "webgpu computes in fp16 or fp32, not in bf16"),
        ({"activations": "bf16", "provider": "webgpu"}, "choose activations fp16"),
        ({"provider": "cude"}, 'Did you mean "cuda"'),
        ({"block_size": 256, "provider": "cuda"}, "cuda reads blocks of at most 128 .*choose block_size 128"),
        ({"activations": "fp8"}, "activations must be one of auto, fp32, fp16, bf16"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ExportSettings(**options)


def test_settings_that_mean_the_same_are_the_same() -> None:
    assert ExportSettings(activations="fp32") == ExportSettings()
    assert ExportSettings("fp16", activations="fp16") == ExportSettings("fp16")
    assert ExportSettings(provider="tensorrt", activations="fp16") == ExportSettings(provider="cuda")
    assert ExportSettings(provider="openvino").name == "int4"
    assert ExportSettings(provider="CUDAExecutionProvider") == ExportSettings(provider="CUDA")
    assert ExportSettings(provider="Cuda").provider == "cuda"


@pytest.mark.parametrize(
    ("family", "options", "line"),
    [
        (
            "llama",
            {"precision": "int4", "activations": "fp32"},
            "cuda has no kernel for GroupQueryAttention .* choose activations fp16 or bf16",
        ),
        (
            "llama",
            {"precision": "fp32"},
            "cuda .* GroupQueryAttention in fp32, .* choose precision fp16 or bf16",
        ),
        (
            "mixtral",
            {"precision": "int4", "activations": "fp32"},
            "cuda .* GroupQueryAttention and QMoE in fp32, ",
        ),
        (
            "llama",
            {"precision": "int4", "activations": "bf16", "provider": "cpu"},
            "cpu has not all kernels for bf16, so the folder cannot run there: choose activations fp32",
        ),
        ("mixtral", {"precision": "int4"}, None),
        ("llama", {"precision": "fp32", "provider": "webgpu"}, None),
        ("llama", {"precision": "fp32", "provider": "cpu"}, None),
    ],
)
def test_what_a_provider_leaves_to_the_cpu_is_said(
    tmp_path: Path, family: str, options: dict[str, str], line: str | None
) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    notes: list[str] = []
    plan = plan_export(checkpoint, ExportSettings(**{"provider": "cuda", **options}))
    carry_out(plan, tmp_path / "model", note=notes.append)
    if line is None:
        assert notes == []
    else:
        assert re.match(line, *notes)


def product_graph(settings: ExportSettings) -> onnx.GraphProto:
    """A product with a bias, and a head that shares a table."""
    g = GraphBuilder(
        Precision.of(settings),
        {
            "mlp.up.weight": random_matrix(64, 64, bits=4).dequantize(),
            "mlp.up.bias": random_matrix(1, 64, bits=4).dequantize()[0],
            "embedding.weight": random_matrix(96, 64, bits=8).dequantize(),
        },
    )
    x = g.input("x", g.precision.float_type, ["n", 64])
    with g.scope("mlp"):
        y = linear(g, x, "up")
    logits = project(g, y, table(g, "embedding"), name="head")
    g.output(logits, "y", g.precision.float_type, ["n", 96])
    return ir.to_proto(g.model(producer="test", version="0")).graph


def types_of(graph: onnx.GraphProto) -> list[str]:
    return [node.op_type for node in graph.node]


@pytest.mark.parametrize("provider", ["cpu", "webgpu"])
def test_a_bias_is_an_operand(provider: str) -> None:
    assert "Add" not in types_of(product_graph(ExportSettings("int8", provider=provider)))


@pytest.mark.parametrize("precision", ["int4", "int8"])
def test_cuda_has_what_its_fast_kernel_takes(precision: str) -> None:
    graph = product_graph(ExportSettings(precision, provider="cuda"))
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    assert len(products) == 2
    assert types_of(graph).count("Add") == 1
    assert "Cast" not in types_of(graph), "scales have the type of the activations"
    for node in products:
        assert len([name for name in node.input if name]) == 3
        assert {each.name: each.i for each in node.attribute}["block_size"] == 32


def test_scales_are_cast_to_the_activations() -> None:
    graph = product_graph(ExportSettings("int8", provider="cuda", activations="bf16"))
    casts = [node for node in graph.node if node.op_type == "Cast"]
    assert {each.attribute[0].i for each in casts} == {onnx.TensorProto.BFLOAT16}
    assert all(each.input[0].endswith(".scales") for each in casts)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_webgpu_has_no_fused_product(precision: str) -> None:
    assert "FusedMatMul" in types_of(product_graph(ExportSettings(precision)))
    types = types_of(product_graph(ExportSettings(precision, provider="webgpu")))
    assert "FusedMatMul" not in types
    assert "Transpose" in types


def test_experts_have_no_zero_points_where_the_kernel_takes_none() -> None:
    for provider, form in PROVIDER_FORMS.items():
        precision = Precision.of(ExportSettings(provider=provider))
        scheme = precision.scheme_of("layers.1.mlp.experts.down")
        assert scheme is not None
        assert scheme.is_symmetric != form.has_expert_zero_points


def test_experts_are_as_wide_as_the_kernel_wants(tmp_path: Path) -> None:
    """CUDA's experts have inputs and outputs in 64s; the zeros that they are padded with change nothing."""
    checkpoint = make_checkpoint("mixtral", tmp_path / "checkpoint", hidden_size=80)
    token_ids = list(range(3, 20))
    logits = {}
    for name, settings in {
        "floats": ExportSettings("fp32"),
        "cuda": ExportSettings("int8", provider="cuda", activations="fp32"),
    }.items():
        folder = carry_out(plan_export(checkpoint, settings), tmp_path / name)
        logits[name] = GraphRunner(folder).feed(token_ids)
    shapes = {
        each.name.removeprefix("layers.0.mlp.experts."): tuple(each.dims)
        for each in onnx.load(folder.model_path, load_external_data=False).graph.initializer
    }
    assert shapes["gate_up.weight"] == (5, 2 * 128, 128)
    assert shapes["down.weight"] == (5, 128, 128)
    found, expected = without_worst_positions(logits["cuda"], logits["floats"], share=0.2)
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


def test_coarse_blocks_are_no_larger_than_the_kernel_reads() -> None:
    for provider, size in (("cpu", 256), ("cuda", 128)):
        precision = Precision.of(ExportSettings("int4-small", block_size=128, provider=provider))
        assert precision.default_scheme is not None
        assert precision.default_scheme.block_size == size


def test_blocks_that_the_kernel_does_not_read_are_not_carried_over(tmp_path: Path) -> None:
    """A scale for each output, over 256 inputs, is kept for the CPU; for CUDA such a matrix is rounded to 8 bits."""
    pair = make_pair(CASES["gptq-per-channel"], tmp_path, hidden_size=256)
    stored = {}
    for provider in ("cpu", "cuda"):
        plan = plan_export(pair.quantized, ExportSettings("keep", provider=provider))
        folder = carry_out(plan, tmp_path / provider)
        assert folder.manifest is not None
        parameters = folder.manifest.exporter_notes["quantized_weights"]["parameters"]
        stored[provider] = parameters["layers.0.mlp.up.weight"]
    assert stored["cpu"]["carried_over"]
    assert (stored["cuda"]["stored"]["bits"], stored["cuda"]["stored"]["block_size"]) == (8, 32)


@pytest.mark.parametrize("family", ["bloom", "mpt"])
def test_cuda_adds_no_biases_over_a_cache_of_codes(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    plan_export(checkpoint, ExportSettings(kv_precision="int8"))
    with pytest.raises(OptionError, match=r"adds linear biases .* choose kv_precision auto"):
        plan_export(checkpoint, ExportSettings(kv_precision="int8", provider="cuda"))
