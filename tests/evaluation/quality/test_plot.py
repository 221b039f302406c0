"""A plot is drawn where matplotlib is, and refused early where it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from genai.errors import GenaiError, OptionError
from genai.evaluation.quality import Text, check_plot, evaluate_quality, packaged_texts, plot_quality
from genai.generator import Generator

TEXT = Text("prose", packaged_texts()[0].content[:400])


@pytest.mark.parametrize("is_compared", [False, True])
@pytest.mark.parametrize(("suffix", "beginning"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_plot(
    tiny: Generator, tiny_int4: Generator, tmp_path: Path, is_compared: bool, suffix: str, beginning: bytes
) -> None:
    pytest.importorskip("matplotlib")
    reports = [
        evaluate_quality(model, against=tiny if is_compared else None, texts=[TEXT], name=f"the {number}")
        for number, model in enumerate((tiny, tiny_int4))
    ]
    path = tmp_path / f"quality{suffix}"
    plot_quality(reports, path)
    content = path.read_bytes()
    assert content.startswith(beginning)
    if suffix == ".svg":
        assert b"the 0" in content
        assert (b"KL divergence" in content) == is_compared


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(GenaiError, match=r"pip install matplotlib"):
        check_plot("quality.png")


@pytest.mark.parametrize(
    ("path", "message"),
    [("quality.pdf", "ends in .png or .svg"), ("nowhere/quality.png", "no folder nowhere")],
)
def test_places_that_no_plot_can_have(path: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_plot(path)
