"""Whether a model may, must or must not call, and whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from genai.config import ToolChoiceLike
from genai.errors import OptionError, did_you_mean
from genai.tools.function import Tool

__all__ = ["ToolChoice"]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What a model is to do with its tools.

    Args:
        mode: "none": answer in words; "auto": as it sees fit; "required": call.
        name: The function to call, exactly once; `None` leaves it to the model.
    """

    mode: Literal["none", "auto", "required"] = "auto"
    name: str | None = None

    @classmethod
    def of(cls, value: ToolChoiceLike, tools: Sequence[Tool]) -> Self:
        """Return what a value stands for.

        Raises:
            OptionError: It stands for nothing, or there is no such tool.
        """
        name = value
        if isinstance(value, Mapping):
            function = value.get("function", value)
            name = function.get("name", "") if isinstance(function, Mapping) else ""
        elif value in ("none", "auto"):
            return cls("none" if value == "none" else "auto")
        if not tools:
            raise OptionError(f"tool_choice {value!r} needs tools: pass tools, too", option="tool_choice")
        if value == "required":
            return cls("required")
        names = [tool.name for tool in tools]
        if not isinstance(name, str) or name not in names:
            known = ["none", "auto", "required", *names]
            raise OptionError(
                f"tool_choice must be one of {', '.join(known)}, not {value!r:.200}.{did_you_mean(str(name), known)}",
                option="tool_choice",
            )
        return cls("required", name)

    def allowed(self, tools: Sequence[Tool]) -> Sequence[Tool]:
        """Return the tools that may be called."""
        return [tool for tool in tools if self.mode != "none" and self.name in (None, tool.name)]
