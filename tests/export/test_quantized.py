"""int8 and int4 graphs against transformers with the dequantized weights, and the sharing of tied embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers

from genai.config import ExportSettings
from genai.export import carry_out, export_model, plan_export
from genai.export.build.precision import Precision
from genai.export.exporter import open_weights
from genai.folder import ModelFolder
from genai.quantize import BlockScheme, dequantize_rows, round_to_nearest
from tests.checkpoints import FAMILIES, VOCAB_SIZE, has_experts, load_reference, make_checkpoint
from tests.export.runner import GraphRunner, without_worst_positions

PROMPT = np.random.default_rng(0).integers(3, VOCAB_SIZE, 24).tolist()

ACTIVATION_ERRORS = {"granitemoehybrid": 0.2, "jamba": 0.2, "mamba": 0.2, "qwen3_5_text": 0.4}
"""What int8 activations may cost, where it is more than usual: the heads' norms of linear attention stretch errors, and a state
remembers that a token took another expert."""

UNQUANTIZED = (
    "linear_attn.in_proj_a",
    "linear_attn.in_proj_b",
    "linear_attn.in_proj_ba",
    "linear_attn.a_proj",
)
UNQUANTIZED += ("linear_attn.b_proj", "router.gate")
UNQUANTIZED += (
    "feed_forward.router",
    "mlp.gate.wg",
    "mlp.router",
    "mlp.shared_expert_gate",
    "self_attn.kv_b_proj",
)
UNQUANTIZED += ("forget_gate.f_a_proj", "forget_gate.f_b_proj", "forget_gate.f_proj", "self_attn.b_proj")
UNQUANTIZED += ("router.proj", "altup.correction_coefs", "altup.prediction_coefs", "altup.modality_router")
"""Matrices that the export does not round; of a Mamba layer's input it leaves the rows that are steps, the last ones, and of
what selects in Mamba-1 those that are keys and queries."""

QUANTIZED_ATTRIBUTES = ("accuracy_level", "block_size", "expert_weight_bits", "weights_prepacked")
"""What QMoE has and MoE has not."""


def dequantized_reference(
    checkpoint: Path, default: BlockScheme, schemes: Mapping[str, BlockScheme] | None = None
) -> transformers.PreTrainedModel:
    """Return transformers' model with every matrix rounded as the export rounds it; some otherwise, by their names."""
    model = load_reference(checkpoint)
    if schemes:  # a tied head may be rounded otherwise than the embedding
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    rounded: set[int] = set()
    with torch.no_grad():
        for name, module in model.named_modules():
            scheme = (schemes or {}).get(name, default)
            if name.endswith(UNQUANTIZED) or _is_positions(model, module):
                continue
            if isinstance(getattr(module, "weight", None), torch.Tensor):
                if module.weight.data_ptr() in rounded:  # a tied head
                    continue
                rounded.add(module.weight.data_ptr())
            rates = getattr(model.get_submodule(name.rpartition(".")[0]), "A_log", None)
            if name.endswith(".in_proj") and rates is not None and rates.ndim == 1:
                num_rounded = len(module.weight) - len(rates)
                module.weight[:num_rounded] = _round_trip(module.weight[:num_rounded], scheme)
            elif name.endswith(".x_proj"):
                num_rounded = len(module.weight) - 2 * rates.shape[1]
                module.weight[:num_rounded] = _round_trip(module.weight[:num_rounded], scheme)
            elif isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                module.weight.copy_(_round_trip(module.weight, scheme))
            elif isinstance(module, transformers.pytorch_utils.Conv1D):
                module.weight.copy_(_round_trip(module.weight.T, scheme).T)
            elif type(module).__name__.endswith("Experts"):
                _round_experts(module, scheme)
    return model


def _round_experts(module: torch.nn.Module, scheme: BlockScheme) -> None:
    """Round stacked matrices, which gpt-oss and Llama 4 have as [experts, inputs, outputs]."""
    for matrices in (
        module.gate_up_proj if hasattr(module, "gate_up_proj") else module.up_proj,
        module.down_proj,
    ):
        for matrix in matrices:
            rows = matrix.T if type(module).__name__.startswith(("GptOss", "Llama4")) else matrix
            rows.copy_(_round_trip(rows, scheme))


def _is_positions(model: transformers.PreTrainedModel, module: torch.nn.Module) -> bool:
    return module is getattr(model.base_model, "wpe", None) or "Position" in type(module).__name__


def _round_trip(weight: torch.Tensor, scheme: BlockScheme) -> torch.Tensor:
    return torch.from_numpy(round_to_nearest(weight.numpy().astype(np.float32), scheme).copy())


def with_float_activations(folder: ModelFolder) -> ModelFolder:
    """Make the products compute in floats, so that nothing but the weights is rounded."""
    model = onnx.load(folder.model_path, load_external_data=False)
    for node in model.graph.node:
        if node.op_type == "QMoE" and onnx.helper.get_node_attr_value(node, "expert_weight_bits") == 8:
            _dequantize_experts(model, node, folder.path)  # there is no kernel with float activations
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                assert attribute.i == 4
                attribute.i = 1
    onnx.save(model, folder.model_path)
    return folder


