"""DeepSeek V3 and R1, whose arguments stand in a fence, and V3.1, whose do not.

```text
<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather
```json
{"city": "Paris"}
```<｜tool▁call▁end｜><｜tool▁calls▁end｜>

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>
```

Where the outer marker is left out, a call begins with its own.
"""

from __future__ import annotations

from genai.tools.format import Arguments, Block, Name, Part, ToolFormat

__all__ = ["DEEPSEEK_V3", "DEEPSEEK_V31"]

_FENCED: tuple[Part, ...] = (
    "<｜tool▁call▁begin｜>",
    "function",
    "<｜tool▁sep｜>",
    Name(),
    "\n```json\n",
    Arguments(),
    "\n```",
    "<｜tool▁call▁end｜>",
)
_PLAIN: tuple[Part, ...] = (
    "<｜tool▁call▁begin｜>",
    Name(),
    "<｜tool▁sep｜>",
    Arguments(),
    "<｜tool▁call▁end｜>",
)


def _blocks(call: tuple[Part, ...]) -> tuple[Block, ...]:
    end = "<｜tool▁calls▁end｜>"
    return (
        Block(begin="<｜tool▁calls▁begin｜>", call=call, end=end, holds_several=True),
        Block(call=call, end=end),
    )


DEEPSEEK_V3 = ToolFormat(
    name="deepseek-v3",
    found_by=(("<｜tool▁call▁begin｜>", "```json"),),
    blocks=_blocks(_FENCED),
)
DEEPSEEK_V31 = ToolFormat(
    name="deepseek-v3.1",
    found_by=(("<｜tool▁call▁begin｜>",),),
    blocks=_blocks(_PLAIN),
)
