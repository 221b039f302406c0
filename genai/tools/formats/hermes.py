r"""Hermes 2 and 3, Qwen 2.5 and 3, Granite 4, SmolLM3 and others.

```text
<tool_call>
{"name": "get_weather", "arguments": {"city": "Paris"}}
</tool_call>
```

Parallel calls have a tag each.
"""

from __future__ import annotations

from genai.tools.format import Block, CallObject, ToolFormat

__all__ = ["HERMES"]

HERMES = ToolFormat(
    name="hermes",
    found_by=(("<tool_call>",),),
    blocks=(
        Block(
            begin="<tool_call>\n",
            call=(CallObject(),),
            end="\n</tool_call>",
            brackets=("[", "]"),
            separator=",",
        ),
    ),
)
