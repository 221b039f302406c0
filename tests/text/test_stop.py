import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.text import StopMatcher, StopResult


def run(stop, pieces):
    matcher = StopMatcher(stop)
    emitted = [matcher.push(piece).emit for piece in pieces]
    return "".join(emitted) + matcher.finish(), matcher.matched


def search(stop, text):
    """The slow path: look after every character."""
    for end in range(1, len(text) + 1):
        complete = [s for s in stop if text[:end].endswith(s)]
        if complete:
            found = max(complete, key=len)
            return text[: end - len(found)], found
    return text, None


texts = st.text("ab<c", max_size=12)


@given(stop=st.lists(st.text("ab<c", min_size=1, max_size=4), max_size=4), pieces=st.lists(texts, max_size=5))
def test_pieces_make_no_difference(stop, pieces):
    expected = search(stop, "".join(pieces))
    assert run(stop, pieces) == expected
    assert run(stop, ["".join(pieces)]) == expected


@given(stop=st.lists(st.text("ab<c", min_size=1, max_size=4), min_size=1, max_size=4), text=texts)
def test_only_a_prefix_of_a_stop_string_is_held_back(stop, text):
    matcher = StopMatcher(stop)
    result = matcher.push(text)
    held = text[len(result.emit) :]
    if result.matched is None:
        assert not held or any(s.startswith(held) and s != held for s in stop)


def test_the_held_text_comes_at_the_end():
    matcher = StopMatcher(["</s>"])
    assert matcher.push("x </") == StopResult("x ", None)
    assert matcher.finish() == "</"
    assert matcher.finish() == ""


@pytest.mark.parametrize(
    ("stop", "text", "expected"),
    [
        (["abcd", "b"], "abcd", ("a", "b")),
        (["ab", "b"], "xab", ("x", "ab")),
        (["aab"], "aaab", ("a", "aab")),
        (["\n\n", "\n"], "one\n\ntwo", ("one", "\n")),
        (["🇩🇪"], "in 🇩🇪 now", ("in ", "🇩🇪")),
    ],
)
def test_which_one_wins(stop, text, expected):
    assert run(stop, [text]) == expected
    assert run(stop, list(text)) == expected


def test_after_a_match_everything_is_dropped():
    matcher = StopMatcher(["."])
    assert matcher.push("Yes. No.") == StopResult("Yes", ".")
    assert matcher.push("more") == StopResult("", ".")
    assert matcher.finish() == ""


def test_without_stop_strings_text_passes_through():
    assert StopMatcher(()).push("anything") == StopResult("anything", None)
