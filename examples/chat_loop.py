"""A conversation in fifteen lines; an empty line ends it: `python examples/chat_loop.py [MODEL]`."""

import sys

from genai import Generator, Message

with Generator(sys.argv[1] if len(sys.argv) > 1 else "demo") as generator:
    messages: list[Message] = []
    while question := input("> "):
        messages.append(Message("user", question))
        answer = ""
        for piece in generator.stream_chat(messages):
            print(piece.text, end="", flush=True)
            answer += piece.text
        print()
        messages.append(Message("assistant", answer))
