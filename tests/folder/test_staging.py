from __future__ import annotations

from pathlib import Path

import pytest

from genai import ExportError
from genai.folder import staged_folder


def test_of_two_exports_to_one_place_the_later_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def export_late() -> None:
        with staged_folder(target) as late:
            (late / "file").write_text("late")
            with staged_folder(target) as early:
                (early / "file").write_text("early")

    with pytest.raises(ExportError, match="exists already"):
        export_late()
    assert (target / "file").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
