"""Names of a layer's states: what is written is read back, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genai.folder import GraphNames
from genai.graph.names import (
    CONV_STATE,
    INPUT_IDS,
    KEY,
    LOGITS,
    NUM_LOGITS_TO_KEEP,
    RECURRENT_STATE,
    VALUE,
    LayerState,
    parse_past,
    parse_present,
    past_name,
    present_name,
    present_names_of,
    present_of,
)

states = st.builds(
    LayerState,
    layer=st.integers(0, 10_000),
    part=st.sampled_from(("", KEY, VALUE, CONV_STATE, RECURRENT_STATE)),
)


@given(states)
def test_names_are_read_back(state: LayerState) -> None:
    past, present = past_name(state.layer, state.part), present_name(state.layer, state.part)
    assert (state.past, state.present) == (past, present)
    assert parse_past(past) == state
    assert parse_present(present) == state
    assert parse_past(present) is None
    assert parse_present(past) is None
    assert present_of(past) == present
    assert next(present_names_of(past)) == present


@given(states)
def test_default_names_of_a_folder_are_the_canonical_ones(state: LayerState) -> None:
    fields = {KEY: "key", VALUE: "value", CONV_STATE: "conv", RECURRENT_STATE: "recurrent", "": ""}
    for time, name in (("past", state.past), ("present", state.present)):
        template = getattr(GraphNames(), "_".join(filter(None, (time, fields[state.part]))))
        assert template.replace("%d", str(state.layer)) == name


def test_other_names_are_no_states() -> None:
    for name in (
        None,
        "",
        INPUT_IDS,
        LOGITS,
        NUM_LOGITS_TO_KEEP,
        "past_3",
        "present.key",
        "past_key_values.1.2.key",
    ):
        assert parse_past(name) is None
        assert parse_present(name) is None


def test_presents_of_other_exporters() -> None:
    assert next(iter(present_names_of("past_key_values_3_key"))) == "present_3_key"
    assert list(present_names_of("past_conv.3")) == ["present_conv.3"]
    assert not list(present_names_of(INPUT_IDS))
