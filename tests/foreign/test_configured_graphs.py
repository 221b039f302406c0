"""What a genai_config.json can say of its graphs, against onnxruntime-genai over the same folder: names and pipelines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx.utils import Extractor

from genai import Generator
from genai.folder import ModelFolder, write_genai_config
from tests.checkpoints import VOCAB_SIZE, make_checkpoint
from tests.foreign.reference import (
    build_with_onnxruntime_genai,
    greedy_by_genai,
    greedy_by_onnxruntime_genai,
    make_prompts,
)

EMBEDDED, NORMED = "/model/embed_tokens/Gather/output_0", "/model/layers.2/final_norm_layernorm/output_0"
PASTS = [f"past_key_values.{layer}.{part}" for layer in (0, 1) for part in ("key", "value")]
PRESENTS = [f"present.{layer}.{part}" for layer in (0, 1) for part in ("key", "value")]

Stages = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("llama")
    return build_with_onnxruntime_genai(make_checkpoint("llama", root / "checkpoint"), root / "model", "fp32")


def change_config(folder: Path, path: str, value: Any) -> None:
    """Set a value of a folder's genai_config.json by its path with dots."""
    config = json.loads((folder / "genai_config.json").read_text())
    *sections, key = path.split(".")
    section = config
    for name in sections:
        section = section[name]
    section[key] = value
    (folder / "genai_config.json").write_text(json.dumps(config))


def assert_same_as_its_maker(folder: Path) -> None:
    prompts = make_prompts(VOCAB_SIZE)
    expected = [greedy_by_onnxruntime_genai(folder, prompt, 24) for prompt in prompts]
    assert greedy_by_genai(folder, prompts, 24) == expected
    rewritten = write_genai_config(ModelFolder.load(folder).decoder)
    (folder / "genai_config.json").write_text(json.dumps(rewritten))
    assert greedy_by_onnxruntime_genai(folder, prompts[0], 24) == expected[0]


def test_a_config_that_genai_has_read_and_written_means_the_same(built: Path, tmp_path: Path) -> None:
    assert_same_as_its_maker(Path(shutil.copytree(built, tmp_path / "model")))


def test_other_names_of_inputs_and_outputs(built: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "model"))
    names = {
        "input_ids": ("inputs.input_ids", "tokens"),
        "attention_mask": ("inputs.attention_mask", "mask"),
        "past_key_values.%d.key": ("inputs.past_key_names", "k%d_in"),
        "past_key_values.%d.value": ("inputs.past_value_names", "v%d_in"),
        "logits": ("outputs.logits", "scores"),
        "present.%d.key": ("outputs.present_key_names", "k%d_out"),
        "present.%d.value": ("outputs.present_value_names", "v%d_out"),
    }
    renamed = {old.replace("%d", n): new.replace("%d", n) for old, (_, new) in names.items() for n in "01"}
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for values in (model.graph.input, model.graph.output):
        for value in values:
            value.name = renamed[value.name]
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for key, name in names.values():
        change_config(folder, f"model.decoder.{key}", name)
    assert_same_as_its_maker(folder)


def make_pipeline(built: Path, folder: Path, stages: Stages) -> Path:
    """Cut the builder's graph at its embeddings and before its head, and write a folder of these stages."""
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("model.onnx*"))
    model = onnx.load(built / "model.onnx")
    for stage in stages.values():
        part = Extractor(model).extract_model(stage["inputs"], stage["outputs"])
        (folder / stage["filename"]).parent.mkdir(exist_ok=True)
        onnx.save(part, folder / stage["filename"])
    change_config(folder, "model.type", "decoder-pipeline")
    change_config(folder, "model.decoder.pipeline", [stages])
    return folder


STAGES: Stages = {
    "embeddings": {"filename": "embeddings.onnx", "inputs": ["input_ids"], "outputs": [EMBEDDED]},
    "transformer": {
        "filename": "transformer.onnx",
        "inputs": [EMBEDDED, "attention_mask", *PASTS],
        "outputs": [NORMED, *PRESENTS],
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
    },
    "head": {"filename": "head.onnx", "inputs": [NORMED], "outputs": ["logits"], "is_lm_head": True},
}


def test_a_pipeline_of_three_graphs(built: Path, tmp_path: Path) -> None:
    folder = make_pipeline(built, tmp_path / "model", STAGES)
    assert [stage.name for stage in ModelFolder.load(folder).decoder.stages] == list(STAGES)
    assert_same_as_its_maker(folder)


def test_a_pipeline_with_a_graph_for_the_prompt_and_one_for_what_follows(built: Path, tmp_path: Path) -> None:
    stages: Stages = {
        "embeddings": STAGES["embeddings"],
        "prompt": {**STAGES["transformer"], "filename": "prompt.onnx", "run_on_token_gen": False},
        "token": {**STAGES["transformer"], "filename": "token.onnx", "run_on_prompt": False},
        "head": STAGES["head"],
    }
    assert_same_as_its_maker(make_pipeline(built, tmp_path / "model", stages))


def test_defaults_of_its_search_settings(built: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "model"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    prompt = make_prompts(VOCAB_SIZE, (9,))[0]
    change_config(folder, "search.max_length", 20)
    change_config(folder, "search.min_length", 14)
    ends = list(range(10, VOCAB_SIZE))
    change_config(folder, "model.eos_token_id", ends)
    with Generator(folder, provider="cpu", num_threads=1) as generator:
        assert len(generator.generate(token_ids=prompt, ignore_eos=True, min_new_tokens=0).token_ids) == 11
        assert len(generator.generate(token_ids=prompt, ignore_eos=True, max_new_tokens=15).token_ids) == 15
        found = generator.generate(token_ids=prompt)
        alone = generator.generate(token_ids=prompt, min_new_tokens=0)
    assert not set(found.token_ids[:5]) & set(ends)
    assert (len(found.token_ids), len(alone.token_ids)) == (6, 1)


@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}])
def test_greedy_search_settings_mean_what_they_mean_to_its_maker(
    built: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "model"))
    for name, value in options.items():
        change_config(folder, f"search.{name}", value)
    prompt = make_prompts(VOCAB_SIZE, (17,))[0]
    with Generator(folder, provider="cpu", num_threads=1) as generator:
        found = generator.generate(token_ids=prompt, max_new_tokens=24, ignore_eos=True, suppress_tokens=[2])
    assert list(found.token_ids) == greedy_by_onnxruntime_genai(folder, prompt, 24)
