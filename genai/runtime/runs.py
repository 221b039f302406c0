"""How the rows of a batch are cut into runs, read off what the graph takes together."""

from __future__ import annotations

from collections.abc import Sequence

from genai.cache import Slot
from genai.model import Span
from genai.runtime.graph_interface import GraphInterface

__all__ = ["decoding_runs", "prompt_runs", "scoring_runs"]

MAX_PADDING = 2
"""The longest row of a padded run may be so many times as long as the shortest: more would waste more than it saves."""


def decoding_runs(slots: Sequence[Slot], graph: GraphInterface) -> list[Sequence[Slot]]:
    """Cut the slots of single tokens, in order of their places, into runs of those that the graph takes together."""
    runs: list[list[Slot]] = []
    for slot in slots:
        if runs and _joins(runs[-1], slot, graph):
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return list(runs)


def prompt_runs(spans: Sequence[Span], graph: GraphInterface, *, can_pad: bool) -> list[Sequence[Span]]:
    """Cut spans without logits into runs: several new prompts together, padded to the longest, anything else alone.

    Operators with shared buffers take several rows of more than one token only where all are new.
    """
    runs: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: span.slot.index):
        group = runs[-1] if runs else []
        is_new = not span.slot.token_ids and not (group and group[0].slot.token_ids)
        slots = [each.slot for each in group]
        if group and is_new and _joins(slots, span.slot, graph) and _pads_well(group, span, can_pad=can_pad):
            group.append(span)
        else:
            runs.append([span])
    return list(runs)


def scoring_runs(spans: Sequence[Span], graph: GraphInterface, *, max_tokens: int) -> list[Sequence[Span]]:
    """Cut spans with logits into runs: those of few tokens together where rows are gathered, anything else alone.

    Operators with shared buffers take several rows of more than one token only where all are new.
    """
    runs: list[list[Span]] = []
    group: list[Span] = []
    for span in sorted(spans, key=lambda span: span.slot.index):
        is_short = span.num_logits == len(span.token_ids) <= max_tokens
        if not (is_short and graph.gathers_rows):
            runs.append([span])
        elif (
            group
            and _joins([each.slot for each in group], span.slot, graph)
            and _pads_well(group, span, can_pad=graph.takes_ragged_rows)
        ):
            group.append(span)
        else:
            group = [span]
            runs.append(group)
    return list(runs)


def _joins(slots: Sequence[Slot], slot: Slot, graph: GraphInterface) -> bool:
    """Whether a slot may run with those before it."""
    last = slots[-1]
    if graph.max_rows is not None and len(slots) == graph.max_rows:
        return False
    if not graph.gathers_rows and slot.index != last.index + 1:
        return False
    if not graph.takes_ragged_rows and len(slot.token_ids) != len(last.token_ids):
        return False
    has_two_tables = graph.rope_switch_length is not None
    return slot.key.adapter == last.key.adapter and not (has_two_tables and slot.key != last.key)


def _pads_well(group: Sequence[Span], span: Span, *, can_pad: bool) -> bool:
    lengths = [len(each.token_ids) for each in (*group, span)]
    return max(lengths) <= (MAX_PADDING if can_pad else 1) * min(lengths)
