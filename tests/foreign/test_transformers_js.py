"""A repository laid out as transformers.js wants it, from the hub to the text: the graphs are onnxruntime-genai's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from genai import Generator
from genai.errors import OptionError
from genai.hub import list_models
from tests.checkpoints import VOCAB_SIZE, make_checkpoint
from tests.foreign.external_data import save_with_external_data
from tests.foreign.reference import (
    build_with_onnxruntime_genai,
    greedy_by_genai,
    greedy_by_onnxruntime_genai,
    make_prompts,
)
from tests.hub_server import HubServer, redirected, serve

REPO = "onnx-community/tiny-llama-ONNX"
VARIANTS = {"fp32": ("fp32", "onnx/model.onnx"), "q4": ("int4", "onnx/model_q4.onnx")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `repo`, laid out for transformers.js, and the builder's own folder of each variant."""
    root = tmp_path_factory.mktemp("transformers_js")
    checkpoint = make_checkpoint("llama", root / "checkpoint")
    repo = root / "repo"
    shutil.copytree(checkpoint, repo, ignore=shutil.ignore_patterns("*.safetensors"))
    (repo / "onnx").mkdir()
    for variant, (precision, path) in VARIANTS.items():
        folder = build_with_onnxruntime_genai(checkpoint, root / variant, precision)
        model = onnx.load(folder / "model.onnx")
        save_with_external_data(model, repo / path, num_files=2 if variant == "q4" else 1)
    shutil.copy(repo / "onnx" / "model.onnx", repo / "onnx" / "model_fp16.onnx")
    config = json.loads((repo / "config.json").read_text())
    config["transformers.js_config"] = {
        "kv_cache_dtype": {"fp16": "float16"},
        "use_external_data_format": {"q4": 2},
    }
    (repo / "config.json").write_text(json.dumps(config))
    return root


@pytest.fixture
def hub(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with serve() as server, redirected(monkeypatch, server, tmp_path / "home"):
        server.add(REPO, built / "repo")
        yield server


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_local_copy_gives_the_tokens_of_the_graphs_maker(built: Path, variant: str) -> None:
    prompts = make_prompts(VOCAB_SIZE)
    expected = [greedy_by_onnxruntime_genai(built / variant, prompt) for prompt in prompts]
    found = greedy_by_genai(built / "repo", prompts, is_rounded=variant == "q4", variant=variant)
    assert found == expected


def test_from_the_hub_only_the_variant_that_runs_is_fetched(built: Path, hub: HubServer) -> None:
    prompt = make_prompts(VOCAB_SIZE, (9,))[0]
    with Generator(REPO, provider="cpu", num_threads=1) as generator:
        assert generator.folder.variant == "q4"
        assert generator.context_length == 256
        assert generator.vocab_size == VOCAB_SIZE
        found = generator.generate(token_ids=prompt, max_new_tokens=8, ignore_eos=True, suppress_tokens=[2])
        assert list(found.token_ids) == greedy_by_onnxruntime_genai(built / "q4", prompt, 8)
        said = generator.chat([{"role": "user", "content": "the quick"}], max_new_tokens=4)
        assert said.prompt_token_ids == tuple(
            generator.tokenizer.encode("<|im_start|>user\nthe quick<|im_end|>\n<|im_start|>assistant\n")
        )
    fetched = {path.split("/")[-1] for path in hub.downloads() if path.startswith("onnx/")}
    assert fetched == {"model_q4.onnx", "model_q4.onnx_data", "model_q4.onnx_data_1"}
    assert [entry.name for entry in list_models() if entry.is_here and not entry.is_packaged] == [REPO]


def test_another_variant_and_one_that_is_not_there(hub: HubServer) -> None:
    with Generator(REPO, variant="fp32", provider="cpu", num_threads=1) as generator:
        assert generator.folder.model_path.name == "model.onnx"
        assert generator.generate("the quick", max_new_tokens=4).token_ids
    with pytest.raises(OptionError, match=f'{REPO} has no variant "q8"; it has fp16, fp32, q4'):
        Generator(REPO, variant="q8", provider="cpu")
