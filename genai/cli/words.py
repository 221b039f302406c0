"""What people type who come from ollama and others: words that stand for commands here, and those that have none."""

from __future__ import annotations

from collections.abc import Sequence

from genai.errors import OptionError

__all__ = ["WORDS", "expand_words"]

WORDS = {
    "pull": ("models", "pull"),
    "list": ("models", "list"),
    "ls": ("models", "list"),
    "show": ("models", "show"),
    "rm": ("models", "remove"),
}
"""Words, and the commands that they stand for."""

_ELSEWHERE = {
    "ps": "no model stays loaded between commands; `genai models list` shows which are on this machine",
    "create": "`genai export CHECKPOINT -o DIR` makes a model folder, and --model takes its path",
}


def expand_words(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the command that its first word stands for.

    Raises:
        OptionError: The word stands for none; it says what to do instead.

    >>> expand_words(["rm", "phi", "--yes"]), expand_words(["run", "phi", "Hello"])
    (['models', 'remove', 'phi', '--yes'], ['chat', '--model', 'phi', 'Hello'])
    >>> expand_words(["chat", "list"])
    ['chat', 'list']
    """
    first, rest = arguments[:1], list(arguments[1:])
    word = first[0] if first else ""
    if word in _ELSEWHERE:
        raise OptionError(f"there is no `genai {word}`: {_ELSEWHERE[word]}")
    if word == "run":
        return ["chat", *_with_model(rest)]
    return [*WORDS.get(word, first), *rest]


def _with_model(arguments: Sequence[str]) -> list[str]:
    if list(arguments) in ([], ["--help"], ["-h"]):
        return list(arguments)
    if arguments[0].startswith("-"):
        raise OptionError(
            "`genai run` takes the model first: genai run MODEL [PROMPT] [options], short for genai chat --model MODEL"
        )
    return ["--model", *arguments]
