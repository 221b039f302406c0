"""What docs/serving.md tells people to copy, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["ADDRESS", "blocks"]

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
ADDRESS = "http://127.0.0.1:8000"


def blocks(beginning: str) -> list[str]:
    """Return the page's blocks of code that begin so; there is at least one."""
    found = re.findall(r"^```\w*\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    chosen = [block for block in found if block.startswith(beginning)]
    assert chosen, f"docs/serving.md has no code that begins with {beginning!r}"
    return chosen
