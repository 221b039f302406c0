"""A saved cache: what begins with its tokens goes on as if it had been computed here; what is not its model's is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from genai import CacheFileError, Generator
from genai.folder import ModelFolder
from genai.runtime.fingerprint import fingerprint_of

Folders = Callable[..., tuple[Path, Path]]
PROMPT = [5 + index * 7 % 90 for index in range(60)]


@pytest.mark.parametrize("family", ["llama", "lfm2", "deepseek_v3", "mamba", "qwen3_next"])
def test_a_loaded_cache_is_as_good_as_a_computed_one(
    family: str, model_folder: Folders, tmp_path: Path
) -> None:
    folder, path = model_folder(family)[1], tmp_path / "prompt.cache"
    with Generator(folder) as first:
        expected = first.generate(token_ids=[*PROMPT, 3], max_new_tokens=8, ignore_eos=True)
    with Generator(folder) as saving:
        assert saving.save_cache(path, token_ids=PROMPT) == len(PROMPT)
        assert list(tmp_path.iterdir()) == [path]
    with Generator(folder) as loading:
        assert loading.load_cache(path) == PROMPT
        found = loading.generate(token_ids=[*PROMPT, 3], max_new_tokens=8, ignore_eos=True)
        loading._engine.check()
    assert found.token_ids == expected.token_ids
    assert found.stats.cached_prompt_tokens == len(PROMPT)


def test_a_damaged_or_strange_file_is_refused(model_folder: Folders, tmp_path: Path) -> None:
    path = tmp_path / "prompt.cache"
    with Generator(model_folder("llama")[1]) as generator:
        generator.save_cache(path, token_ids=PROMPT)
        whole = path.read_bytes()
        header, tensors = whole.split(b"\n", 1)
        values = json.loads(header)
        damaged = {
            "not as many bytes": whole[:-1],
            "it has not as many": whole + b"\0",
            "no file of": b"something else",
            "damaged one": header.replace(b'"token_ids"', b'"tokens"') + b"\n" + tensors,
            "of version 2": json.dumps({**values, "version": 2}).encode() + b"\n" + tensors,
            "another form": json.dumps({**values, "token_ids": values["token_ids"][1:]}).encode()
            + b"\n"
            + tensors,
            "have another form": json.dumps({**values, "tensors": 5}).encode() + b"\n" + tensors,
            "keys and values have": json.dumps({**values, "tensors": [[1], 2]}).encode() + b"\n" + tensors,
            "another model": json.dumps({**values, "model": "0" * 64}).encode() + b"\n" + tensors,
        }
        for message, content in damaged.items():
            path.write_bytes(content)
            with pytest.raises(CacheFileError, match=message):
                generator.load_cache(path)
    path.write_bytes(whole)
    with Generator(model_folder("qwen2")[1]) as other, pytest.raises(CacheFileError, match="another model"):
        other.load_cache(path)
    with (
        Generator(model_folder("llama")[1], max_context=40) as short,
        pytest.raises(CacheFileError, match="60"),
    ):
        short.load_cache(path)


def test_another_graph_of_the_folder_is_another_model(model_folder: Folders, tmp_path: Path) -> None:
    """As a folder of transformers.js has them, whose weights may be called anything."""
    shutil.copytree(model_folder("llama")[1], tmp_path / "model")
    folder, path = ModelFolder.load(tmp_path / "model"), tmp_path / "prompt.cache"
    folder = dataclasses.replace(folder, manifest=None)
    graph = onnx.load(folder.model_path, load_external_data=False)
    shutil.copy(folder.path / "model.onnx.data", folder.path / "weights.bin")
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "weights.bin"
    onnx.save(graph, folder.path / "other.onnx")
    other = dataclasses.replace(folder, decoder=dataclasses.replace(folder.decoder, filename="other.onnx"))
    before = fingerprint_of(other)
    with Generator(folder) as saving:
        saving.save_cache(path, token_ids=PROMPT)
        assert saving.load_cache(path) == PROMPT
    with Generator(other) as loading, pytest.raises(CacheFileError, match="another model"):
        loading.load_cache(path)
    content = bytearray((folder.path / "weights.bin").read_bytes())
    content[-1] ^= 1
    (folder.path / "weights.bin").write_bytes(content)
    assert fingerprint_of(other) != before
