"""gpt-oss: messages in channels.

```text
<|channel|>analysis<|message|>I need the weather.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris"}<|call|>
```

The recipient may stand before the channel, too. What is said is in the channels `final` and, before a call, `commentary`.
"""

from __future__ import annotations

from genai.tools.format import Arguments, Block, Maybe, Name, Part, ToolFormat

__all__ = ["HARMONY"]

_TYPE = Maybe((" <|constrain|>json", "<|constrain|>", "json", "code"))


def _channel_first(channel: str) -> Block:
    call: tuple[Part, ...] = (Name(), _TYPE, "<|message|>", Arguments(), "<|call|>")
    return Block(begin=f"<|channel|>{channel} to=functions.", call=call)


def _recipient_first(begin: str, *, at_start: bool) -> Block:
    channel = Maybe(("<|channel|>commentary", "<|channel|>analysis"))
    call: tuple[Part, ...] = (Name(), channel, _TYPE, "<|message|>", Arguments(), "<|call|>")
    return Block(begin=begin, call=call, at_start=at_start)


HARMONY = ToolFormat(
    name="harmony",
    found_by=(("<|channel|>", "<|message|>"),),
    blocks=(
        _channel_first("commentary"),
        _channel_first("analysis"),
        _recipient_first("to=functions.", at_start=True),
        _recipient_first("<|start|>assistant to=functions.", at_start=False),
    ),
    silent=(
        "<|start|>assistant",
        "<|channel|>final<|message|>",
        "<|channel|>final <|constrain|>json<|message|>",
        "<|channel|>commentary<|message|>",
        "<|end|>",
        "<|call|>",
        "<|return|>",
    ),
)
