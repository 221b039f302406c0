"""Decoders that keep nothing but states of a fixed size, from checkpoint to chat."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from genai import Generator
from genai.cli.chat.context import longest_context
from genai.export import export_model
from genai.folder import MemoryNeed, ModelFolder
from tests.checkpoints import make_checkpoint
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]
PROMPT = [5 + index * 7 % 90 for index in range(60)]


@pytest.fixture(scope="module", params=["mamba", "mamba2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose config.json names no longest sequence, as none of these do; the checkpoint lies beside it."""
    root = tmp_path_factory.mktemp(request.param)
    config = make_checkpoint(request.param, root / "checkpoint") / "config.json"
    values = json.loads(config.read_text())
    del values["max_position_embeddings"]
    config.write_text(json.dumps(values))
    return export_model(root / "checkpoint", root / "model", precision="fp32").path


def test_its_configuration_names_no_heads_and_no_limit_that_anything_is_allocated_by(folder: Path) -> None:
    loaded = ModelFolder.load(folder)
    decoder, need = loaded.decoder, MemoryNeed.of_folder(loaded)
    assert (decoder.num_heads, decoder.num_kv_heads, decoder.head_dim) == (0, 0, 0)
    assert decoder.context_length == 1 << 20
    assert need.token_bytes == 0
    assert longest_context(loaded, 0) == 512
    assert longest_context(loaded, 2 << 30) == 1 << 20
    with Generator(folder) as generator:
        generator.generate(token_ids=PROMPT, max_new_tokens=4)
        cache = generator._decoder.cache
        assert cache.shape.num_bytes(1, 1 << 20) == need.state_bytes
        assert cache.capacity == 1 << 20


def test_a_conversation_goes_on_from_a_snapshot(folder: Path) -> None:
    with Generator(folder) as generator:
        first = generator.generate(token_ids=PROMPT, max_new_tokens=8, ignore_eos=True)
        other = [*PROMPT[:50], 3, 4, 5]
        branch = generator.generate(token_ids=other, max_new_tokens=8, ignore_eos=True)
        again = generator.generate(token_ids=PROMPT, max_new_tokens=8, ignore_eos=True)
        assert again.token_ids == first.token_ids
        assert again.stats.cached_prompt_tokens == 50  # where the two part
        more = generator.generate(token_ids=[*other, 9], max_new_tokens=8, ignore_eos=True)
        assert more.stats.cached_prompt_tokens > 0
    with Generator(folder) as fresh:
        for prompt, result in ((other, branch), ([*other, 9], more)):
            alone = fresh.generate(token_ids=prompt, max_new_tokens=8, ignore_eos=True)
            assert result.token_ids == alone.token_ids


def test_commands(cli: Cli, folder: Path) -> None:
    assert "no attention" in cli("models", "show", folder).stdout
    done = cli("validate", folder, "--against", folder.parent / "checkpoint", "--new-tokens", 8, "--json")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["passed"]
    for command in (("generate", "the quick"), ("chat", "Hello")):
        done = cli(*command, "-m", folder, "--max-new-tokens", 4)
        assert done.code == 0
        assert done.stdout
    too_long = cli("generate", "the quick brown fox " * 20, "-m", folder, "--max-context", 8)
    assert too_long.code != 0
    assert "8" in too_long.error
