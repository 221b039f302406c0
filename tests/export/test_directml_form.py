"""DirectML's form: held against the table of its kernels, and against the CPU's form, which computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from genai import Generator
from genai.config import ExportSettings
from genai.errors import OptionError, UnsupportedModelError
from genai.export import export_model, plan_export
from tests.checkpoints import make_checkpoint

CONTRIB_KERNELS = {
    *("FusedMatMul", "GroupQueryAttention", "MatMulNBits", "QuickGelu", "RotaryEmbedding"),
    *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"),
}
"""Those of com.microsoft that decoders use, from ONNX Runtime's docs/OperatorKernels.md."""

PLAIN_OPERANDS = slice(0, 7)
"""Of GroupQueryAttention: up to total_sequence_length; the kernel reads no others."""

PROMPT = [3, 14, 15, 9, 26, 5]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def export(family: str, provider: str, precision: str = "fp32") -> Path:
        root = tmp_path_factory.mktemp(family)
        checkpoint = make_checkpoint(family, root / "checkpoint")
        activations = "fp32" if precision.startswith("int") else None
        export_model(
            checkpoint, root / "model", precision=precision, provider=provider, activations=activations
        )
        return root / "model"

    return export


@pytest.mark.parametrize("precision", ["fp32", "int4"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "phi3", "gpt2", "gemma", "falcon", "mixtral"])
def test_it_has_kernels_for_everything_and_computes_the_same(
    exported: Callable[..., Path], family: str, precision: str
) -> None:
    path = exported(family, "directml", precision)
    graph = onnx.load(path / "model.onnx", load_external_data=False)
    assert {each.domain: each.version for each in graph.opset_import}[""] == 21
    contrib = [node for node in graph.graph.node if node.domain == "com.microsoft"]
    assert {node.op_type for node in contrib} <= CONTRIB_KERNELS
    assert "RMSNormalization" not in {node.op_type for node in graph.graph.node}
    attentions = [node for node in contrib if node.op_type == "GroupQueryAttention"]
    for node in attentions:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        assert not attributes["do_rotary"]
        assert attributes["local_window_size"] == -1
        assert not attributes["softcap"]
        assert all(node.input[PLAIN_OPERANDS]), "queries, keys and values apart"
        assert not any(node.input[PLAIN_OPERANDS.stop :])
    for node in contrib:
        if node.op_type == "MatMulNBits":
            attributes = {each.name: each.i for each in node.attribute}
            assert attributes["K"] % attributes["block_size"] == 0
            assert not any(node.input[4:]), "no order of the inputs, no bias"
    if precision == "fp32":
        with Generator(path, provider="cpu") as ours, Generator(exported(family, "cpu")) as theirs:
            np.testing.assert_allclose(
                ours.logits(token_ids=PROMPT), theirs.logits(token_ids=PROMPT), atol=1e-5
            )


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("gemma2", "a softcap on scores"),
        ("gpt_oss", "attention sinks and sliding windows: choose another provider$"),
        ("mistral", "sliding windows: choose another provider, or a max_context within the window"),
        ("bloom", "linear biases"),
        ("llama4_text", "attention within chunks: choose another provider, or a max_context within"),
        ("lfm2", "convolutions with a state"),
        ("qwen3_next", "linear attention"),
    ],
)
def test_what_it_cannot_compute_is_refused_with_the_reason(tmp_path: Path, family: str, message: str) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    with pytest.raises(UnsupportedModelError, match=f"directml has no kernel for .*{message}"):
        export_model(checkpoint, tmp_path / "model", provider="directml")
    with pytest.raises(OptionError, match="no attention over 8-bit codes"):
        plan_export(checkpoint, ExportSettings(provider="directml", kv_precision="int8"))
    assert not (tmp_path / "model").exists()
