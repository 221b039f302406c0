"""Sizes and times as people type them."""

from __future__ import annotations

import pytest
import typer

from genai.cli.app import run_app
from genai.cli.quantities import parse_bytes, parse_seconds


@pytest.mark.parametrize("wrong", ["", "2XB", "-1", "5m", "inf", "1e9", "0", "GB"])
def test_what_is_no_size_is_refused_with_the_form(wrong: str) -> None:
    with pytest.raises(typer.BadParameter, match="byte"):
        parse_bytes(wrong)


@pytest.mark.parametrize("wrong", ["", "2GB", "-1", "5d", "nan"])
def test_what_is_no_time_is_refused_with_the_form(wrong: str) -> None:
    with pytest.raises(typer.BadParameter, match="as 5m"):
        parse_seconds(wrong)


def test_the_command_says_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    for option, form in (
        ("--keep-alive", "as 5m"),
        ("--max-loaded-bytes", "as 2GB"),
        ("--kv-cache-bytes", "as 2GB"),
    ):
        assert run_app(["serve", option, "much"]) == 2
        assert form in " ".join(capsys.readouterr().err.split())
