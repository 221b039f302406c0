"""Regular expressions that end a stream of text, against a search of every beginning of the whole."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.errors import GenerationError
from genai.text import RegexStopMatcher, StopMatcher, StopResult, find_regex, stop_regex

PATTERNS = ["a+b", "(ab|ba)c", "<[ab]*<", "b(?=a)", "(?<=a)c", "^ab", r"\bc", "a.c$", "c{2}", "(a|b)+c"]
texts = st.text("ab<c", max_size=12)


def run(stop, patterns, pieces):
    matcher = RegexStopMatcher(stop, patterns)
    emitted = [matcher.push(piece).emit for piece in pieces]
    return "".join(emitted) + matcher.finish(), matcher.matched


def search(stop, patterns, text):
    """The slow path: look at every beginning of the text with Python's own library."""
    for end in range(1, len(text) + 1):
        found = [match.span() for pattern in patterns if (match := re.search(pattern, text[:end]))]
        found += [(end - len(each), end) for each in stop if text[:end].endswith(each)]
        if found:
            start, last = min(found)
            return text[:start], text[start:last]
    return text, None


@given(
    stop=st.lists(st.text("ab<c", min_size=1, max_size=4), max_size=2),
    patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3),
    pieces=st.lists(texts, max_size=5),
)
def test_pieces_make_no_difference(stop, patterns, pieces):
    text = "".join(pieces)
    expected = search(stop, patterns, text)
    ours = run(stop, patterns, pieces)
    assert ours[0] == expected[0]
    assert (ours[1] is None) == (expected[1] is None)
    assert run(stop, patterns, [text]) == ours
    assert find_regex(patterns, text) == any(re.search(pattern, text) for pattern in patterns)


@given(stop=st.lists(st.text("ab<c", min_size=1, max_size=4), max_size=4), pieces=st.lists(texts, max_size=5))
def test_without_patterns_it_is_a_stop_matcher(stop, pieces):
    plain = StopMatcher(stop)
    emitted = [plain.push(piece).emit for piece in pieces]
    assert run(stop, [], pieces) == ("".join(emitted) + plain.finish(), plain.matched)


@given(text=texts, pattern=st.sampled_from(["a+b", "(ab|ba)c", "c{2}"]))
def test_only_what_may_become_a_match_is_held_back(text, pattern):
    matcher = RegexStopMatcher([], [pattern])
    result = matcher.push(text)
    held = text[len(result.emit) :]
    if result.matched is None and held:
        endings = (held + more for more in ("b", "bc", "ac", "c", "abc", "ab"))
        assert any(re.match(pattern, each) for each in endings)


def test_text_flows_while_nothing_can_match():
    matcher = RegexStopMatcher(["END"], [r"\d{3}"])
    assert matcher.push("It is 12 o'clock, E") == StopResult("It is 12 o'clock, ", None)
    assert matcher.push("N 12") == StopResult("EN ", None)
    assert matcher.push("3 more") == StopResult("", "123")
    assert matcher.push("more") == StopResult("", "123")


def test_a_match_has_a_greatest_length():
    text = "<" + "a" * 3 * stop_regex.MAX_MATCH + "<"
    matcher = RegexStopMatcher([], ["<a*<"])
    emitted = [matcher.push(character).emit for character in text]
    assert matcher.matched is None
    assert "".join(emitted) + matcher.finish() == text
    assert run([], ["<a*<"], ["<" + "a" * (stop_regex.MAX_MATCH - 9) + "<"])[0] == ""


def test_a_pattern_that_runs_away_is_stopped_and_named(monkeypatch):
    monkeypatch.setattr(stop_regex, "MAX_SECONDS", 0.01)
    with pytest.raises(GenerationError, match=r'stop_regex "\(a\|aa\)\+c" takes more than'):
        RegexStopMatcher([], ["(a|aa)+c"]).push("a" * 100 + "b")


def test_searches_that_take_long_together_are_stopped(monkeypatch):
    monkeypatch.setattr(stop_regex, "MAX_TOTAL_SECONDS", 0.002)
    matcher = RegexStopMatcher([], ["a+b", "c+d"])
    with pytest.raises(GenerationError, match=r"takes more than 0\.002 s in all"):
        matcher.push("ac" * 20_000)
