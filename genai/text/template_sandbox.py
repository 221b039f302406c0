"""Jinja as Hugging Face sets it up for chat templates, fenced in: a template is a stranger's code.

Owns the environment and its limits; knows nothing of messages. The dialect is exactly transformers' (the same engine,
options, helpers and sandbox), so what a template renders there it renders here. On top come limits on steps, time
and text, since Jinja's own sandbox stops neither endless loops nor a template that renders a gigabyte: loops, calls
and filters are counted, and whatever can multiply text is measured before it runs.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

__all__ = ["TemplateEnvironment", "TemplateLimitError", "TemplateRefusalError"]

MAX_STEPS = 1_000_000
MAX_SECONDS = 0.5
MAX_CHARACTERS = 1 << 24
MAX_ITEMS = 1 << 20
MAX_INTEGER_BITS = 1 << 16

_CHARACTERS_PER_STEP = 512
_STEPS_PER_CLOCK_READING = 128


class TemplateLimitError(Exception):
    """A template did more than any honest one does."""


class TemplateRefusalError(Exception):
    """A template called raise_exception."""


class Meter:
    """Counts what one rendering costs: steps taken and text produced, and the processor time of this thread."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin a new rendering."""
        self._steps = 0
        self._next_reading = _STEPS_PER_CLOCK_READING
        self._deadline = time.thread_time() + MAX_SECONDS

    def spend(self, steps: int = 1) -> None:
        """Count some steps.

        Raises:
            TemplateLimitError: There were too many, or they took too long.
        """
        self._steps += steps
        if self._steps < self._next_reading:
            return
        self._next_reading = self._steps + _STEPS_PER_CLOCK_READING
        if self._steps > MAX_STEPS:
            raise TemplateLimitError(f"it took more than {MAX_STEPS:,} steps; does a loop never end?")
        if time.thread_time() > self._deadline:
            raise TemplateLimitError(f"it ran for more than {MAX_SECONDS:g} s; does a loop never end?")

    def weigh(self, value: Any) -> Any:
        """Count a value that an operation produced, and return it."""
        if isinstance(value, str):
            _check_characters(len(value))
            self.spend(len(value) // _CHARACTERS_PER_STEP)
        elif isinstance(value, (list, tuple)):
            _check_items(len(value))
            self.spend(len(value) // _CHARACTERS_PER_STEP)
        return value

    def measure(self, value: Any, *, indent: int = 0) -> int:
        """Return about how many characters a value takes as text, shared parts counted each time they appear."""
        size = 0
        stack = [(value, 0)]
        while stack:
            item, depth = stack.pop()
            if isinstance(item, str):
                size += len(item)
            elif isinstance(item, Mapping):
                stack.extend((part, depth + 1) for pair in item.items() for part in pair)
                self.spend()
            elif isinstance(item, (list, tuple, set, frozenset)):
                stack.extend((part, depth + 1) for part in item)
                self.spend()
            size += 4 + indent * depth
            _check_characters(size)
        self.spend(size // _CHARACTERS_PER_STEP)
        return size


def _check_characters(number: int) -> None:
    if number > MAX_CHARACTERS:
        raise TemplateLimitError(f"it builds a text of more than {MAX_CHARACTERS:,} characters")


def _check_items(number: int) -> None:
    if number > MAX_ITEMS:
        raise TemplateLimitError(f"it builds a list of more than {MAX_ITEMS:,} items")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """The environment of one chat template; renders one conversation at a time."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        self.meter = Meter()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_GenerationBlock, loopcontrols],
            finalize=self._finalize_output,
        )
        self.concat = self._concat_limited  # type: ignore[method-assign]  # Jinja looks it up per environment
        self.filters["tojson"] = _to_json
        for name, function in list(self.filters.items()):
            self.filters[name] = self._limit_filter(name, function)
        self.filters[_COUNT_STEP] = _count_step
        self.filters[_CONCATENATE] = self._concatenate
        del self.globals["lipsum"]
        self.globals |= {
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
            "dict": _TemplateDict(),
            "namespace": _TemplateNamespace,
        }

    # --- Jinja's own hooks ---

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Check the operators that can multiply what they are given."""
        self.meter.spend()
        if operator == "*":
            _check_product(left, right)
        elif operator == "**":
            _check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            self._check_format(left, right)
        return self.meter.weigh(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Count a call, and check a string method that can multiply what it is given."""
        __self.meter.spend()
        name = getattr(__obj, "__name__", "")
        if name in _GROWING or name in ("join", "format", "format_map"):
            subject = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
            if isinstance(subject, str):
                args = __self._check_method(name, subject, args, kwargs)
        return __self.meter.weigh(super().call(__context, __obj, *args, **kwargs))

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        """Refuse at once what Jinja's sandbox would render as nothing."""
        raise jinja2.exceptions.SecurityError(
            f"access to attribute {attribute!r} of a {type(obj).__name__!r} object is unsafe"
        )

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        counting = _StepCounting().visit(source).set_environment(self)
        return super()._generate(counting, *args, **kwargs)

    def _finalize_output(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.meter.measure(value)
        return value

    # --- what the limits look at ---

    def _concat_limited(self, pieces: Iterable[str]) -> str:
        pieces = list(pieces)
        _check_characters(sum(map(len, pieces)))
        text = "".join(pieces)
        self.meter.weigh(text)
        return text

    def _concatenate(self, values: list[Any]) -> str:
        """The `~` operator."""
        return self._concat_limited([str(self._finalize_output(value)) for value in values])

    def _limit_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        # A filter may be passed the context or environment before its value.
        position = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            self.meter.spend()
            value, rest = args[position], args[position + 1 :]
            if name in _SPELLING_OUT:
                if name == "join" and not isinstance(value, (str, list, tuple, Mapping)):
                    value = list(value)
                    args = (*args[:position], value, *rest)
                size = self.meter.measure(value, indent=_indent_of(kwargs) if name == "tojson" else 0)
                if name in _GROWING:
                    _check_growth(size, (*rest, *kwargs.values()))
                elif name == "join":
                    separator = str(rest[0] if rest else kwargs.get("d", ""))
                    _check_characters(size // 4 * len(separator))
                elif name == "format":
                    self._check_format(str(value), (*rest, *kwargs.values()))
            return self.meter.weigh(function(*args, **kwargs))

        return limited

    def _check_method(
        self, name: str, subject: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        if name in _GROWING:
            _check_growth(len(subject), (*args, *kwargs.values()))
        elif name == "join" and args:
            items = list(args[0])
            _check_characters(self.meter.measure(items) + len(items) * len(subject))
            return (items, *args[1:])
        else:
            self._check_format(subject, (*args, *kwargs.values()))
        return args

    def _check_format(self, template: str, values: Any) -> None:
        """Refuse widths of thousands of characters, and widths that are values themselves."""
        if _WIDE_FORMAT.search(template):
            raise TemplateLimitError(
                f"it formats with a width that is too large or computed: {template!r:.80}"
            )
        size = self.meter.measure(values)
        _check_characters(len(template) + size * max(template.count("{"), template.count("%"), 1))


# Filters that make text of their value, so that nested values must be measured first.
# fmt: off
_SPELLING_OUT = frozenset({
    "batch", "capitalize", "center", "e", "escape", "forceescape", "format", "indent", "join", "lower", "pprint",
    "replace", "safe", "string", "striptags", "title", "tojson", "trim", "truncate", "upper", "urlencode", "urlize",
    "wordcount", "wordwrap", "xmlattr",
})
# Filters and string methods whose result can be as long as their value times their longest argument.
_GROWING = frozenset({
    "batch", "center", "expandtabs", "indent", "ljust", "replace", "rjust", "truncate", "wordwrap", "zfill",
})
# fmt: on
_WIDE_FORMAT = re.compile(r"\d{4,}|%[^%A-Za-z]*\*|\{[^{}]*:[^{}]*\{")


def _check_growth(size: int, arguments: Iterable[Any]) -> None:
    sizes = [len(a) if isinstance(a, str) else a if isinstance(a, int) else 0 for a in arguments]
    _check_characters((size + 1) * max(sizes, default=0) // 4)


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    for sequence, count in ((left, right), (right, left)):
        if isinstance(count, int) and isinstance(sequence, str):
            _check_characters(len(sequence) * count)
        elif isinstance(count, int) and isinstance(sequence, (list, tuple)):
            _check_items(len(sequence) * count)


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * abs(right))


def _check_bits(bits: int) -> None:
    if bits > MAX_INTEGER_BITS:
        raise TemplateLimitError(f"it computes a number of more than {MAX_INTEGER_BITS:,} bits")


def _indent_of(options: Mapping[str, Any]) -> int:
    indent = options.get("indent") or 0
    return len(indent) if isinstance(indent, str) else int(indent)


# --- counting loops ---

# Names that no template can write, since they are no identifiers.
_COUNT_STEP = "count step"
_CONCATENATE = "concatenate"


@jinja2.pass_context  # and so never evaluated when the template is compiled
def _count_step(context: Context, value: Any) -> Any:
    environment = context.environment
    assert isinstance(environment, TemplateEnvironment)
    environment.meter.spend()
    return value


class _StepCounting(NodeTransformer):
    """Makes every round of a loop count a step, and every `~` pass through the environment."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        tick = nodes.Filter(nodes.Const(None), _COUNT_STEP, [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(tick).set_lineno(node.lineno))
        if node.test is not None:
            # Rounds that the loop's condition leaves out count too.
            tested = nodes.Filter(node.test, _COUNT_STEP, [], [], None, None)
            node.test = tested.set_lineno(node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        joined = nodes.Filter(nodes.List(node.nodes), _CONCATENATE, [], [], None, None)
        return joined.set_lineno(node.lineno)


# --- transformers' helpers ---


class _GenerationBlock(Extension):
    """`{% generation %}`, which marks what an assistant wrote for training; its text is simply rendered."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = nodes.CallBlock(self.call_method("_render"), [], [], body)
        block.set_lineno(line)
        return block

    def _render(self, caller: Macro) -> str:
        return caller()


class _TemplateDict:
    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _TemplateNamespace(Namespace):
    """Refuses names that begin with an underscore, as transformers does."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            _check_attribute(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_attribute(name)
        super().__setitem__(name, value)


def _check_attribute(name: str) -> None:
    if name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot have an attribute called {name!r}")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: Any) -> None:
    raise TemplateRefusalError(str(message))


def _strftime_now(format: str) -> str:  # noqa: A002
    return datetime.now().strftime(format)
