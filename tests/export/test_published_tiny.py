"""Every published config, shrunk to widths that a test can run, against transformers: logits and greedy tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from genai.export import export_model
from tests.checkpoints import UNSCALED, VOCAB_SIZE, make_tokenizer, randomize
from tests.export.published import as_transformers
from tests.export.runner import GraphRunner
from tests.export.shrunk import shrunk
from tests.export.test_published_families import KNOWN, published

PROMPT = np.random.default_rng(7).integers(3, VOCAB_SIZE, 24).tolist()


def make_tiny(config: dict[str, Any], path: Path) -> transformers.PreTrainedModel:
    """Save a random checkpoint of a config, which is kept as it was published; return what transformers makes of it."""
    text = as_transformers(config).get_text_config()
    implementation = "sdpa" if text.model_type == "falcon" else "eager"
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        text, dtype=torch.float32, attn_implementation=implementation
    ).eval()
    randomize(model, is_unscaled=text.model_type in UNSCALED)
    model.save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    (path / "config.json").write_text(json.dumps(config))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("repo", KNOWN)
def test_a_tiny_version_computes_what_transformers_computes(repo: str, tmp_path: Path) -> None:
    reference = make_tiny(shrunk(published(repo)), tmp_path / "checkpoint")
    exported = export_model(tmp_path / "checkpoint", tmp_path / "model", precision="fp32", via="native")
    prompt = torch.tensor([PROMPT])
    with torch.no_grad():
        expected = reference(prompt).logits[0].numpy()
    found = GraphRunner(exported).feed(PROMPT)
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(expected)
    reference.generation_config.eos_token_id = None
    reference.generation_config.use_mtp = False  # its config may name layers that guess ahead, which it lacks
    tokens = reference.generate(prompt, max_new_tokens=16, do_sample=False)[0, len(PROMPT) :].tolist()
    assert GraphRunner(exported).greedy(PROMPT, 16) == tokens
