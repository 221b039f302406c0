"""Granite 3.

```text
<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]
```

Some write `<tool_call>` instead.
"""

from __future__ import annotations

from genai.tools.format import Block, CallObject, ToolFormat

__all__ = ["GRANITE"]

GRANITE = ToolFormat(
    name="granite",
    found_by=(("<|tool_call|>", "<|start_of_role|>"),),
    blocks=tuple(
        Block(begin=begin, call=(CallObject(),), end=end, brackets=("[", "]"), writes_brackets=True)
        for begin, end in (("<|tool_call|>", ""), ("<tool_call>", "</tool_call>"))
    ),
)
