"""Kimi K2.

```text
<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Paris"}<|tool_call_end|><|tool_calls_section_end|>
```

A call's id is its name with a number.
"""

from __future__ import annotations

from genai.tools.format import Arguments, Block, Name, Part, ToolFormat

__all__ = ["KIMI"]

_CALL: tuple[Part, ...] = (
    "<|tool_call_begin|>",
    Name(r"(?:functions\.)?(?P<name>[\w.-]+):\d+", is_id=True, written=("functions.", ":[0-9]{1,3}")),
    "<|tool_call_argument_begin|>",
    Arguments(),
    "<|tool_call_end|>",
)
_END = "<|tool_calls_section_end|>"

KIMI = ToolFormat(
    name="kimi",
    found_by=(("<|tool_call_begin|>",), ("<|im_middle|>",)),
    blocks=(
        Block(begin="<|tool_calls_section_begin|>", call=_CALL, end=_END, holds_several=True),
        Block(call=_CALL, end=_END),
    ),
)
