"""The exported folder: valid, complete, reproducible, small in memory, and at home in onnxruntime-genai."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import onnxruntime_genai
import pytest
from safetensors.numpy import load_file, save_file

from genai.export import ExportProgress, export_model
from genai.folder import ModelFolder, sha256_of
from genai.quantize import BlockScheme
from tests.checkpoints import FAMILIES, VOCAB_SIZE, make_checkpoint
from tests.export.runner import GraphRunner

PROMPT = np.random.default_rng(0).integers(3, VOCAB_SIZE, 24).tolist()
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.1 * i for i in range(8)],
    "long_factor": [2.0 + 0.3 * i for i in range(8)],
    "original_max_position_embeddings": 16,
}


def peer_greedy(folder: ModelFolder, prompt: list[int], num_tokens: int) -> list[int]:
    """Return onnxruntime-genai's greedy continuation; it may end early, at an end-of-sequence token."""
    model = onnxruntime_genai.Model(str(folder.path))
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(do_sample=False, max_length=len(prompt) + num_tokens)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(prompt)
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)[len(prompt) :]]


def until_eos(tokens: list[int], eos: int) -> list[int]:
    """Return the tokens before the end-of-sequence token, which onnxruntime-genai leaves out."""
    return tokens[: tokens.index(eos)] if eos in tokens else tokens


UNKNOWN_TO_PEER = {"minimax", "rwkv"}
"""Whose states onnxruntime-genai 0.18 has no model type for: matrices without a convolution, and sums without matrices."""


