"""Taking an answer apart as it comes: text, reasoning and calls of functions.

What comes out depends on the text alone, never on how it was cut. A call that is damaged (no JSON, a function that does
not exist, cut off) comes back as the text that it was; of one that is known to be none of these, because a grammar holds
the model to it, what came stays, wherever it is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genai.tools.answer_reader import AnswerReader
from genai.tools.call_reader import CallReader, make_call_id
from genai.tools.delta import Answer, AnswerDelta, AnswerParts, ToolCallDelta
from genai.tools.format import Block, ReasoningFormat, ToolFormat
from genai.tools.markers import Markers
from genai.tools.reasoning_reader import read_reasoning
from genai.tools.source import Damaged, Reading, Source

__all__ = ["AnswerParser", "parse_answer"]

_BETWEEN_REASONINGS = "\n\n"


class AnswerParser(AnswerReader):
    r"""Takes one answer apart.

    White space beside a marker belongs to it: the text keeps what separates two parts of it, and loses what stands at
    its ends because reasoning or a call stood there.

    Args:
        tool_format: How calls are written; `None` looks for none.
        tools: The schemas of the parameters of the functions that may be called, by name; without any, none is looked
            for.
        reasoning: How reasoning is marked; `None` looks for none.
        is_reasoning: Whether the prompt has begun the reasoning already.
        are_calls_sure: Whether a grammar holds the model to calls, of the format's first form, that it has begun.
        reads_one_call: Whether the answer ends behind its first call, whatever follows.
        make_id: Makes the ids of calls that have none; `None` does as the format does.

    >>> from genai.tools import find_format
    >>> parser = AnswerParser(find_format("<tool_call>"), {"now": {}}, make_id=lambda: "call_1")
    >>> parser.push('Let me see.\n<tool_call>{"name": "now", "argu').text
    'Let me see.'
    >>> parser.push('ments": {}}</tool_call>').tool_calls
    (ToolCallDelta(index=0, id='call_1', name='now', arguments='{}', is_withdrawn=False, is_sure=False, is_cut=False),)
    """

    def __init__(
        self,
        tool_format: ToolFormat | None = None,
        tools: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        reasoning: ReasoningFormat | None = None,
        is_reasoning: bool = False,
        are_calls_sure: bool = False,
        reads_one_call: bool = False,
        make_id: Callable[[], str] | None = None,
    ) -> None:
        self._tools = tools or {}
        blocks = tool_format.blocks if tool_format is not None and self._tools else ()
        self._sure_block = blocks[0] if are_calls_sure and blocks else None
        self._blocks = [block for block in blocks if not block.at_start]
        self._first_blocks = [block for block in blocks if block.at_start]
        self._reads_one_call = reads_one_call
        self._reasoning = reasoning
        self._silent = frozenset(tool_format.silent if tool_format is not None else ())
        self._make_id = make_id or (tool_format and tool_format.make_id) or make_call_id
        around = reasoning.markers if reasoning is not None else ()
        self._markers = Markers([*(block.marker for block in self._blocks), *self._silent, *around])
        self._source = Source()
        self._call: CallReader | None = None
        self._num_calls = 0
        self._kept = 0  # what was taken of the block that is being read
        # The text's state: space that is told only if more text follows, whether there was text, what came last.
        self._space = ""
        self._end = ""  # what ends an answer, unless more text follows
        self._has_text = self._is_after_marker = self._has_reasoning = False
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self._pieces: list[ToolCallDelta] = []
        self._run = self._read(is_reasoning=is_reasoning)

    def _delta(self) -> AnswerDelta:
        if self._call is not None:
            self._call.flush()
        delta = AnswerDelta("".join(self._texts), "".join(self._reasonings), tuple(self._pieces))
        self._texts, self._reasonings, self._pieces = [], [], []
        return delta

    # --- the answer ---

    def _read(self, *, is_reasoning: bool) -> Reading[None]:
        if is_reasoning:
            self._pass_marker()
            yield from self._read_reasoning()
        yield from self._read_first_block()
        while not self.is_over and (marker := (yield from self._read_text())) is not None:
            blocks = [block for block in self._blocks if block.marker == marker]
            if blocks:
                yield from self._read_block(blocks)
                continue
            self._source.position += len(marker)
            if marker in self._silent:
                self._pass_marker()
            elif self._reasoning is not None and marker == self._reasoning.answer_end:
                self._end += marker
            elif self._has_text and not self._is_after_marker:
                self._tell_text(marker)  # one that is spoken of
            else:
                self._pass_marker()
                if self._reasoning is not None and marker == self._reasoning.begin:
                    yield from self._read_reasoning()
                    yield from self._read_first_block()
        if not self._is_after_marker and not self._end:
            self._texts.append(self._space)

    @property
    def is_over(self) -> bool:
        """Whether it has read the only call that it reads."""
        return self._reads_one_call and self._num_calls > 0

    def _read_text(self) -> Reading[str | None]:
        """Tell text up to the next marker, and return that marker; `None` at the end."""
        source = self._source
        while True:
            source.drop_read()
            start, marker = self._markers.find(source.text, is_finished=source.is_finished)
            self._tell_text(source.text[:start])
            source.position = start
            if marker is not None:
                return marker
            if source.is_finished:
                return None
            yield

    def _read_reasoning(self) -> Reading[None]:
        assert self._reasoning is not None
        if (yield from read_reasoning(self._source, self._reasoning.end, self._tell_reasoning)):
            self._pass_marker()

    def _tell_reasoning(self, text: str, *, is_first: bool) -> None:
        self._reasonings.append(f"{_BETWEEN_REASONINGS}{text}" if is_first and self._has_reasoning else text)
        self._has_reasoning = True

    def _tell_text(self, text: str) -> None:
        if self._end:
            self._end += text
            if not text.strip():
                return
            text, self._end = self._end, ""
        text = self._space + text
        if self._is_after_marker and not self._has_text:
            text = text.lstrip()
        told = text.rstrip()
        self._space = text[len(told) :]
        if told:
            self._texts.append(told)
            self._has_text, self._is_after_marker = True, False

    def _pass_marker(self) -> None:
        self._is_after_marker = True
        self._end = ""
        if not self._has_text:
            self._space = ""

    # --- calls ---

    def _read_first_block(self) -> Reading[None]:
        """Read a block that counts only where an answer begins."""
        if not self._first_blocks or self._has_text:
            return
        source = self._source
        source.drop_read()
        yield from source.skip_space()
        start = source.position
        fitting = []
        for block in self._first_blocks:
            source.position = start
            if (yield from source.match(block.marker)) or (
                block.brackets is not None
                and not block.begin
                and not block.needs_brackets
                and block.call_marker
                and (yield from source.match(block.call_marker))
            ):
                fitting.append(block)
        source.position = start
        if fitting:
            self._tell_text(source.text[:start])
            yield from self._read_block(fitting)
        else:
            source.position = 0

    def _read_block(self, blocks: Sequence[Block]) -> Reading[None]:
        """Read calls as the first of these blocks that fits; what fits none becomes text."""
        source = self._source
        start, furthest, num_before = source.position, source.position + 1, self._num_calls
        for block in blocks:
            source.position = self._kept = start
            try:
                yield from self._read_calls(block)
            except Damaged:
                if self._break_off():
                    return
                furthest = max(furthest, source.position)
                if self._num_calls == num_before:
                    continue
                furthest = source.position
            else:
                source.unread_space(start)
                self._pass_marker()
                return
            break
        if self._num_calls > num_before:
            self._pass_marker()
        source.position = furthest
        self._tell_text(source.text[self._kept : furthest])

    def _read_calls(self, block: Block) -> Reading[None]:
        source = self._source
        if block.begin:
            yield from source.expect(block.begin.strip())
        is_list = False
        if block.brackets is not None:
            yield from source.skip_space()
            is_list = yield from source.match(block.brackets[0])
            if not is_list and block.needs_brackets:
                raise Damaged
        while True:
            yield from self._read_call(block)
            if self.is_over:
                return
            yield from source.skip_space()
            if not (yield from self._goes_on(block, is_list=is_list)):
                break
        yield from source.match_end(block.end.strip())

    def _goes_on(self, block: Block, *, is_list: bool) -> Reading[bool]:
        """Read what stands after a call, and return whether another one follows."""
        source = self._source
        if is_list:
            assert block.brackets is not None
            if (yield from source.match(",")):
                return True
            yield from source.match_end(block.brackets[1])
            return False
        if block.separator and (yield from source.match(block.separator)):
            yield from source.skip_space()
        here = source.position
        follows = bool(block.call_marker) and (yield from source.match(block.call_marker))
        source.position = here
        return follows

    def _read_call(self, block: Block) -> Reading[None]:
        self._call = CallReader(
            self._source,
            self._tools,
            index=self._num_calls,
            is_sure=block is self._sure_block,
            make_id=self._make_id,
            tell=self._tell_piece,
        )
        yield from self._call.read(block.call)
        self._call = None
        self._num_calls += 1
        self._source.unread_space(self._kept)
        self._kept = self._source.position

    def _tell_piece(self, piece: ToolCallDelta) -> None:
        self._pieces.append(piece)

    def _break_off(self) -> bool:
        """Give up the call that is being read; return whether what came of it stays, behind which all is text."""
        call, self._call = self._call, None
        if call is None or not call.break_off():
            return False
        self._blocks, self._first_blocks, self._markers = [], [], Markers([])
        self._pass_marker()
        return True


def parse_answer(parser: AnswerReader, text: str) -> Answer:
    """Take a whole answer apart with a parser that has read nothing."""
    parts = AnswerParts()
    parts.add([parser.push(text), parser.finish()])
    return parts.answer
