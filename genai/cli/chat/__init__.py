"""`genai chat`: a conversation in a terminal, or one answer in a pipe.

`Session` holds the conversation and knows no terminal; `Repl` turns lines into answers and commands over a `Screen`;
`terminal` reads the lines; `chat` is the command that joins them.
"""

from __future__ import annotations

from genai.cli.chat.chat import chat

__all__ = ["chat"]