def _dequantize_experts(model: onnx.ModelProto, node: onnx.NodeProto, folder: Path) -> None:
    """Turn a QMoE of 8 bits into a MoE of the weights that it stands for."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}

    casts = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}

    def read(name: str) -> np.ndarray:
        array = onnx.numpy_helper.to_array(stored[casts.get(name, name)], str(folder))
        return array.astype(np.float32) if name in casts else array

    scheme = BlockScheme(8, onnx.helper.get_node_attr_value(node, "block_size"))
    names = list(node.input)
    for weight, scale in ((2, 3), (5, 6)):
        codes, scales = read(names[weight]), read(names[scale])
        blocks = codes.reshape(-1, scales.shape[-1], scheme.block_size)
        rows = dequantize_rows(blocks, scales.reshape(blocks.shape[:2]), scheme, num_columns=codes.shape[-1])
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(rows.reshape(codes.shape), f"{names[weight]}.float")
        )
        names[weight] += ".float"
    del node.input[:]
    node.input.extend(name for index, name in enumerate(names) if index not in (3, 6))
    node.op_type = "MoE"
    kept = [a for a in node.attribute if a.name not in QUANTIZED_ATTRIBUTES]
    del node.attribute[:]
    node.attribute.extend(kept)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def expected_logits(
    checkpoint: Path, default: BlockScheme, schemes: Mapping[str, BlockScheme] | None = None
) -> np.ndarray:
    with torch.no_grad():
        model = dequantized_reference(checkpoint, default, schemes)
        return model(torch.tensor([PROMPT])).logits[0].numpy()


def uniform(precision: Precision) -> Precision:
    """Return a precision whose modules all have its default scheme."""
    return dataclasses.replace(precision, recipe=None, schemes={})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_logits_are_those_of_the_dequantized_weights(family: str, precision: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    plan = plan_export(checkpoint, ExportSettings(precision, via="native"))
    plan = dataclasses.replace(plan, precision=uniform(plan.precision))
    exported = carry_out(plan, tmp_path / "model")
    assert plan.precision.default_scheme is not None
    expected = expected_logits(checkpoint, plan.precision.default_scheme)
    # With int8 activations (accuracy_level 4) a product is off by 0.5 to 1 %, which adds up over the layers.
    found = GraphRunner(exported).feed(PROMPT)
    kept = without_worst_positions(found, expected, share=0.5) if has_experts(family) else (found, expected)
    assert relative_error(*kept) < ACTIVATION_ERRORS.get(family, 5e-2)
    assert relative_error(GraphRunner(with_float_activations(exported)).feed(PROMPT), expected) < 1e-4


@pytest.mark.parametrize("block_size", [16, 64, 128, 256])
@pytest.mark.parametrize("tied", [False, True])
def test_every_block_size_works(block_size: int, tied: bool, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", tie_word_embeddings=tied)
    plan = plan_export(checkpoint, ExportSettings("int4", block_size, via="native"))
    assert plan.native is not None
    mixed = plan.precision.mixed_for(open_weights(plan, plan.native))
    plan = dataclasses.replace(plan, precision=dataclasses.replace(mixed, recipe=None))
    exported = carry_out(plan, tmp_path / "model")
    assert exported.manifest is not None
    assert exported.manifest.quantization["block_size"] == block_size
    expected = expected_logits(checkpoint, *int4_recipe(checkpoint, block_size))
    assert relative_error(GraphRunner(with_float_activations(exported)).feed(PROMPT), expected) < 1e-4


def test_blocks_fit_the_matrices_if_no_size_is_asked_for(tmp_path: Path) -> None:
    """Rows of 192 weights have whole blocks of 64, of 256 weights of 128; the attention's output has 8 bits."""
    checkpoint = make_checkpoint(
        "llama", tmp_path / "checkpoint", hidden_size=192, intermediate_size=256, num_hidden_layers=3
    )
    plan = plan_export(checkpoint, ExportSettings("int4", via="native"))
    assert plan.native is not None
    mixed = plan.precision.mixed_for(open_weights(plan, plan.native))
    plan = dataclasses.replace(plan, precision=dataclasses.replace(mixed, recipe=None))  # not balanced
    exported = carry_out(plan, tmp_path / "model")
    assert exported.manifest is not None
    assert exported.manifest.quantization["block_size"] == 64
    default, schemes = int4_recipe(checkpoint, 32)
    outputs = (f"model.layers.{layer}.self_attn.o_proj" for layer in range(3))
    schemes |= dict.fromkeys(outputs, schemes["lm_head"])
    schemes["model.layers.1.mlp.down_proj"] = dataclasses.replace(default, block_size=128)
    expected = expected_logits(checkpoint, dataclasses.replace(default, block_size=64), schemes)
    assert relative_error(GraphRunner(with_float_activations(exported)).feed(PROMPT), expected) < 1e-4


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_tied_embeddings_are_stored_once(precision: str, tmp_path: Path) -> None:
    """The tied model has the untied one's tensors but for a second table, and its head reads the same bytes."""
    sizes = {}
    for tied in (False, True):
        checkpoint = make_checkpoint("llama", tmp_path / f"checkpoint {tied}", tie_word_embeddings=tied)
        exported = export_model(checkpoint, tmp_path / f"model {tied}", precision=precision, via="native")
        sizes[tied] = (exported.path / "model.onnx.data").stat().st_size
    table = {"fp32": 48 * 4, "fp16": 48 * 2, "int8": 64 + 2 * 2, "int4": 64 + 2}[precision] * VOCAB_SIZE
    assert table - 256 <= sizes[False] - sizes[True] <= table + 256


