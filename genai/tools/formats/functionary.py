"""Functionary v3.1 for Llama 3, and Llama 3 as its custom tools are documented.

```text
<function=get_weather>{"city": "Paris"}</function>
```
"""

from __future__ import annotations

from genai.tools.format import Arguments, Block, Name, ToolFormat

__all__ = ["FUNCTIONARY"]

FUNCTIONARY = ToolFormat(
    name="functionary",
    found_by=(("<function=",),),
    blocks=(Block(call=("<function=", Name(), ">", Arguments(), "</function>")),),
)
