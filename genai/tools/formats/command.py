"""Cohere's Command R7B and Command A.

```text
<|START_ACTION|>[
    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Paris"}}
]<|END_ACTION|>
```

What is said stands between `<|START_RESPONSE|>` and `<|END_RESPONSE|>`.
"""

from __future__ import annotations

from genai.tools.format import Block, CallObject, ToolFormat

__all__ = ["COMMAND"]

COMMAND = ToolFormat(
    name="command",
    found_by=(("<|START_ACTION|>",),),
    blocks=(
        Block(
            begin="<|START_ACTION|>",
            call=(
                CallObject(
                    name="tool_name", arguments=("parameters",), id="tool_call_id", id_pattern="[0-9]{1,3}"
                ),
            ),
            end="<|END_ACTION|>",
            brackets=("[", "]"),
            writes_brackets=True,
        ),
    ),
    silent=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
)
