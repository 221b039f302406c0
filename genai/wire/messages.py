"""Messages of a body, as chat templates know them; their roles are those that some template tells apart.

In Python a role is the template's business (`plain_messages`), since whoever writes the call can choose both. A client that
sends another role meant one of these: most templates would put it into the prompt as it is, or leave the message out.
"""

from __future__ import annotations

from typing import Any

from genai.config import plain_messages
from genai.config.messages import ROLES
from genai.errors import OptionError
from genai.wire.fields import BodyError

__all__ = ["TAKEN_ROLES", "read_messages"]

TAKEN_ROLES = (
    *ROLES,
    *("ipython", "tool_response"),  # results of tools: Llama's, Gemma's and SmolLM3's
    "model",  # the assistant, in Gemma's
    *("document", "query"),  # of rerankers, and of Granite
    "control",  # Granite's
)
"""The roles that a message may have."""


def read_messages(messages: list[Any]) -> list[dict[str, Any]]:
    """Return messages with a role and a text each, and calls in OpenAI's form.

    Raises:
        BodyError: One is no message, or has a role that is none of `TAKEN_ROLES`.
    """
    try:
        plain = plain_messages(messages)
    except OptionError as error:
        raise BodyError(str(error), "messages") from None
    for index, message in enumerate(plain):
        role = message["role"]
        if role not in TAKEN_ROLES:
            raise BodyError(
                f'messages[{index}]: unknown role "{role:.100}"; there are: {", ".join(TAKEN_ROLES)}',
                "messages",
            )
    return plain
