"""The texts of calibrations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genai.calibration import CalibrationText, packaged_text, read_calibration_text
from genai.calibration.corpus import MAX_SEQUENCES, cut_sequences
from genai.errors import OptionError
from genai.evaluation.quality import packaged_texts
from genai.text import Tokenizer
from tests.text.tokenizers_for_tests import byte_level, write_folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_folder(write_folder(tmp_path_factory.mktemp("tokenizer"), byte_level()))


def test_the_packaged_text_is_none_to_measure_on() -> None:
    content = packaged_text().content
    assert 25_000 < len(content) < 40_000
    for text in packaged_texts():
        lines = [line for line in text.content.splitlines() if line.strip()]
        assert not any(line in content for line in lines)


def test_json_lines_and_folders(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('"one"\n\n{"text": "two", "id": 7}\n')
    (tmp_path / "a.txt").write_text("zero")
    (tmp_path / "c.md").write_text("not read")
    assert read_calibration_text(tmp_path / "b.jsonl").content == "one\n\ntwo"
    assert read_calibration_text(tmp_path).content == "zero\n\none\n\ntwo"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\xff", "is not UTF-8"),
        ("a.jsonl", b'"one"\n{"txt": 1}', r'a\.jsonl:2: a line is a string, or an object with a "text"'),
        ("a.jsonl", b"{", r"a\.jsonl:1: not JSON"),
        ("missing.txt", None, "cannot be read"),
        (".", None, r"holds no text to calibrate with: no \.txt or \.jsonl files"),
    ],
)
def test_what_is_no_text(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(OptionError, match=message):
        read_calibration_text(tmp_path / name)


def test_sequences_reach_from_the_beginning_to_the_end(tokenizer: Tokenizer) -> None:
    text = packaged_text()
    token_ids = tokenizer.encode(text.content, add_special_tokens=False)
    sequences = cut_sequences(text, tokenizer, context_length=4096)
    assert {len(sequence) for sequence in sequences} == {1024}
    assert len(sequences) == len(token_ids) // 1024
    np.testing.assert_array_equal(sequences[0], token_ids[:1024])
    np.testing.assert_array_equal(sequences[-1], token_ids[-1024:])
    assert {len(each) for each in cut_sequences(text, tokenizer, context_length=100)} == {100}


def test_a_long_text_is_not_run_whole(tokenizer: Tokenizer) -> None:
    text = CalibrationText("long", "abc " * 200_000)
    assert len(cut_sequences(text, tokenizer, context_length=64)) == MAX_SEQUENCES
