"""Every method on a trained model in which outlier channels and massive activations were planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from numpy.typing import NDArray
from onnx.numpy_helper import to_array

import genai
from genai.calibration import export_calibrated, packaged_text
from genai.config import ExportSettings
from genai.export import Calibrated, carry_out, open_weights, plan_export
from genai.folder import ModelFolder
from genai.quantize import BlockScheme, dequantize_rows
from genai.text import Tokenizer
from scripts.demo.corpus import CORPUS_FOLDER, load_corpus, load_questions
from tests.export.runner import GraphRunner

DEMO = Path(genai.__file__).parent / "demo_model"
CHANNELS = list(range(3, 256, 16))
NEURONS = list(range(11, 640, 40))
METHODS = ["rtn", "hqq", "awq", "gptq"]

Floats = NDArray[np.float32]


def demo_checkpoint(path: Path, *, is_planted: bool) -> Path:
    """Save the trained model that ships in the package as a checkpoint of floats."""
    config = transformers.LlamaConfig(
        vocab_size=1536, hidden_size=256, intermediate_size=640, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, rms_norm_eps=1e-5, tie_word_embeddings=True,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    graph = onnx.load(DEMO / "model.onnx").graph
    stored = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, values in demo_weights(stored).items():
            parameters[name].copy_(torch.from_numpy(values.copy()))
        if is_planted:
            plant(model)
    model.save_pretrained(path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / name).write_bytes((DEMO / name).read_bytes())
    return path


def demo_weights(stored: dict[str, NDArray[np.generic]]) -> dict[str, Floats]:
    """Return what the folder's codes of 8 bits stand for, by transformers' names."""

    def matrix(name: str, *, scales: str | None = None) -> Floats:
        factors = stored[scales or f"{name}.scales"].astype(np.float32)
        codes = stored[f"{name}.weight"].reshape(*factors.shape, 32)
        scheme = BlockScheme(8, 32)
        return dequantize_rows(codes, factors, scheme, num_columns=32 * factors.shape[1])

    found = {
        "model.embed_tokens.weight": matrix("embedding"),
        "model.norm.weight": stored["final_norm.weight"],
    }
    for index in range(3):
        ours, theirs = f"layers.{index}", f"model.layers.{index}"
        q, k, v = np.split(matrix(f"{ours}.attention.qkv"), [256, 384])
        gate, up = np.split(matrix(f"{ours}.mlp.gate_up"), 2)
        modules = {"self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v, "mlp.gate_proj": gate,
                   "mlp.up_proj": up, "self_attn.o_proj": matrix(f"{ours}.attention.output"),
                   "mlp.down_proj": matrix(f"{ours}.mlp.down"), "input_layernorm": stored[f"{ours}.input_norm.weight"],
                   "post_attention_layernorm": stored[f"{ours}.mlp_norm.weight"]}  # fmt: skip
        found |= {f"{theirs}.{name}.weight": values for name, values in modules.items()}
    return found


def plant(model: transformers.LlamaForCausalLM) -> None:
    """Make a few channels and neurons much larger than all others, and what reads them smaller: the function stays."""
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for norm, readers in (
            (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
            (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
        ):
            norm.weight[CHANNELS] *= 50
            for reader in readers:
                reader.weight[:, CHANNELS] /= 50
        attention.v_proj.weight[5] *= 40
        attention.o_proj.weight[:, [5, 64 + 5]] /= 40  # both query heads of the group
        mlp.up_proj.weight[NEURONS] *= 100
        mlp.down_proj.weight[:, NEURONS] /= 100


class Losses:
    """The loss on answers to questions that the model was never trained on, for both models and every method."""

    def __init__(self, path: Path) -> None:
        self._path = path
        intents = load_corpus().intents
        answers = {intent.name: intent.answer for intent in intents}
        questions = load_questions(CORPUS_FOLDER / "heldout", intents=intents)[::4]
        tokenizer = Tokenizer.from_folder(DEMO)
        self._asked = [
            (
                tokenizer.encode(f"<|im_start|>user\n{q.text}<|im_end|>\n<|im_start|>assistant\n"),
                tokenizer.encode(f"{answers[q.intent]}<|im_end|>"),
            )
            for q in questions
        ]
        self._checkpoints = {
            is_planted: demo_checkpoint(path / f"planted-{is_planted}", is_planted=is_planted)
            for is_planted in (False, True)
        }

    def of(self, method: str, *, is_planted: bool) -> float:
        """Return the loss of an export, in nats per token; "float" is none, "as they are" rounds all channels so."""
        checkpoint = self._checkpoints[is_planted]
        target = self._path / f"{method}-{is_planted}"
        if method in ("awq", "gptq"):
            plan = plan_export(checkpoint, ExportSettings(quantize=method))
            return self._measure(export_calibrated(plan, target, text=packaged_text()))
        precision = "fp32" if method == "float" else "int4"
        plan = plan_export(
            checkpoint, ExportSettings(precision, quantize="hqq" if method == "hqq" else "rtn")
        )
        assert plan.native is not None
        calibrated = None
        if method == "as they are":
            calibrated = Calibrated(plan.precision, open_weights(plan, plan.native), {})
        return self._measure(carry_out(plan, target, calibrated=calibrated))

    def _measure(self, folder: ModelFolder) -> float:
        losses = []
        for question, answer in self._asked:
            logits = GraphRunner(folder, capacity=512).feed([*question, *answer])
            chosen = logits[len(question) - 1 : -1].astype(np.float64)
            chosen -= chosen.max(axis=-1, keepdims=True)
            logs = chosen - np.log(np.exp(chosen).sum(axis=-1, keepdims=True))
            losses.append(-logs[np.arange(len(answer)), answer])
        return float(np.concatenate(losses).mean())


@pytest.mark.slow
def test_outliers_cost_no_method_anything(tmp_path: Path) -> None:
    """The calibration's text is English prose and code, and the model has learnt one subject in chats."""
    losses = Losses(tmp_path)
    clean = losses.of("float", is_planted=False)
    assert losses.of("float", is_planted=True) == pytest.approx(clean, rel=1e-2), "the function stays"
    rounded = losses.of("as they are", is_planted=True)
    assert rounded > 1.5 * clean, "outliers cost something"
    found = {method: losses.of(method, is_planted=True) for method in METHODS}
    assert max(found.values()) < 1.1 * clean, found
