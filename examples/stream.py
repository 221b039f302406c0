"""Print an answer as it is generated: `python examples/stream.py [MODEL]`."""

import sys

from genai import Generator, Message

with Generator(sys.argv[1] if len(sys.argv) > 1 else "demo") as generator:
    for piece in generator.stream_chat([Message("user", "What is a KV cache?")], max_new_tokens=80):
        print(piece.text, end="", flush=True)
    print()
