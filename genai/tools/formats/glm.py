"""GLM 4.5 to 4.7.

```text
<tool_call>get_weather
<arg_key>city</arg_key>
<arg_value>Paris</arg_value>
</tool_call>
```
"""

from __future__ import annotations

from genai.tools.format import Block, Name, Parameters, ToolFormat

__all__ = ["GLM"]

GLM = ToolFormat(
    name="glm",
    found_by=(("<arg_key>",),),
    blocks=(
        Block(
            begin="<tool_call>",
            call=(
                Name(),
                Parameters(
                    begin="\n<arg_key>", after_key=("</arg_key>", "\n<arg_value>"), end="</arg_value>"
                ),
                "\n</tool_call>",
            ),
        ),
    ),
)
