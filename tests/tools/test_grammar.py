"""Grammars of calls, held against recorded calls by llguidance: what models write is in them, other calls are not."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from genai.tools import FORMATS, ReasoningFormat, as_tools, grammar_of_calls, parse_answer
from tests.tools.recorded import RECORDED, TOOLS, Recorded
from tests.tools.test_parser import make_parser, reasoning_of

FUNCTIONS = as_tools([{"name": name, "parameters": schema} for name, schema in TOOLS.items()])
CANONICAL = [each for each in RECORDED if each.is_canonical]
END = "</s>"
MARKERS = [
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[THINK]",
    "[/THINK]",
]
MARKERS += ["<|python_tag|>", "<|tool_call_start|>", "<|tool_call_end|>", "<|tool_call|>", "<|/tool_call|>"]
MARKERS += ["<|START_ACTION|>", "<|END_ACTION|>", "<|START_THINKING|>", "<|END_THINKING|>"]
MARKERS += [
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
]
MARKERS += ["<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>"]
MARKERS += [
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
]
MARKERS += [
    "<minimax:tool_call>",
    "</minimax:tool_call>",
    "<start_function_call>",
    "<end_function_call>",
    "<escape>",
]
MARKERS += [
    "<|tool_call>",
    "<tool_call|>",
    '<|"|>',
    "<|channel|>",
    "<|message|>",
    "<|constrain|>",
    "<|end|>",
    "<|start|>",
]
MARKERS += ["<|call|>", "<|channel>", "<channel|>"]


def make_tokenizer(markers: list[str]) -> Tokenizer:
    """A tokenizer of bytes, and of these markers as single tokens."""
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(marker, special=True) for marker in dict.fromkeys([*markers, END])])
    return tokenizer


class Vocabulary:
    """A tokenizer and what llguidance makes of it."""

    def __init__(self, markers: list[str]) -> None:
        self.tokenizer = make_tokenizer(markers)
        self.tokens: Mapping[str, int] = {
            token.content: i for i, token in self.tokenizer.get_added_tokens_decoder().items()
        }
        self._compiled = LLTokenizer(self.tokenizer.to_str(), eos_token=self.tokens[END])

    def matcher(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._compiled, grammar)
        assert not matcher.is_error(), matcher.get_error() + grammar
        return matcher

    def accepts(self, grammar: str, text: str) -> bool:
        matcher = self.matcher(grammar)
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return bool(matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting())

    def draw(self, grammar: str, seed: int, *, most: int = 400) -> str | None:
        """A random answer within a grammar; `None` where it does not end."""
        matcher, source = self.matcher(grammar), random.Random(seed)
        ids: list[int] = []
        while len(ids) < most:
            if source.random() < 0.3:  # to the end of a text, which nobody finds by chance
                hint = self.tokenizer.encode(source.choice(_HINTS), add_special_tokens=False).ids
                if matcher.validate_tokens(hint) == len(hint):
                    matcher.consume_tokens(hint)
                    ids += hint
                    continue
            mask = matcher.compute_logit_bias()
            allowed = [i for i, value in enumerate(mask) if value]
            if matcher.is_stopped() or self.tokens[END] in allowed:
                return str(self.tokenizer.decode(ids, skip_special_tokens=False))
            printable = [
                i for i in allowed if i in self.tokens.values() or self.tokenizer.id_to_token(i) in _LIKELY
            ]
            ids.append(source.choice(printable or allowed))
            matcher.consume_token(ids[-1])
        return None


_LIKELY = frozenset('abc019Ġ"{}[](),:=<>/_-truefalsn')
_HINTS = ["</arg_value>", "\n</parameter>\n", "</parameter>\n", "<escape>", '<|"|>']


@pytest.fixture(scope="module", params=["texts", "tokens"])
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return Vocabulary(MARKERS if request.param == "tokens" else [])


def make_grammar(name: str, vocabulary: Vocabulary, **options: Any) -> str:
    (tool_format,) = [each for each in FORMATS if each.name == name]
    return grammar_of_calls(tool_format, FUNCTIONS, tokens=vocabulary.tokens, **options)


@pytest.mark.parametrize("recorded", CANONICAL, ids=lambda each: f"{each.format}: {each.text[:40]}")
def test_recorded_calls_are_in_the_grammar(vocabulary: Vocabulary, recorded: Recorded) -> None:
    grammar = make_grammar(recorded.format, vocabulary)
    assert vocabulary.accepts(grammar, recorded.text), grammar
    single = make_grammar(recorded.format, vocabulary, is_single=True)
    assert vocabulary.accepts(single, recorded.text) == (len(recorded.calls) == 1)


@pytest.mark.parametrize("recorded", CANONICAL, ids=lambda each: f"{each.format}: {each.text[:40]}")
def test_other_functions_and_arguments_are_not(vocabulary: Vocabulary, recorded: Recorded) -> None:
    grammar = make_grammar(recorded.format, vocabulary)
    for old, new in (("get_weather", "get_moon"), ("Paris", "Paris" * 2), ("city", "town"), ("3", "three")):
        text = recorded.text.replace(old, new)
        if text != recorded.text:
            assert vocabulary.accepts(grammar, text) == (old == "Paris"), text
    assert not vocabulary.accepts(grammar, "It is mild.")


@pytest.mark.parametrize("name", [each.name for each in FORMATS])
def test_whatever_the_grammar_lets_through_is_read_as_calls(vocabulary: Vocabulary, name: str) -> None:
    grammar = make_grammar(name, vocabulary)
    drawn = [text for seed in range(12) if (text := vocabulary.draw(grammar, seed)) is not None]
    assert drawn
    for text in drawn:
        answer = parse_answer(make_parser(name), text)
        assert answer.tool_calls, text
        assert answer.text == "", text


@pytest.mark.parametrize("name", ["hermes", "glm", "mistral-named", "command", "harmony", "gemma4"])
def test_reasoning_may_come_first(vocabulary: Vocabulary, name: str) -> None:
    call = next(each.text for each in CANONICAL if each.format == name)
    reasoning: ReasoningFormat = reasoning_of(name)
    thought = f"In Paris?{reasoning.end}{reasoning.then}{call}"
    closed = make_grammar(name, vocabulary, reasoning=reasoning)
    assert vocabulary.accepts(closed, reasoning.begin + thought)
    assert vocabulary.accepts(closed, call)
    opened = make_grammar(name, vocabulary, reasoning=reasoning, is_reasoning=True)
    assert vocabulary.accepts(opened, thought)
    assert not vocabulary.accepts(opened, "In Paris?")


def test_a_function_that_names_no_parameters_takes_any(vocabulary: Vocabulary) -> None:
    hermes = next(each for each in FORMATS if each.name == "hermes")
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 5}}\n</tool_call>'
    for parameters, takes_any in (({"type": "object"}, True), ({"properties": {}}, False), (None, False)):
        tools = as_tools([{"name": "f", "parameters": parameters}])
        assert (
            vocabulary.accepts(grammar_of_calls(hermes, tools, tokens=vocabulary.tokens), call) == takes_any
        )


@pytest.mark.parametrize(
    "unit",
    [
        {"enum": ["C", "F", None]},
        {"anyOf": [{"const": "C"}, {"enum": ["F"]}, {"type": "null"}]},
        {"oneOf": [{"$ref": "#/$defs/Unit"}, {"type": "null"}]},
    ],
)
def test_choices_between_tags_may_be_null_or_stand_elsewhere(
    unit: dict[str, Any], vocabulary: Vocabulary
) -> None:
    coder = next(each for each in FORMATS if each.name == "qwen3-coder")
    parameters = {"properties": {"unit": unit}, "$defs": {"Unit": {"enum": ["C", "F"]}}}
    grammar = grammar_of_calls(
        coder, as_tools([{"name": "f", "parameters": parameters}]), tokens=vocabulary.tokens
    )
    for value, is_one in (("C", True), ("F", True), ("null", True), ("G", False), ("", False)):
        call = (
            f"<tool_call>\n<function=f>\n<parameter=unit>\n{value}\n</parameter>\n</function>\n</tool_call>"
        )
        assert vocabulary.accepts(grammar, call) == is_one, value
