"""What the exporter's program says of models and of failures, without a process of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import transformers

from genai.export.foreign import exporter_program
from genai.export.foreign.exporter_program import UnsupportedError, cache_argument, one_line


class Decoder(torch.nn.Module):
    """A decoder as transformers 5.24 has them."""

    def forward(self, input_ids: object, attention_mask: object, cache: object = None) -> None: ...


class OlderDecoder(torch.nn.Module):
    """A decoder as transformers 5.23 has them."""

    def forward(self, input_ids: object, attention_mask: object, past_key_values: object = None) -> None: ...


class LaterDecoder(torch.nn.Module):
    """A decoder with a name for its cache that no transformers has had yet."""

    def forward(self, input_ids: object, attention_mask: object, memory: object = None) -> None: ...


@pytest.mark.parametrize(("kind", "name"), [(Decoder, "cache"), (OlderDecoder, "past_key_values")])
def test_the_cache_goes_by_two_names(kind: type[torch.nn.Module], name: str) -> None:
    assert cache_argument(kind()) == name


def test_another_name_is_told_with_the_version_and_what_was_expected() -> None:
    message = (
        f"the forward pass of LaterDecoder in transformers {transformers.__version__} takes input_ids, attention_mask, "
        "memory; expected attention_mask and cache or past_key_values among them"
    )
    with pytest.raises(UnsupportedError, match=re.escape(message)):
        cache_argument(LaterDecoder())


def test_the_error_at_the_bottom_is_told_without_colours_and_advice() -> None:
    error = RuntimeError("\x1b[96mThis is step 1/3\x1b[0m. Next steps:\n- Modify it")
    error.__cause__ = ValueError("\x1b[31ma size is\x1b[0m 4\nand not 5")
    assert one_line(error) == "ValueError: a size is 4"


def test_advice_for_those_who_maintain_the_exporter_is_left_out() -> None:
    error = RuntimeError(
        "Failed to convert the exported program. \x1b[96mThis is step 3/3\x1b[0m of exporting. Next steps:\n- Debug it"
    )
    assert one_line(error) == "RuntimeError: Failed to convert the exported program."
    assert one_line(
        ValueError("Constraints violated (batch)! For more information, run with TORCH_LOGS")
    ) == ("ValueError: Constraints violated (batch)!")


def test_a_failure_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("size")

    monkeypatch.setattr(exporter_program, "export", fail)
    job = {"checkpoint": "", "output": "", "dtype": "float32", "result": str(tmp_path / "result.json")}
    (tmp_path / "job.json").write_text(json.dumps(job))
    exporter_program.main(str(tmp_path / "job.json"))
    result = json.loads((tmp_path / "result.json").read_text())
    assert result == {"error": "PyTorch failed on it (KeyError: 'size')"}
