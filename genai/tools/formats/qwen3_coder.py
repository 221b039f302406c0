"""Qwen 3 Coder and Qwen 3.5.

```text
<tool_call>
<function=get_weather>
<parameter=city>
Paris
</parameter>
</function>
</tool_call>
```

The outer tag is sometimes left out.
"""

from __future__ import annotations

from genai.tools.format import Block, Name, Parameters, ToolFormat

__all__ = ["QWEN3_CODER"]

_PARAMETERS = Parameters(begin="<parameter=", after_key=(">\n",), end="\n</parameter>\n", trims=True)

QWEN3_CODER = ToolFormat(
    name="qwen3-coder",
    found_by=(("<function=", "<parameter="),),
    blocks=(
        Block(
            begin="<tool_call>\n",
            call=("<function=", Name(), ">\n", _PARAMETERS, "</function>"),
            end="\n</tool_call>",
        ),
        Block(call=("<function=", Name(), ">\n", _PARAMETERS, "</function>"), end="\n</tool_call>"),
    ),
)
