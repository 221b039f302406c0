"""Experts: ONNX Runtime's kernels against the plain graph and numpy, and every rule of routing against transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter
from transformers.models.phimoe.modeling_phimoe import PhimoeTopKRouter
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeTopKRouter

from genai.config import ExportSettings
from genai.errors import CheckpointError, UnsupportedModelError
from genai.export import export_model
from genai.export.architecture import ClampedGate, MlpSpec, MoeSpec, RouterSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.moe import has_kernel, kernel_experts, plain_experts
from genai.export.build.precision import Precision
from genai.export.build.routing import Routing, route
from genai.export.families import find_family
from genai.export.write.graph_writer import write_graph
from genai.quantize import BlockScheme, round_to_nearest
from tests.checkpoints import make_checkpoint, make_config

NUM_EXPERTS, HIDDEN_SIZE, WIDTH = 5, 48, 40
SHAPE = (2, 7, HIDDEN_SIZE)

ROUTER = RouterSpec(NUM_EXPERTS, 2)
SILU = MoeSpec(ROUTER, MlpSpec(WIDTH, "silu"))
CLAMPED = MoeSpec(ROUTER, MlpSpec(WIDTH, "silu", bias=True), clamped_gate=ClampedGate(1.702, 0.6))
GELU = MoeSpec(ROUTER, MlpSpec(WIDTH, "gelu_tanh", bias=True))
UNGATED = MoeSpec(ROUTER, MlpSpec(WIDTH, "relu2", gated=False, bias=True))

TOLERANCES = {"fp32": 1e-5, "fp16": 3e-3, "int8": 3e-2, "int4": 3e-2}  # the last two with int8 activations


def random_parameters(spec: MoeSpec, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = spec.parameters(HIDDEN_SIZE)
    return {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


def run_graph(
    build: Callable[[GraphBuilder], dict[str, ir.Value]],
    feeds: dict[str, np.ndarray],
    parameters: dict[str, np.ndarray],
    folder: Path,
    *,
    precision: str = "fp32",
) -> dict[str, np.ndarray]:
    """Build a graph of a few operators and run it; inputs and outputs are float32 or the precision's type."""
    g = GraphBuilder(Precision.of(ExportSettings(precision, 16)), parameters)
    for name, value in build(g).items():
        g.output(value, name, value.type.dtype if value.type else g.precision.float_type, ["a", "b", "c"])
    folder.mkdir()
    write_graph(g, folder, producer="test", version="0")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    dtype = np.float16 if precision == "fp16" else np.float32
    names = [output.name for output in session.get_outputs()]
    results = session.run(names, {name: array.astype(dtype) for name, array in feeds.items()})
    return {name: np.asarray(array, np.float32) for name, array in zip(names, results, strict=True)}


def run_experts(
    experts: Callable[..., ir.Value],
    spec: MoeSpec,
    x: np.ndarray,
    logits: np.ndarray,
    folder: Path,
    *,
    precision: str,
) -> np.ndarray:
    def build(g: GraphBuilder) -> dict[str, ir.Value]:
        values = [g.input(name, g.precision.float_type, ["b", "s", size]) for name, size in SIZES]
        return {"output": experts(g, values[0], Routing(values[1], None), spec)}

    feeds = {"x": x, "logits": logits}
    return run_graph(build, feeds, random_parameters(spec), folder, precision=precision)["output"]


SIZES = (("x", HIDDEN_SIZE), ("logits", NUM_EXPERTS))


def expected_output(spec: MoeSpec, x: np.ndarray, logits: np.ndarray, precision: str) -> np.ndarray:
    """Token by token and expert by expert, in float64, with the weights as the precision rounds them."""
    parameters = random_parameters(spec)
    for name, array in parameters.items():
        if array.ndim == 3 and precision.startswith("int"):
            parameters[name] = np.stack([_round_trip(rows, int(precision[3:])) for rows in array])
    tokens, scores = x.reshape(-1, HIDDEN_SIZE).astype(np.float64), logits.reshape(-1, NUM_EXPERTS)
    output = np.zeros_like(tokens)
    for index, token in enumerate(tokens):
        chosen = np.argsort(-scores[index])[: spec.router.num_experts_per_token]
        shares = np.exp(scores[index][chosen])
        for expert, share in zip(chosen, shares / shares.sum(), strict=True):
            output[index] += share * _expert_output(spec, parameters, int(expert), token)
    return output.reshape(x.shape)


def _round_trip(rows: np.ndarray, bits: int) -> np.ndarray:
    scheme = BlockScheme(bits, 16, is_symmetric=bits == 8, scale_type="float16")
    return round_to_nearest(rows, scheme)


