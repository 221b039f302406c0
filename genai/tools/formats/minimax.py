"""MiniMax M2.

```text
<minimax:tool_call>
<invoke name="get_weather">
<parameter name="city">Paris</parameter>
</invoke>
</minimax:tool_call>
```
"""

from __future__ import annotations

from genai.tools.format import Block, Name, Parameters, ToolFormat

__all__ = ["MINIMAX"]

MINIMAX = ToolFormat(
    name="minimax",
    found_by=(("minimax:tool_call",),),
    blocks=(
        Block(
            begin="<minimax:tool_call>\n",
            call=(
                '<invoke name="',
                Name(),
                '">\n',
                Parameters(begin='<parameter name="', after_key=('">',), end="</parameter>\n"),
                "</invoke>\n",
            ),
            end="</minimax:tool_call>",
            holds_several=True,
        ),
    ),
)
