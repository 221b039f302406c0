"""Google-style docstrings, taken apart."""

from __future__ import annotations

import re

__all__ = ["read_docstring"]

_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?|Attributes):\s*")
_ARGUMENT = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the description, which ends at the first section, and what the section of arguments says."""
    description: list[str] = []
    arguments: dict[str, str] = {}
    section, current, indent = "", "", -1
    for line in text.splitlines():
        if found := _SECTION.fullmatch(line):
            section = found[1]
            continue
        if not section:
            description.append(line)
        elif section in ("Args", "Arguments", "Parameters") and line.strip():
            depth = len(line) - len(line.lstrip())
            indent = depth if indent < 0 else indent
            begins = _ARGUMENT.fullmatch(line.strip())
            if begins and depth <= indent:
                current = begins[1]
                arguments[current] = begins[2]
            elif current:
                arguments[current] = f"{arguments[current]} {line.strip()}".strip()
    paragraphs = "\n".join(description).strip()
    return re.sub(r"(?<!\n)\n(?!\n)", " ", paragraphs), arguments
