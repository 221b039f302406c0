"""The context that fits into this machine's memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from genai.cli.chat.context import MIN_CONTEXT, longest_context
from genai.folder import ModelFolder
from genai.runtime.providers import hardware
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]
RESERVED_BYTES = 256 << 20


def weights_of(model: Path) -> int:
    return sum(file.stat().st_size for file in model.glob("model.onnx*"))


def token_bytes(folder: ModelFolder) -> int:
    decoder = folder.decoder
    return 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * 4


def test_all_of_it_where_there_is_room(endless_model: Path) -> None:
    folder = ModelFolder.load(endless_model)
    needed = weights_of(endless_model) + RESERVED_BYTES + 200_000 * token_bytes(folder)
    assert longest_context(folder, needed) == 200_000
    assert longest_context(folder, needed - 1) == 200_000 // 256 * 256


def test_what_fits(endless_model: Path) -> None:
    folder = ModelFolder.load(endless_model)
    free = weights_of(endless_model) + RESERVED_BYTES + 1100 * token_bytes(folder)
    assert longest_context(folder, free) == 1024
    assert longest_context(folder, 0) == MIN_CONTEXT


def test_chat_says_so(cli: Cli, endless_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = ModelFolder.load(endless_model)
    free = (weights_of(endless_model) + RESERVED_BYTES + 1100 * token_bytes(folder)) * 4 // 3 // 1024 + 1
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {free} kB\n")
    monkeypatch.setattr(hardware, "MEMORY_FILE", file)
    done = cli("chat", "Hello", "-m", endless_model, "--max-new-tokens", 2)
    assert done.code == 0
    line, cut = done.stderr.splitlines()
    assert line.startswith("a context of 1024 tokens, which fits into the ")
    assert "200000" in line
    assert cut.startswith("cut off after 2 tokens")
    roomy = cli("chat", "Hello", "-m", endless_model, "--max-new-tokens", 2, "--max-context", 99)
    assert roomy.stderr == f"{cut}\n"


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hardware, "MEMORY_FILE", tmp_path / "none")
    assert hardware.free_host_bytes() is None


def test_a_container_with_less_memory_than_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemAvailable:   1000 kB\n")
    monkeypatch.setattr(hardware, "MEMORY_FILE", file)
    monkeypatch.setattr(hardware, "GROUP_FOLDER", tmp_path)
    assert hardware.free_host_bytes() == 1_024_000
    (tmp_path / "memory.current").write_text("1500\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware.free_host_bytes() == 1_024_000
    (tmp_path / "memory.max").write_text("4000\n")
    assert hardware.free_host_bytes() == 2500
