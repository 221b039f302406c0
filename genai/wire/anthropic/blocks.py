"""Anthropic's messages of content blocks as messages with a text, reasoning and calls each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genai.wire.fields import JSON_TYPES, BodyError, json_type

__all__ = ["plain_conversation", "text_of"]

_MARKS = frozenset({"cache_control", "citations", "signature", "caller", "toolset_name"})
"""Keys of blocks that say where something came from or is to be kept, and change nothing of what is said."""
_KEYS: Mapping[str, Mapping[str, type]] = {
    "text": {"text": str},
    "thinking": {"thinking": str},
    "tool_use": {"id": str, "name": str, "input": dict},
    "tool_result": {"tool_use_id": str},
}
"""What a block of each type must have."""
_OPTIONAL = {"tool_result": frozenset({"content", "is_error"})}
_BLOCKS = {
    "user": ("text", "tool_result"),
    "assistant": ("text", "thinking", "tool_use"),
    "system": ("text",),
}
"""The types of blocks that a message of each role may have."""


def plain_conversation(messages: Any) -> list[dict[str, Any]]:
    """Return messages as chat templates know them: each result of a call is one of its own, and one role's turns are joined.

    Raises:
        BodyError: They are no messages, or a block is of a type that is not known here.
    """
    if not isinstance(messages, list) or not messages:
        raise BodyError("messages must be a list of messages that is not empty", "messages")
    plain: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # of the functions called, by the calls' ids
    for index, message in enumerate(messages):
        for each in _plain_messages(message, f"messages[{index}]", names):
            _add(plain, each)
    return plain


def text_of(content: Any, where: str, *, between: str = "") -> str:
    """Return a text, or the texts of a list of text blocks.

    Args:
        content: The text or the blocks.
        where: What errors call them.
        between: What is put between two blocks.

    Raises:
        BodyError: It is neither.
    """
    blocks = _blocks(content, where, ("text",))
    return between.join(block["text"] for block in blocks)


def _plain_messages(message: Any, where: str, names: dict[str, str]) -> Iterator[dict[str, Any]]:
    if not isinstance(message, Mapping) or message.get("role") not in tuple(_BLOCKS):
        raise _error(f'{where} must be an object with the role "user" or "assistant" and a content')
    if unknown := message.keys() - {"role", "content"}:
        raise _error(f'{where} has an unknown key "{min(unknown)}"')
    role = message["role"]
    blocks = _blocks(message.get("content"), f"{where}.content", _BLOCKS[role])
    if role == "assistant":
        yield _answer(blocks, names)
        return
    texts: list[str] = []
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            texts.append(block["text"])
            continue
        if texts:
            yield {"role": role, "content": "".join(texts)}
            texts = []
        yield _result(block, f"{where}.content[{index}]", names)
    if texts or not blocks:
        yield {"role": role, "content": "".join(texts)}


def _answer(blocks: Sequence[Mapping[str, Any]], names: dict[str, str]) -> dict[str, Any]:
    def joined(kind: str) -> str:
        return "".join(block[kind] for block in blocks if block["type"] == kind)

    calls = [block for block in blocks if block["type"] == "tool_use"]
    names |= {call["id"]: call["name"] for call in calls}
    answer: dict[str, Any] = {"role": "assistant", "content": joined("text")}
    if reasoning := joined("thinking"):
        answer["reasoning_content"] = reasoning
    if calls:
        answer["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["input"]},
            }
            for call in calls
        ]
    return answer


def _result(block: Mapping[str, Any], where: str, names: Mapping[str, str]) -> dict[str, Any]:
    call_id = block["tool_use_id"]
    if call_id not in names:
        raise _error(f'{where}: no tool_use before it has the id "{call_id:.100}"')
    content = text_of(block.get("content") or "", f"{where}.content")
    is_error = block.get("is_error") or False
    if not isinstance(is_error, bool):
        raise _error(f"{where}: is_error must be true or false")
    return {
        "role": "tool",
        "tool_call_id": call_id,
        "name": names[call_id],
        "content": f"Error: {content}" if is_error else content,  # templates have no other place for it
    }


def _add(messages: list[dict[str, Any]], message: dict[str, Any]) -> None:
    """Append a message, or join it with the last one if both are one turn: many templates want the roles to alternate."""
    last = messages[-1] if messages else None
    if last is None or last["role"] != message["role"] or message["role"] in ("tool", "system"):
        messages.append(message)
        return
    between = "\n\n" if last["content"] and message["content"] and message["role"] == "user" else ""
    joined = {**last, **message, "content": last["content"] + between + message["content"]}
    for name in ("reasoning_content", "tool_calls"):
        if name in last and name in message:
            joined[name] = last[name] + message[name]
    messages[-1] = joined


def _blocks(content: Any, where: str, kinds: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return a content as blocks, each of which was looked at."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise _error(f"{where} must be a text or a list of blocks, not {json_type(content)}", where)
    for index, block in enumerate(content):
        _check_block(block, f"{where}[{index}]", kinds)
    return content


def _check_block(block: Any, where: str, kinds: Sequence[str]) -> None:
    if not isinstance(block, Mapping):
        raise _error(f"{where} must be an object with a type, not {json_type(block)}", where)
    kind = block.get("type")
    if kind not in kinds:
        raise _error(
            f"{where}: a block here can be of the type {' or '.join(kinds)}, not {kind!r:.100}: texts are all that is read",
            where,
        )
    required = _KEYS[str(kind)]
    for name, type_ in required.items():
        if type(block.get(name)) is not type_:
            raise _error(f'{where}: a block of the type {kind} needs "{name}", {JSON_TYPES[type_]}', where)
    known = {"type", *required, *_OPTIONAL.get(str(kind), ()), *_MARKS}
    for name, value in block.items():
        if name not in known and value is not None:
            raise _error(f'{where}: a block of the type {kind} has no "{name}" here', where)


def _error(message: str, where: str = "messages") -> BodyError:
    return BodyError(message, where.partition("[")[0].partition(".")[0])