def _expert_output(
    spec: MoeSpec, parameters: dict[str, np.ndarray], expert: int, x: np.ndarray
) -> np.ndarray:
    def project(name: str, x: np.ndarray) -> np.ndarray:
        bias = parameters.get(f"experts.{name}.bias")
        return parameters[f"experts.{name}.weight"][expert] @ x + (0 if bias is None else bias[expert])

    up = project("up", x)
    if not spec.expert.gated:
        return project("down", np.maximum(up, 0) ** 2)
    gate = project("gate", x)
    if spec.clamped_gate is not None:
        limit = spec.clamped_gate.limit
        gate = np.minimum(gate, limit)
        return project(
            "down",
            (np.clip(up, -limit, limit) + 1) * gate / (1 + np.exp(-spec.clamped_gate.alpha * gate)),
        )
    if spec.expert.activation == "silu":
        return project("down", gate / (1 + np.exp(-gate)) * up)
    return project("down", 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3))) * up)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("per_token", [1, 3, NUM_EXPERTS])
@pytest.mark.parametrize(
    ("experts", "spec"),
    [
        (kernel_experts, SILU),
        (kernel_experts, CLAMPED),
        (plain_experts, SILU),
        (plain_experts, CLAMPED),
        (plain_experts, GELU),
        (plain_experts, UNGATED),
    ],
    ids=["kernel, silu", "kernel, clamped", "silu", "clamped", "gelu", "ungated"],
)
def test_experts_compute_their_definition(
    experts: Callable[..., ir.Value], spec: MoeSpec, per_token: int, precision: str, tmp_path: Path
) -> None:
    spec = replace(spec, router=replace(ROUTER, num_experts_per_token=per_token))
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, SHAPE).astype(np.float32)
    logits = rng.normal(0, 2, (*SHAPE[:2], NUM_EXPERTS)).astype(np.float32)
    found = run_experts(experts, spec, x, logits, tmp_path / "graph", precision=precision)
    expected = expected_output(spec, x, logits, precision)
    assert np.linalg.norm(found - expected) < TOLERANCES[precision] * np.linalg.norm(expected)


@pytest.mark.parametrize("experts", [kernel_experts, plain_experts])
def test_one_token_passes_its_experts_alone(experts: Callable[..., ir.Value], tmp_path: Path) -> None:
    """The plain graph then runs most experts on no token at all."""
    x = np.random.default_rng(2).normal(0, 1, (1, 1, HIDDEN_SIZE)).astype(np.float32)
    logits = np.asarray([[[0.0, 3.0, -1.0, 2.5, 1.0]]], np.float32)
    found = run_experts(experts, CLAMPED, x, logits, tmp_path / "graph", precision="fp32")
    np.testing.assert_allclose(found, expected_output(CLAMPED, x, logits, "fp32"), atol=1e-5, rtol=0)


def test_only_what_the_kernels_compute_is_left_to_them() -> None:
    assert [has_kernel(spec) for spec in (SILU, CLAMPED, GELU, UNGATED)] == [True, True, False, False]


def deepseek(class_name: str, **values: Any) -> transformers.PretrainedConfig:
    return getattr(transformers, class_name)(
        hidden_size=HIDDEN_SIZE, num_attention_heads=4, n_routed_experts=12, num_experts_per_tok=3, **values
    )


