"""The generated table of families names every family that there is."""

from __future__ import annotations

import pkgutil
from pathlib import Path

from genai.export import families

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def test_the_table_has_a_row_for_every_family_and_names_every_architecture() -> None:
    rows = {
        line.split("|")[1].strip(): line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    }
    modules = {module.name for module in pkgutil.iter_modules(families.__path__)}
    assert rows.keys() - {"family"} == modules, "run scripts/measure_families.py"
    assert f"[{len(modules)} families]" in (PAGE.parent.parent / "README.md").read_text(encoding="utf-8")
    table = "".join(rows.values())
    for family in families.FAMILIES:
        for architecture in family.architectures:
            assert f"`{architecture}`" in table, "run scripts/measure_families.py"