INT4, INT8 = BlockScheme(4, 32, is_symmetric=False, scale_type="float16"), BlockScheme(8, 32)
LARGE_BLOCKS = BlockScheme(4, 64)


def int4_recipe(checkpoint: Path, block_size: int) -> tuple[BlockScheme, dict[str, BlockScheme]]:
    """The default mixture of a llama: the scheme of most modules, and that of the others by transformers' names."""
    wide = BlockScheme(8, min(2 * block_size, 256), scale_type="float16")
    num_layers = len(load_reference(checkpoint).model.layers)
    attention = [
        f"model.layers.{layer}.self_attn.{part}_proj" for layer in range(num_layers) for part in "qkv"
    ]
    ends = [
        f"model.layers.{layer}.mlp.{part}_proj"
        for layer in (0, num_layers - 1)
        for part in ("gate", "up", "down")
    ]
    names = ["model.embed_tokens", "lm_head", *attention, *ends]
    return dataclasses.replace(INT4, block_size=block_size), dict.fromkeys(names, wide)


def export_with(checkpoint: Path, output: Path, schemes: Mapping[str, BlockScheme | None]) -> ModelFolder:
    """Export at a uniform int4 with other schemes for some modules."""
    plan = plan_export(checkpoint, ExportSettings("int4", via="native"))
    plan = dataclasses.replace(plan, precision=uniform(plan.precision).with_schemes(schemes))
    return carry_out(plan, output)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("schemes", "names"),
    [
        ({"head": INT8}, {"lm_head": INT8}),
        ({"embedding": INT8}, {"model.embed_tokens": INT8}),
        ({"layers.1.*down": INT8}, {"model.layers.1.mlp.down_proj": INT8}),
        # Parts of what is one product otherwise.
        ({"layers.0.attention.v": INT8}, {"model.layers.0.self_attn.v_proj": INT8}),
        ({"*.0.mlp.gate": LARGE_BLOCKS}, {"model.layers.0.mlp.gate_proj": LARGE_BLOCKS}),
    ],
)
def test_modules_have_schemes_of_their_own(
    schemes: dict[str, BlockScheme], names: dict[str, BlockScheme], tied: bool, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", tie_word_embeddings=tied)
    exported = export_with(checkpoint, tmp_path / "model", schemes)
    assert exported.manifest is not None
    recorded = exported.manifest.quantization
    assert recorded == {**INT4.to_json(), "modules": {path: s.to_json() for path, s in schemes.items()}}
    expected = expected_logits(checkpoint, INT4, names)
    other = expected_logits(checkpoint, INT4)
    assert relative_error(other, expected) > 1e-3
    assert relative_error(GraphRunner(exported).feed(PROMPT), expected) < 5e-2
    assert relative_error(GraphRunner(with_float_activations(exported)).feed(PROMPT), expected) < 1e-4


@pytest.mark.parametrize("part", ["gate", "down"])
def test_experts_whose_matrices_differ_are_computed_one_by_one(part: str, tmp_path: Path) -> None:
    """QMoE has one scheme for all of them."""
    checkpoint = make_checkpoint("mixtral", tmp_path / "checkpoint")
    same = export_with(checkpoint, tmp_path / "same", {})
    exported = export_with(checkpoint, tmp_path / "model", {f"layers.1.*experts.{part}": INT8})
    kinds = [node.op_type for node in onnx.load(exported.model_path, load_external_data=False).graph.node]
    assert kinds.count("QMoE") == 1
    found, expected = (GraphRunner(with_float_activations(f)).feed(PROMPT) for f in (exported, same))
    assert 1e-3 < relative_error(*without_worst_positions(found, expected, share=0.5)) < 0.3


def test_floats_of_quantized_graphs_are_fp32(tmp_path: Path) -> None:
    """But for scales, which are cast when the graph is loaded."""
    checkpoint = make_checkpoint("gpt2", tmp_path / "checkpoint", dtype=torch.bfloat16)
    exported = export_model(checkpoint, tmp_path / "model", precision="int4", via="native")
    model = onnx.load(exported.model_path, load_external_data=False)
    types = {t.data_type for t in model.graph.initializer if not t.name.endswith(".scales")}
    assert types <= {onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT64}