ROUTERS: dict[str, tuple[Callable[[], torch.nn.Module], RouterSpec]] = {
    "softmax over the chosen, with a bias": (
        lambda: GptOssTopKRouter(
            transformers.GptOssConfig(hidden_size=HIDDEN_SIZE, num_local_experts=12, num_experts_per_tok=3)
        ),
        RouterSpec(12, 3, bias=True),
    ),
    "softmax over all": (
        lambda: Qwen2MoeTopKRouter(
            transformers.Qwen2MoeConfig(hidden_size=HIDDEN_SIZE, num_experts=12, num_experts_per_tok=3)
        ),
        RouterSpec(12, 3, normalize=False),
    ),
    "sparse mixer": (
        lambda: PhimoeTopKRouter(
            transformers.PhimoeConfig(
                hidden_size=HIDDEN_SIZE,
                num_local_experts=12,
                num_experts_per_tok=2,
                router_jitter_noise=0.2,
            )
        ),
        RouterSpec(12, 2, scores="sparse_mixer", normalize=False, tolerance=0.2),
    ),
    "sigmoid, corrected, in groups": (
        lambda: DeepseekV3TopkRouter(
            deepseek("DeepseekV3Config", n_group=4, topk_group=2, routed_scaling_factor=2.5)
        ),
        RouterSpec(
            12,
            3,
            scores="sigmoid",
            scaling_factor=2.5,
            num_groups=4,
            num_groups_per_token=2,
            num_scores_per_group=2,
            correction_bias=True,
        ),
    ),
    "sigmoid, corrected, not normalized": (
        lambda: DeepseekV3TopkRouter(
            deepseek("DeepseekV3Config", n_group=1, topk_group=1, norm_topk_prob=False)
        ),
        RouterSpec(12, 3, scores="sigmoid", normalize=False, scaling_factor=2.5, correction_bias=True),
    ),
    "softmax in groups": (
        lambda: DeepseekV2TopkRouter(
            deepseek(
                "DeepseekV2Config",
                n_group=3,
                topk_group=2,
                topk_method="group_limited_greedy",
                routed_scaling_factor=1.5,
            )
        ),
        RouterSpec(12, 3, normalize=False, scaling_factor=1.5, num_groups=3, num_groups_per_token=2),
    ),
}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ROUTERS)
def test_routing_is_that_of_transformers(name: str, precision: str, tmp_path: Path) -> None:
    make_router, spec = ROUTERS[name]
    router = make_router().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in router.state_dict().values():
            tensor.normal_(0, 0.3)
            tensor.copy_(tensor.half())
    x = torch.randn(2, 40, HIDDEN_SIZE).half().float()
    with torch.no_grad():
        _, weights, experts = router(x.reshape(-1, HIDDEN_SIZE))
    expected = np.zeros((80, 12), np.float32)
    np.put_along_axis(expected, experts.numpy(), weights.numpy(), axis=1)

    names = {"weight": "router.weight", "bias": "router.bias"}
    names["e_score_correction_bias"] = "router.correction_bias"
    parameters = {names[key]: tensor.numpy() for key, tensor in router.state_dict().items()}

    def build(g: GraphBuilder) -> dict[str, ir.Value]:
        routing = route(g, g.input("x", g.precision.float_type, ["b", "s", HIDDEN_SIZE]), spec)
        total = routing.total if routing.total is not None else g.scalar(1.0)
        ones = g.op("Expand", [total, g.integers(2, 40, 1)])
        return {"logits": routing.logits, "total": ones}

    found = run_graph(build, {"x": x.numpy()}, parameters, tmp_path / "graph", precision=precision)
    logits, totals = found["logits"].reshape(80, 12), found["total"].reshape(80, 1)
    chosen = np.argsort(-logits, axis=1)[:, : spec.num_experts_per_token]
    shares = np.exp(np.take_along_axis(logits, chosen, axis=1))
    dense = np.zeros_like(expected)
    np.put_along_axis(dense, chosen, totals * shares / shares.sum(1, keepdims=True), axis=1)
    errors = np.abs(dense - expected).max(axis=1)
    if precision == "fp32":
        assert errors.max() < 1e-5
    else:  # rounded, two experts at the edge may change places
        assert np.quantile(errors, 0.95) < 5e-3


def test_numbers_that_do_not_fit_together_are_refused() -> None:
    for values in (
        {"num_experts_per_token": 9},
        {"num_groups": 3},
        {"num_groups": 4, "num_groups_per_token": 5},
        {"num_groups": 8, "num_scores_per_group": 2},
        {"num_groups": 4, "num_groups_per_token": 1, "num_experts_per_token": 3},
        {"scores": "sparse_mixer", "num_experts_per_token": 3},
    ):
        with pytest.raises(CheckpointError, match="do not fit together"):
            RouterSpec(**{"num_experts": 8, "num_experts_per_token": 2, **values})


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("olmoe", {"clip_qkv": 8.0}, '"clip_qkv" is 8.0'),
        (
            "phimoe",
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "short_factor": [1.0] * 8,
                    "long_factor": [2.0] * 8,
                    "short_mscale": 1.1,
                    "long_mscale": 1.2,
                    "original_max_position_embeddings": 32,
                }
            },
            '"long_mscale"',
        ),
    ],
)
def test_what_cannot_be_computed_is_refused(family: str, values: dict[str, Any], message: str) -> None:
    config = {**make_config(family).to_dict(), **values}
    model = type(transformers.AutoModelForCausalLM.from_config(make_config(family)))
    with pytest.raises(UnsupportedModelError, match=message):
        find_family(model.__name__).read(config)


PREDICTIONS = {
    "deepseek_v3": "model.layers.61.eh_proj.weight",
    "ernie4_5_moe": "model.mtp_linear_proj.0.weight",
    "exaone_moe": "mtp.fc.weight",
    "glm4_moe": "model.layers.92.eh_proj.weight",
    "glm4_moe_lite": "model.layers.47.eh_proj.weight",
    "hy_v3": "model.layers.80.eh_proj.weight",
}
"""A tensor of each family's layers that predict the token after the next."""


@pytest.mark.parametrize("family", PREDICTIONS)
def test_layers_that_predict_further_tokens_are_left_out(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    path = checkpoint / "model.safetensors"
    save_file({**load_file(path), PREDICTIONS[family]: np.ones((3, 3), np.float32)}, path)
    export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
