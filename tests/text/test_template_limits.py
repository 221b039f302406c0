"""A chat template is a stranger's code: whatever it does, it stops soon and reaches nothing."""

import sys
import threading
import time

import pytest

from genai.errors import ChatTemplateError
from genai.text import ChatTemplate

NESTED_LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}BODY{% endfor %}{% endfor %}"
GROWING = (
    "{% set ns = namespace(x=START) %}{% for i in range(60) %}{% set ns.x = STEP %}{% endfor %}{{ END }}"
)


def growing(start: str, step: str, end: str = "ns.x | length") -> str:
    return GROWING.replace("START", start).replace("STEP", step).replace("END", end)


ENDLESS = {
    "loops": NESTED_LOOPS.replace("BODY", ""),
    "loops that leave every round out": NESTED_LOOPS.replace(
        "range(99999) %}BODY", "range(99999) if false %}"
    ),
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a loop that calls itself": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "macros that call each other twice": "{% macro m0() %}{% endmacro %}"
    + "".join(
        f"{{% macro m{i}() %}}{{{{ m{i - 1}() }}}}{{{{ m{i - 1}() }}}}{{% endmacro %}}" for i in range(1, 40)
    )
    + "{{ m39() }}",
    "searches in a long text": "{% set s = 'a' * 16000000 %}"
    + NESTED_LOOPS.replace("BODY", "{{ 'b' in s }}"),
    "sorting": NESTED_LOOPS.replace("BODY", "{{ range(99999) | sort | length }}"),
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}
HUGE = {
    "output": NESTED_LOOPS.replace("BODY", "x" * 64),
    "repetition": "{{ 'a' * 1000000000 }}",
    "a list": "{{ ([1] * 1000000000) | length }}",
    "addition": growing("'a'", "ns.x + ns.x"),
    "concatenation": growing("'a'", "ns.x ~ ns.x"),
    "a block": "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "shared lists printed": growing("[1]", "[ns.x, ns.x]", "ns.x"),
    "shared lists as JSON": growing("[1]", "[ns.x, ns.x]", "ns.x | tojson"),
    "shared lists concatenated": growing("[1]", "[ns.x, ns.x]", "ns.x ~ ''"),
    "deep lists": "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "a number": "{{ 10 ** 100000000 }}",
    "products": growing("3", "ns.x * ns.x"),
    "replacement": "{% set s = 'a' * 30000 %}{{ s.replace('a', s).replace('a', s) }}",
    "the replace filter": "{% set s = 'a' * 30000 %}{{ s | replace('a', s) }}",
    "indentation": "{{ 'a\nb' | indent(1000000000) }}",
    "JSON's indentation": "{{ [1] | tojson(indent=1000000000) }}",
    "centring": "{{ 'a' | center(1000000000) }}",
    "padding": "{{ 'a'.ljust(1000000000) }}",
    "tabs": "{{ '\t'.expandtabs(1000000000) }}",
    "joining": "{{ range(99999) | join('a' * 1000000) }}",
    "joining a generator": "{% set d = {'s': 'a' * 1000000} %}{{ ([d] * 100000) | map(attribute='s') | join }}",
    "the join method": "{{ ('a' * 1000000).join(range(99999) | map('string')) }}",
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "the format filter": "{{ '%1000000000d' | format(1) }}",
    "a computed width": "{{ '%*d' % (1000000000, 1) }}",
    "the format method": "{{ '{:1000000000}'.format(1) }}",
    "the format method's computed width": "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "filler text": "{{ lipsum(n=10000000) }}",
}


@pytest.mark.parametrize("source", [*ENDLESS.values(), *HUGE.values()], ids=[*ENDLESS, *HUGE])
def test_excess_is_stopped_soon(source):
    started = time.thread_time()
    with pytest.raises(ChatTemplateError, match=r"was stopped|'lipsum' is undefined"):
        ChatTemplate(source).render([{"role": "user", "content": "x"}])
    assert time.thread_time() - started < 5


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "''['__class__']",
        "'' | attr('__class__')",
        "''.__class__.__mro__[1].__subclasses__()",
        "messages.__class__",
        "raise_exception.__globals__",
        "strftime_now.__globals__['os']",
        "cycler.__init__.__globals__",
        "'{0.__class__}'.format('')",
        "'{0.__class__}'.format_map({'0': ''})",
        "['x'] | map(attribute='__class__') | list",
        "namespace(__class__=1)",
        "self.__init__",
        "messages.append(1)",
        "messages[0].update({'role': 'x'})",
        "range(1000000000)",
    ],
)
def test_nothing_is_reached_or_changed(expression):
    messages = [{"role": "user", "content": "x"}]
    with pytest.raises(ChatTemplateError):
        ChatTemplate("{{ " + expression + " }}").render(messages)
    assert messages == [{"role": "user", "content": "x"}]


def test_an_attribute_of_a_namespace_cannot_begin_with_an_underscore():
    with pytest.raises(ChatTemplateError, match="_x"):
        ChatTemplate("{% set ns = namespace() %}{% set ns._x = 1 %}").render([{"role": "user"}])


def test_a_template_can_be_used_after_it_was_stopped():
    template = ChatTemplate("{% for i in range(n) %}{% for j in range(n) %}{% endfor %}{% endfor %}done")
    with pytest.raises(ChatTemplateError, match="was stopped"):
        template.render([{"role": "user"}], n=99999)
    assert template.render([{"role": "user"}], n=1) == "done"


def test_honest_templates_have_room():
    """A conversation of a megabyte, with text put together piece by piece."""
    source = (
        "{% set ns = namespace(text='') %}{% for m in messages %}"
        "{% set ns.text = ns.text ~ '<' ~ m.role ~ '>' + m.content.replace('a', 'b') | trim %}{% endfor %}"
        "{{ ns.text }}{{ messages | tojson(indent=2) | length > 0 }}"
    )
    messages = [{"role": "user", "content": "a" * 2000}] * 500
    assert len(ChatTemplate(source).render(messages)) > 1_000_000


def test_threads_share_a_template():
    template = ChatTemplate("{% for m in messages %}{{ m.content ~ '.' }}{% endfor %}")
    results: dict[int, str] = {}

    def render(number: int) -> None:
        messages = [{"role": "user", "content": str(number)}] * 200
        results[number] = "".join(template.render(messages) for _ in range(5))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=render, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert results == {number: f"{number}." * 1000 for number in range(4)}
