"""The generated table of options is what their definitions say."""

from __future__ import annotations

from scripts.write_option_table import BEGIN, PAGE, option_table


def test_the_table_is_as_it_would_be_written_now() -> None:
    assert BEGIN + option_table() in PAGE.read_text(encoding="utf-8"), "run scripts/write_option_table.py"
