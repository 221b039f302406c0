"""FunctionGemma and Gemma 4.

```text
<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3}<end_function_call>
<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>
```
"""

from __future__ import annotations

from genai.tools.format import Arguments, Block, Name, ToolFormat
from genai.tools.values import GEMMA, GEMMA4

__all__ = ["FUNCTION_GEMMA", "GEMMA_4"]

FUNCTION_GEMMA = ToolFormat(
    name="function-gemma",
    found_by=(("<start_function_call>",),),
    blocks=(
        Block(
            begin="<start_function_call>",
            call=("call:", Name(), Arguments(GEMMA), "<end_function_call>"),
        ),
    ),
)
GEMMA_4 = ToolFormat(
    name="gemma4",
    found_by=(("<|tool_call>call:",),),
    blocks=(Block(begin="<|tool_call>", call=("call:", Name(), Arguments(GEMMA4), "<tool_call|>")),),
)
