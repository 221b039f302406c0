"""Mistral: a list of objects up to tokenizer v7, names and arguments apart from v11 on.

```text
[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "9Ae3bDc2F"}]
[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]get_time[ARGS]{"zone": "CET"}
[TOOL_CALLS]get_weather[CALL_ID]9Ae3bDc2F[ARGS]{"city": "Paris"}
```

Ids have nine letters and digits, which its templates insist on.
"""

from __future__ import annotations

from genai.tools.format import Arguments, Block, CallId, CallObject, Maybe, Name, ToolFormat

__all__ = ["MISTRAL", "MISTRAL_NAMED"]


def _make_id() -> str:
    import secrets
    import string

    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


_LIST = Block(
    begin="[TOOL_CALLS]",
    call=(CallObject(id="id"),),
    brackets=("[", "]"),
    writes_brackets=True,
)
_NAMED = Block(
    begin="[TOOL_CALLS]",
    call=(Name(), CallId("[CALL_ID]", "[A-Za-z0-9]{9}"), Maybe(("[ARGS]",)), Arguments()),
)

MISTRAL = ToolFormat(
    name="mistral",
    found_by=(("[TOOL_CALLS]",),),
    blocks=(_LIST, _NAMED),
    make_id=_make_id,
)
MISTRAL_NAMED = ToolFormat(
    name="mistral-named",
    found_by=(("[TOOL_CALLS]", "[ARGS]"),),
    blocks=(_NAMED, _LIST),
    make_id=_make_id,
)
