"""The items that a response's output consists of, and the events that tell of each while it comes."""

from __future__ import annotations

import base64
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from genai.wire.exchange import Event

__all__ = ["CallItem", "MessageItem", "OutputItem", "ReasoningItem", "Status", "decode_reasoning"]

Status = Literal["in_progress", "completed", "incomplete"]
_Part = Mapping[str, Any]


class OutputItem(ABC):
    """One item while it comes.

    Args:
        index: Its place in the output.
    """

    _id_begins: ClassVar[str]
    _delta_type: ClassVar[str]

    def __init__(self, index: int) -> None:
        self.id = f"{self._id_begins}_{uuid.uuid4().hex}"
        self.index = index
        self.status: Status = "in_progress"
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """What has come of it."""
        return "".join(self._pieces)

    @property
    @abstractmethod
    def body(self) -> dict[str, Any]:
        """The item as it is now."""

    @abstractmethod
    def begin(self) -> Iterator[Event]:
        """Yield what tells that there is one."""

    def add(self, text: str) -> Event:
        """Take more of it, and return what tells of that."""
        self._pieces.append(text)
        return self._event(f"{self._delta_type}.delta", delta=text)

    @abstractmethod
    def end(self, status: Status) -> Iterator[Event]:
        """Yield what tells that it has ended, whole or not."""

    def _event(self, kind: str, **fields: Any) -> Event:
        return {"type": kind, "item_id": self.id, "output_index": self.index, **fields}

    def _item_event(self, kind: str) -> Event:
        return {"type": kind, "output_index": self.index, "item": self.body}


class _TextItem(OutputItem):
    """An item whose content is one part, a text."""

    @property
    @abstractmethod
    def _part(self) -> _Part:
        """The part as it is now."""

    @property
    def _content(self) -> list[_Part]:
        return [self._part] if self._pieces or self.status != "in_progress" else []

    def begin(self) -> Iterator[Event]:
        yield self._item_event("response.output_item.added")
        yield self._event("response.content_part.added", content_index=0, part=self._part)

    def end(self, status: Status) -> Iterator[Event]:
        self.status = status
        yield self._event(f"{self._delta_type}.done", text=self.text, **self._done)
        yield self._event("response.content_part.done", content_index=0, part=self._part)
        yield self._item_event("response.output_item.done")

    def add(self, text: str) -> Event:
        return {**super().add(text), "content_index": 0}

    @property
    def _done(self) -> dict[str, Any]:
        return {"content_index": 0}


class MessageItem(_TextItem):
    """What the model says.

    Args:
        index: Its place in the output.
    """

    _id_begins = "msg"
    _delta_type = "response.output_text"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._logprobs: list[_Part] = []

    @property
    def body(self) -> dict[str, Any]:
        """The item as it is now."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "status": self.status,
            "content": self._content,
        }

    def add_scored(self, text: str, logprobs: Sequence[_Part]) -> Event:
        """Take more text with the log-probabilities of its tokens."""
        self._logprobs += logprobs
        return {**self.add(text), "logprobs": list(logprobs)}

    def add_scores(self, logprobs: Sequence[_Part]) -> None:
        """Take the log-probabilities of tokens that brought no more text."""
        self._logprobs += logprobs

    @property
    def _part(self) -> _Part:
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": list(self._logprobs)}

    @property
    def _done(self) -> dict[str, Any]:
        return {"content_index": 0, "logprobs": list(self._logprobs)}


class ReasoningItem(_TextItem):
    """What the model thinks.

    Args:
        index: Its place in the output.
        is_packed: Whether it has its text as `encrypted_content`, too, which clients that store nothing hand back.
    """

    _id_begins = "rs"
    _delta_type = "response.reasoning_text"

    def __init__(self, index: int, *, is_packed: bool) -> None:
        super().__init__(index)
        self._is_packed = is_packed

    @property
    def body(self) -> dict[str, Any]:
        """The item as it is now."""
        is_packed = self._is_packed and self.status != "in_progress"
        packed = {"encrypted_content": base64.b64encode(self.text.encode()).decode()} if is_packed else {}
        return {
            "id": self.id,
            "type": "reasoning",
            "status": self.status,
            "summary": [],
            "content": self._content,
            **packed,
        }

    @property
    def _part(self) -> _Part:
        return {"type": "reasoning_text", "text": self.text}


class CallItem(OutputItem):
    """A call of a function.

    Args:
        index: Its place in the output.
        call_id: Ties the call to its result.
        name: The function.
    """

    _id_begins = "fc"
    _delta_type = "response.function_call_arguments"

    def __init__(self, index: int, *, call_id: str, name: str) -> None:
        super().__init__(index)
        self._call_id = call_id
        self._name = name

    @property
    def body(self) -> dict[str, Any]:
        """The item as it is now."""
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "call_id": self._call_id,
            "name": self._name,
            "arguments": self.text,
        }

    def begin(self) -> Iterator[Event]:
        """Yield what tells that there is one."""
        yield self._item_event("response.output_item.added")

    def end(self, status: Status) -> Iterator[Event]:
        """Yield what tells that it has ended, whole or not."""
        self.status = status
        yield self._event(f"{self._delta_type}.done", name=self._name, arguments=self.text)
        yield self._item_event("response.output_item.done")


def decode_reasoning(packed: str) -> str:
    """Return the text that a `ReasoningItem` has packed.

    Raises:
        ValueError: None has.
    """
    return base64.b64decode(packed, validate=True).decode()
