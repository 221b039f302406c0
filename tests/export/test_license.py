"""The licence that a checkpoint states."""

from __future__ import annotations

from pathlib import Path

import pytest

from genai.config import ExportSettings
from genai.export import carry_out, plan_export
from genai.export.checkpoint.license import stated_license
from genai.folder import CARD_FILE, ModelFolder
from tests.checkpoints import make_checkpoint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n# Model", "apache-2.0"),
        ('---\r\nlicense: "mit"  # yes\r\n---\r\n', "mit"),
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "qwen-research"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense_name: odd\n---\n", "odd"),
        ("---\nlicense:\n- mit\n---\n", None),
        ("# Model\nlicense: mit\n", None),
        ("---\ntags: x\n---\nlicense: mit\n---\n", None),
        ("", None),
        (None, None),
    ],
)
def test_a_readme(text: str | None, expected: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "README.md").write_text(text, encoding="utf-8", newline="")
    assert stated_license(tmp_path) == expected


def test_the_checkpoints_word_goes_before_its_pages(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    plan = plan_export(checkpoint, ExportSettings("fp32"))
    folder = carry_out(plan, tmp_path / "one", page_license="MIT")
    assert folder.manifest is not None
    assert folder.manifest.license == "MIT"
    (checkpoint / "README.md").write_text("---\nlicense: gemma\n---\nThe checkpoint's own words.")
    folder = carry_out(plan, tmp_path / "two", page_license="MIT")
    manifest = ModelFolder.load(folder.path).manifest
    assert manifest is not None
    assert manifest.license == "gemma"
    card = (folder.path / CARD_FILE).read_text()
    assert "license: gemma" in card
    assert "own words" not in card
    assert CARD_FILE not in manifest.files
    sizes = [file.stat().st_size for file in folder.path.glob("model.onnx*")]
    assert manifest.num_bytes == sum(sizes)
    assert manifest.num_parameters is not None
    assert manifest.bits_per_weight == pytest.approx(32, rel=0.5)
