"""Calls as a list of Python calls: Llama 4, Llama 3.2's small models, LFM2, OLMo 3, ToolACE.

```text
[get_weather(city="Paris"), get_time(zone="CET")]
```

Llama 4 may put `<|python_start|>` and `<|python_end|>` around it, LFM2 `<|tool_call_start|>` and `<|tool_call_end|>`.
"""

from __future__ import annotations

from genai.tools.format import Block, Keywords, Name, ToolFormat

__all__ = ["LFM2", "PYTHONIC"]

_CALL = (Name(), Keywords())

PYTHONIC = ToolFormat(
    name="pythonic",
    found_by=(("<|python_start|>",), ("[func_name1(",)),
    blocks=(
        Block(call=_CALL, brackets=("[", "]"), needs_brackets=True, writes_brackets=True, at_start=True),
        Block(
            begin="<|python_start|>",
            call=_CALL,
            end="<|python_end|>",
            brackets=("[", "]"),
            writes_brackets=True,
        ),
    ),
)

LFM2 = ToolFormat(
    name="lfm2",
    found_by=(("<|tool_call_start|>",), ("<|tool_list_start|>",)),
    blocks=(
        Block(
            begin="<|tool_call_start|>",
            call=_CALL,
            end="<|tool_call_end|>",
            brackets=("[", "]"),
            writes_brackets=True,
        ),
    ),
)
