"""Llama 3.1, 3.2 and 3.3, in JSON.

```text
<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}
```

The tag is mostly left out: then a call is what an answer begins with. Several stand one after another, between
semicolons where the model was asked for them so.
"""

from __future__ import annotations

from genai.tools.format import Block, CallObject, ToolFormat

__all__ = ["LLAMA3"]

_CALL = CallObject(arguments=("parameters", "arguments"))

LLAMA3 = ToolFormat(
    name="llama3",
    found_by=(("<|python_tag|>",), ("<|start_header_id|>", '"parameters"')),
    blocks=(
        Block(call=(_CALL,), brackets=("[", "]"), separator=";", at_start=True),
        Block(begin="<|python_tag|>", call=(_CALL,), brackets=("[", "]"), separator=";"),
    ),
)
