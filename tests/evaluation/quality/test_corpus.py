"""The texts that come with the package, and a user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from genai.errors import OptionError
from genai.evaluation.quality import packaged_texts, read_text


def test_texts_come_with_the_package() -> None:
    texts = packaged_texts()
    assert [text.name for text in texts] == ["ferry.txt", "refrigerator.txt"]
    assert all(5_000 < len(text.content) < 8_000 for text in texts)


def test_a_text_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffGrüße".encode())
    assert read_text(path).content == "Grüße"
    assert read_text(path).name == "mine.txt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"Gr\xfc\xdfe", r"is not UTF-8 \(byte 2 is 0xfc\)"),
        (None, "cannot be read: No such file"),
    ],
)
def test_texts_that_cannot_be_scored(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OptionError, match=f"mine.txt {message}"):
        read_text(path)
