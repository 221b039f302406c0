"""From forms to grammars: compiled once, within limits of size and time, and kept while there is room."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from genai.config import JSON_WHITESPACE, ResponseFormat
from genai.errors import OptionError
from genai.structured.answer_form import AnswerForm
from genai.structured.grammar import Grammar
from genai.structured.json_schema import MAX_TEXT, prepare_schema
from genai.structured.vocabulary import make_vocabulary

if TYPE_CHECKING:
    import llguidance
    import tokenizers

__all__ = ["GrammarCompiler"]

MAX_SIZE = {"json": 1_000_000, "choices": 1_000_000, "regex": 100_000, "lark": 50_000, "gbnf": 50_000}
"""Characters of a form, so that compiling takes about a second: choices and schemas are linear in what `prepare_schema` lets
pass, grammars quadratic. A regex that means harm can take some seconds."""
MAX_FRAME = 500_000
"""Characters of what stands around a form, of which calls may be all: names and schemas, linear like those of forms."""
MAX_CACHED_FORMS, MAX_CACHED_SIZE = 64, 1_000_000
"""Grammars that are kept: how many, and how many characters of forms in all, with which memory grows: tens of MB at most."""
_WRONG_REGEX = re.compile(r"regex parse error:\n {4}(.*)\n {4}( *)\^+\nerror: (.*)")
"""What llguidance says of a regex of one line, of a form's own or of one within a grammar or a schema."""
_LITERAL = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|#[^\n]*|/(?:\\.|[^/\\\n])+/')
"""A text, comment or regex in a Lark grammar."""


class GrammarCompiler:
    """Compiles forms for one tokenizer; safe to share between threads, each of which compiles for itself.

    Args:
        backend: The tokenizer.
        eos_token_ids: The tokens that end a text.
    """

    def __init__(self, backend: tokenizers.Tokenizer, eos_token_ids: Iterable[int]) -> None:
        self._backend = backend
        self._eos_token_ids = tuple(eos_token_ids)
        self._vocabulary: llguidance.LLTokenizer | None = None
        self._kept: OrderedDict[AnswerForm, Grammar | str] = OrderedDict()  # or why there is none
        self._lock = threading.Lock()

    def compile(self, answer: AnswerForm | ResponseFormat, ends: Iterable[int] = ()) -> Grammar:
        """Return the grammar of what an answer must be, compiled now unless it is kept from before.

        Args:
            answer: What it must be.
            ends: The tokens that will end it, of which one is needed where a model names none of its own.

        Raises:
            OptionError: It is wrong, too large, or asks for what cannot be enforced.
        """
        answer = AnswerForm(answer) if isinstance(answer, ResponseFormat) else answer
        with self._lock:
            found = self._kept.get(answer)
            if found is not None:
                self._kept.move_to_end(answer)
        if found is None:
            found = self._try(answer, ends)
            with self._lock:
                self._keep(answer, found)
        if isinstance(found, str):
            raise OptionError(found)
        return found

    def _try(self, answer: AnswerForm, ends: Iterable[int]) -> Grammar | str:
        """Return the grammar, or why there is none."""
        try:
            with self._lock:
                if self._vocabulary is None:
                    self._vocabulary = make_vocabulary(self._backend, (*self._eos_token_ids, *ends))
            return _compile(answer, self._vocabulary)
        except OptionError as error:
            return f"{answer.option}: {error}"

    def _keep(self, answer: AnswerForm, found: Grammar | str) -> None:
        if answer.size > MAX_CACHED_SIZE:
            return
        self._kept[answer] = found
        while len(self._kept) > MAX_CACHED_FORMS or sum(each.size for each in self._kept) > MAX_CACHED_SIZE:
            self._kept.popitem(last=False)


def _compile(answer: AnswerForm, vocabulary: llguidance.LLTokenizer) -> Grammar:
    import llguidance

    # An automaton's state takes 1 KB, and a regex that counts can make all of them in one step, which takes 0.2 s then.
    limits = llguidance.LLParserLimits(max_lexer_states=100_000, verbose_errors=False)
    matcher = llguidance.LLMatcher(vocabulary, json.dumps(_parts(answer)), log_level=0, limits=limits)
    if not matcher.is_error():
        matcher.compute_bitmask()  # so that every copy begins with it
    if matcher.is_error():
        raise OptionError(_explain(matcher.get_error(), answer.form.kind if answer.form else None))
    return Grammar(answer, vocabulary, matcher)