@pytest.mark.parametrize("family", sorted({*FAMILIES} - UNKNOWN_TO_PEER))
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_onnxruntime_genai_generates_the_same_tokens(family: str, precision: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    exported = export_model(checkpoint, tmp_path / "model", precision=precision)
    onnx.checker.check_model(str(exported.model_path), full_check=False)
    expected = until_eos(GraphRunner(exported).greedy(PROMPT, 32), exported.eos_token_ids[0])
    assert peer_greedy(exported, PROMPT, 32) == expected


def test_onnxruntime_genai_reads_long_prompts_with_the_long_factors(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(
        "phi3", tmp_path / "checkpoint", rope_parameters=LONGROPE, original_max_position_embeddings=16
    )
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32")
    model = onnx.load(exported.model_path, load_external_data=False)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"genai.rope_switch_length": "16"}
    expected = until_eos(GraphRunner(exported).greedy(PROMPT, 32), exported.eos_token_ids[0])
    assert peer_greedy(exported, PROMPT, 32) == expected


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "int4"])
def test_graphs_pass_the_checker_and_keep_the_contract(precision: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    exported = export_model(checkpoint, tmp_path / "model", precision=precision)
    onnx.checker.check_model(str(exported.model_path), full_check=False)
    graph = onnx.load(exported.model_path, load_external_data=False).graph
    names = [value.name for value in graph.input]
    caches = [f"past_key_values.{layer}.{kind}" for layer in range(2) for kind in ("key", "value")]
    assert names == ["input_ids", "attention_mask", *caches, "num_logits_to_keep"]
    presents = [name.replace("past_key_values", "present") for name in caches]
    assert [value.name for value in graph.output] == ["logits", *presents]
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert "num_logits_to_keep" in {tensor.name for tensor in graph.initializer}
    attentions = [node for node in graph.node if node.op_type == "GroupQueryAttention"]
    assert {tuple(node.input[5:7]) for node in attentions} == {("seqlens_k", "total_sequence_length")}
    assert all(node.input[1] == node.input[2] == "" for node in attentions), (
        "queries, keys and values are packed"
    )


@pytest.mark.parametrize("family", ["gpt2", "phi3"])
def test_position_ids_exist_only_where_needed(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32")
    graph = onnx.load(exported.model_path, load_external_data=False).graph
    outputs = {name for node in graph.node for name in node.output}
    assert ("position_ids" in outputs) == (family == "gpt2")


def test_the_manifest_tells_what_the_folder_is(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("qwen2", tmp_path / "checkpoint")
    exported = export_model(
        checkpoint, tmp_path / "model", precision="int8", source="owner/name", revision="abc", max_context=100
    )
    manifest = exported.manifest
    assert manifest is not None
    assert (manifest.source, manifest.revision, manifest.precision) == ("owner/name", "abc", "int8")
    assert manifest.architecture == "Qwen2ForCausalLM"
    assert manifest.quantization == BlockScheme(8, 32, scale_type="float16").to_json()
    model = onnx.load(exported.model_path, load_external_data=False)
    assert manifest.opset == {entry.domain: entry.version for entry in model.opset_import}
    files = {path.name for path in exported.path.iterdir()} - {"manifest.json", "README.md"}
    assert set(manifest.files) == files
    assert files >= {
        "model.onnx",
        "model.onnx.data",
        "genai_config.json",
        "tokenizer.json",
        "chat_template.jinja",
    }
    assert {name: sha256_of(exported.path / name) for name in files} == manifest.files
    assert exported.decoder.context_length == 100
    assert exported.decoder.model_type == "qwen2"


def test_sampling_defaults_and_token_ids_come_from_generation_config(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    values = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 5], "bos_token_id": 1}
    (checkpoint / "generation_config.json").write_text(json.dumps(values))
    exported = export_model(checkpoint, tmp_path / "model", precision="int4")
    assert exported.decoder.eos_token_ids == (2, 5)
    assert exported.decoder.bos_token_id == 1
    search = exported.decoder.search
    assert (search["do_sample"], search["temperature"], search["top_p"]) == (True, 0.6, 0.9)
    assert search["max_length"] == exported.decoder.context_length == 256
    onnxruntime_genai.Model(str(exported.path))


def test_negative_token_ids_stand_for_none(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    (checkpoint / "generation_config.json").unlink()
    path = checkpoint / "config.json"
    ids = {"eos_token_id": [2, -1], "bos_token_id": 1, "pad_token_id": -1}
    path.write_text(json.dumps({**json.loads(path.read_text()), **ids}))
    decoder = export_model(checkpoint, tmp_path / "model", precision="int4").decoder
    assert (decoder.eos_token_ids, decoder.bos_token_id, decoder.pad_token_id) == ((2,), 1, 2)


def test_two_exports_are_the_same_bytes(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gemma3_text", tmp_path / "checkpoint")
    first, second = (export_model(checkpoint, tmp_path / name, precision="int4") for name in ("one", "two"))
    assert first.manifest is not None
    assert second.manifest is not None
    assert first.manifest.files == second.manifest.files


def test_progress_counts_tensors_and_bytes(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    seen: list[ExportProgress] = []
    exported = export_model(checkpoint, tmp_path / "model", precision="int4", progress=seen.append)
    assert all(a.bytes_done <= b.bytes_done for a, b in itertools.pairwise(seen))
    last = seen[-1]
    assert last.num_tensors_done == last.num_tensors > 10
    assert last.bytes_done == last.bytes_total == (exported.path / "model.onnx.data").stat().st_size


def test_the_gemma3_decoder_is_found_in_the_multimodal_checkpoint(tmp_path: Path) -> None:
    """Its weights have another prefix, a vision tower stands beside them, and its config is nested."""
    checkpoint = make_checkpoint("gemma3_text", tmp_path / "checkpoint")
    expected = export_model(checkpoint, tmp_path / "plain", precision="fp32")
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    tensors = {name.replace("model.", "model.language_model.", 1): array for name, array in tensors.items()}
    tensors["model.vision_tower.patch.weight"] = np.zeros((2, 2), np.float32)
    save_file(tensors, path)
    inner = json.loads((checkpoint / "config.json").read_text())
    inner.pop("architectures")
    outer = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": inner, "vision_config": {}}
    (checkpoint / "config.json").write_text(json.dumps(outer))
    found = export_model(checkpoint, tmp_path / "nested", precision="fp32")
    assert found.manifest is not None
    assert expected.manifest is not None
    for name in ("model.onnx", "model.onnx.data"):
        assert found.manifest.files[name] == expected.manifest.files[name]


MEASURE = """
    import resource, sys
    from pathlib import Path
    from genai.export import export_model

    def anonymous_bytes():
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["RssAnon"].split()[0]) * 1024

    before, peak = anonymous_bytes(), 0
    def watch(progress):
        global peak
        peak = max(peak, anonymous_bytes())
    export_model(sys.argv[1], sys.argv[2], precision=sys.argv[3], progress=watch)
    forbidden = {"torch", "transformers", "onnxruntime"} & sys.modules.keys()
    assert not forbidden, forbidden
    print(peak - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.slow), "int4"])
def test_memory_stays_small_and_heavy_packages_are_not_needed(precision: str, tmp_path: Path) -> None:
    """No tensor is ever whole in memory, not even in the checkpoint's type."""
    checkpoint = make_checkpoint(
        "llama", tmp_path / "checkpoint", vocab_size=VOCAB_SIZE, hidden_size=2048, intermediate_size=8192,
        num_hidden_layers=1, num_attention_heads=16, head_dim=128, num_key_value_heads=1,
    )  # fmt: skip
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), checkpoint, tmp_path / "model", precision]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert result.returncode == 0, result.stderr
    largest = 8192 * 2048 * 4
    assert int(result.stdout) < largest, f"{int(result.stdout):,} bytes; a tensor has {largest:,}"
