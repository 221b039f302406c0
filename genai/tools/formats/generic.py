"""Calls as plain JSON, for models whose template knows no tools: what an answer begins with.

```text
{"name": "get_weather", "arguments": {"city": "Paris"}}
```

A list of such objects is several calls.
"""

from __future__ import annotations

from genai.tools.format import Block, CallObject, ToolFormat

__all__ = ["GENERIC"]

GENERIC = ToolFormat(
    name="generic",
    found_by=(),
    blocks=(
        Block(call=(CallObject(),), brackets=("[", "]"), at_start=True),
        Block(begin="```json", call=(CallObject(),), end="```", brackets=("[", "]"), at_start=True),
    ),
)