def _parts(answer: AnswerForm) -> dict[str, Any]:
    """Return what an answer must be as llguidance takes it: the frame and the form in it as a grammar each."""
    grammars: list[dict[str, Any]] = []
    if answer.frame:
        if len(answer.frame) > MAX_FRAME:
            raise OptionError(
                f"the functions make a grammar of {len(answer.frame)} characters, which is too large: the limit is {MAX_FRAME}"
            )
        grammars.append({"lark_grammar": answer.frame})
    if (form := answer.form) is not None:
        if len(form.source) > MAX_SIZE[form.kind]:
            raise OptionError(
                f"{len(form.source)} characters are too large a form: the limit of {form.kind} is {MAX_SIZE[form.kind]}"
            )
        grammars.append({"name": "form", **_GRAMMARS[form.kind](form.source)})
    return {"grammars": grammars}


def _json_grammar(source: str) -> dict[str, Any]:
    return {"json_schema": _enforceable(source)}


def _enforceable(source: str) -> dict[str, Any]:
    return {**prepare_schema(source), "x-guidance": {"whitespace_pattern": JSON_WHITESPACE}}


def _regex_grammar(source: str) -> dict[str, Any]:
    import llguidance

    (grammar,) = json.loads(llguidance.LLMatcher.grammar_from_regex(source))["grammars"]
    return {"lark_grammar": grammar["lark_grammar"]}


def _choices_grammar(source: str) -> dict[str, Any]:
    texts = json.loads(source)
    if (longest := max(map(len, texts))) > MAX_TEXT:
        raise OptionError(f"a choice of {longest} characters is too long: the limit is {MAX_TEXT}")
    return _regex_grammar("|".join(re.sub(r"([\\.+*?()|\[\]{}^$#&~/-])", r"\\\1", text) for text in texts))


def _lark_grammar(source: str) -> dict[str, Any]:
    plain = _LITERAL.sub(" ", source)
    if found := re.search(r"\[[^\]]*\b(temperature|max_tokens|stop)\s*=", plain):
        raise OptionError(f"a grammar must not set {found[1]}: that is an option of the generation")
    if found := re.search(r"&|~(?!\s*\d)", plain):
        raise OptionError(f'a grammar must not use "{found[0]}": no limit bounds what that takes')
    return {"lark_grammar": _with_enforceable_schemas(source)}


def _with_enforceable_schemas(grammar: str) -> str:
    """Return a Lark grammar whose JSON schemas are enforced wholly, as a form's own schema is."""
    pieces, done = [], 0
    for found in re.finditer(rf"(?:{_LITERAL.pattern})|(?P<json>%json\s*)(?=\{{)", grammar):
        if found["json"] is None or found.start() < done:
            continue
        try:
            _, end = json.JSONDecoder().raw_decode(grammar, found.end())
        except (ValueError, RecursionError) as error:
            raise OptionError(f"a schema in the grammar cannot be read: {error}") from error
        schema = prepare_schema(grammar[found.end() : end])
        pieces += [grammar[done : found.end()], json.dumps(schema, ensure_ascii=False)]
        done = end
    return "".join([*pieces, grammar[done:]])


def _gbnf_grammar(source: str) -> dict[str, Any]:
    from llguidance.gbnf_to_lark import gbnf_to_lark

    try:
        grammar = gbnf_to_lark(source)
    except Exception as error:  # a name without a rule is told by no other kind
        raise OptionError(f"the GBNF grammar cannot be read: {error}") from error
    return _lark_grammar(grammar)


_GRAMMARS: dict[str, Callable[[str], dict[str, Any]]] = {
    "json": _json_grammar,
    "choices": _choices_grammar,
    "regex": _regex_grammar,
    "lark": _lark_grammar,
    "gbnf": _gbnf_grammar,
}


def _explain(error: str, kind: str | None) -> str:
    """Return what llguidance says in the words of who asked."""
    if found := re.search(r"Unimplemented keys: \[([^\]]*)\]", error):
        return f"the schema has keywords that cannot be enforced, {found[1]}: leave them out, and check the answer"
    if found := re.search(r"Unknown format: (\S+)", error):
        return f'a "format" of "{found[1]}" cannot be enforced: leave it out, or say it as a "pattern"'
    if "oneOf constraints are not supported" in error:
        return (
            'alternatives of "oneOf" that more than one may fit cannot be enforced: write "anyOf", or give each a required '
            'property with a "const" of its own'
        )
    if found := _WRONG_REGEX.search(error):
        pattern, place, reason = found[1], len(found[2]), found[3]
        return f'the regex "{pattern:.200}" cannot be read at "{pattern[place:]:.40}": {reason}'
    if kind == "lark" and (found := re.match(r"(?:at )?(\d+)\((\d+)\): (.*)", error)):
        return f"the grammar, read as Lark (in GBNF, rules have ::=), is wrong in line {found[1]}, column {found[2]}: {found[3]}"
    return f"it cannot be compiled: {' '.join(error.split()):.300}"
