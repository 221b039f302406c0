"""Write the table of generation options into docs/generation.md, from their definitions.

    python scripts/write_option_table.py

A row per option: its default and range, what transformers, vLLM and llama.cpp's server call it, and with which searches it
means nothing or is refused.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from genai.config import GenerationConfig, options_of

PAGE = Path(__file__).parents[1] / "docs" / "generation.md"
BEGIN, END = "<!-- options -->\n", "<!-- end of options -->\n"


def main() -> None:
    """Write the page."""
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(before + BEGIN + option_table() + END + after, "utf-8")


def option_table() -> str:
    """Return the table in Markdown."""
    rows = [
        ["option", "default", "range", "transformers", "vLLM", "llama.cpp", "not with"],
        ["---"] * 7,
    ]
    config = GenerationConfig()
    defaults = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, known in options_of(GenerationConfig).items():
        names = [f"`{each}`" if each else "–" for each in (known.transformers, known.vllm, known.llama_cpp)]
        default = "from the others" if name == "do_sample" else _show(defaults[name])
        rows.append([f"`{name}`", default, known.check.range, *names, ", ".join(known.without) or "–"])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _show(value: Any) -> str:
    return (
        "none" if value is None or value in ((), {}) else f"{value:g}" if type(value) is float else str(value)
    )


if __name__ == "__main__":
    main()
