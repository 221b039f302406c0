"""Whether a model is to think before it answers, as a body asks for it: carried out by what the model's chat template knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.text import Tokenizer
from genai.tools import find_reasoning
from genai.tools.thinking import thinking_variables
from genai.wire.fields import BodyError

__all__ = ["Thinking"]


@dataclass(frozen=True, slots=True)
class Thinking:
    """A wish that a model thinks before it answers, or does not.

    Args:
        wanted: Whether it is to, or how much, in a word that chat templates know.
        field: What the body calls it.
        max_tokens: Most tokens of it; `None` is no limit.
        is_needed: Whether a model that does not think is refused, or answers without.
    """

    wanted: bool | str
    field: str
    max_tokens: int | None = None
    is_needed: bool = True

    def arguments(self, prompt: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
        """Return the arguments of `Generator.build_request` that carry it out, beside those of the prompt.

        A model that can only think and is not to ends its reasoning as soon as it begins.

        Raises:
            BodyError: The model cannot.
        """
        template = tokenizer.template_for(has_tools=prompt.get("tools") is not None)
        variables = thinking_variables(template.variables, self.wanted)
        if find_reasoning(template.source) is None and variables is None:
            if self.wanted and self.is_needed:
                raise BodyError(
                    f"{self.field}: this model's chat template marks no reasoning: leave it out", self.field
                )
            return {}
        if variables is None and isinstance(self.wanted, str) and self.is_needed:
            raise BodyError(
                f"{self.field}: this model's chat template knows no degrees of reasoning, nor a switch for it: leave it out "
                "(max_reasoning_tokens is a limit that needs neither)",
                self.field,
            )
        arguments: dict[str, Any] = {}
        if variables is not None:
            arguments["template_options"] = {**variables, **(prompt.get("template_options") or {})}
        limit = self.max_tokens if self.wanted or variables is not None else 0
        if limit is not None:
            arguments["max_reasoning_tokens"] = limit
        return arguments
