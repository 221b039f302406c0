"""Taking apart an answer that has to be in a form: the reasoning before it, and the rest as it is.

Nothing in the form itself is looked at, whatever markers it quotes. What may stand around it is what
`genai.tools.frame_of_answer` lets a model write.
"""

from __future__ import annotations

from genai.tools.answer_reader import AnswerReader
from genai.tools.delta import AnswerDelta
from genai.tools.format import ReasoningFormat
from genai.tools.reasoning_reader import read_reasoning
from genai.tools.source import Reading, Source

__all__ = ["FormParser"]


class FormParser(AnswerReader):
    r"""Takes one answer apart.

    Args:
        reasoning: How reasoning is marked.
        is_reasoning: Whether the prompt has begun the reasoning already.

    >>> parser = FormParser(ReasoningFormat((), "<think>", "</think>"))
    >>> parser.push('<think>A tag?</think>\n\n{"tag": "<think>"}')
    AnswerDelta(text='{"tag": "<think>"}', reasoning='A tag?', tool_calls=())
    """

    def __init__(self, reasoning: ReasoningFormat, *, is_reasoning: bool = False) -> None:
        self._reasoning = reasoning
        self._source = Source()
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._run = self._read(is_reasoning=is_reasoning)

    def _delta(self) -> AnswerDelta:
        delta = AnswerDelta("".join(self._texts), "".join(self._thoughts))
        self._texts, self._thoughts = [], []
        return delta

    def _read(self, *, is_reasoning: bool) -> Reading[None]:
        source, reasoning = self._source, self._reasoning
        if is_reasoning or (yield from source.match(reasoning.begin)):
            if not (yield from read_reasoning(source, reasoning.end, self._tell_reasoning)):
                return
            if reasoning.then:
                yield from source.match(reasoning.then)
            else:
                for _ in range(2):
                    if not (yield from source.match("\n")):
                        break
        for begin in reasoning.answer_begins:
            if (yield from source.match(begin)):
                break
        yield from self._read_form(reasoning.answer_end)

    def _read_form(self, end: str) -> Reading[None]:
        """Tell all that comes, but for an end that nothing follows."""
        source = self._source
        while True:
            source.drop_read()
            text = source.text
            held = next(n for n in range(min(len(end), len(text)), -1, -1) if text.endswith(end[:n]))
            if source.is_finished and held < len(end):
                held = 0
            self._texts.append(text[: len(text) - held])
            source.position = len(text) - held
            if source.is_finished:
                return
            yield

    def _tell_reasoning(self, text: str, *, is_first: bool) -> None:  # noqa: ARG002 - there is one only
        self._thoughts.append(text)
