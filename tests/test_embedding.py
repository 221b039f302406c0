"""`Generator.embed` gives transformers' last hidden states, pooled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from genai import GenerationError, Generator, OptionError
from genai.embedding import Embedder
from genai.folder import ModelFolder

Folders = Callable[..., tuple[Path, Path]]


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen2", "phi3"])
def test_vectors_are_transformers_hidden_states(family: str, model_folder: Folders) -> None:
    checkpoint, folder = model_folder(family)
    reference = AutoModel.from_pretrained(checkpoint, dtype=torch.float32)
    embedder = Embedder(ModelFolder.load(folder))
    for token_ids in ([5, 6, 7, 8, 9, 10, 11], [7], list(range(3, 90))):
        with torch.no_grad():
            states = reference(torch.tensor([token_ids])).last_hidden_state[0].numpy()
        for pooling, expected in (("last", states[-1]), ("mean", states.mean(axis=0))):
            found = embedder.embed(token_ids, pooling=pooling, normalize=False)
            np.testing.assert_allclose(found, expected, atol=1e-4)
            unit = embedder.embed(token_ids, pooling=pooling, normalize=True)
            np.testing.assert_allclose(unit, expected / np.linalg.norm(expected), atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "lfm2"])
def test_a_mean_in_chunks_is_that_of_all_hidden_states(
    family: str, model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder, token_ids = Embedder(ModelFolder.load(model_folder(family)[1])), list(range(3, 90))
    whole = embedder._opened().score(token_ids).mean(axis=0)
    monkeypatch.setattr("genai.embedding.CHUNK", 20)
    found = embedder.embed(token_ids, pooling="mean", normalize=False)
    np.testing.assert_allclose(found, whole, atol=1e-5)
    with pytest.raises(OptionError, match="the prompt has 9000 tokens"):
        embedder.embed([3] * 9000, pooling="mean", normalize=False)


def test_texts_are_alike_whatever_ran_before() -> None:
    with Generator("demo") as demo:
        one = demo.embed("What is a KV cache?")
        assert one.shape == (demo.folder.decoder.hidden_size,)
        demo.generate("What is a KV cache?", max_new_tokens=4)
        several = demo.embed(["What is a KV cache?", "Hello"], pooling="last")
        np.testing.assert_allclose(several[0], one, atol=1e-5)
        assert not np.allclose(several[1], one, atol=1e-2)
        assert demo.embed([]).shape == (0, demo.folder.decoder.hidden_size)
        with pytest.raises(OptionError, match='pooling must be one of last, mean, not "max"'):
            demo.embed("Hello", pooling="max")  # type: ignore[arg-type]
    with pytest.raises(GenerationError, match="closed"):
        demo.embed("Hello")
