"""Phi-4-mini.

```text
<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]<|/tool_call|>
functools[{"name": "get_weather", "arguments": {"city": "Paris"}}]
```
"""

from __future__ import annotations

from genai.tools.format import Block, CallObject, ToolFormat

__all__ = ["PHI4"]

PHI4 = ToolFormat(
    name="phi4",
    found_by=(("<|/tool_call|>",), ("<|/tool|>",), ("functools[",)),
    blocks=(
        Block(
            begin="<|tool_call|>",
            call=(CallObject(),),
            end="<|/tool_call|>",
            brackets=("[", "]"),
            writes_brackets=True,
        ),
        Block(begin="functools", call=(CallObject(),), brackets=("[", "]"), needs_brackets=True),
    ),
)
