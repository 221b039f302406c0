"""What a decoder's inputs and outputs are called in its graph, and how that maps to the names that genai uses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from genai.graph.names import (
    ATTENTION_MASK,
    CONV_STATE,
    INPUT_IDS,
    KEY,
    LOGITS,
    PAST_SEQUENCE_LENGTH,
    POSITION_IDS,
    RECURRENT_STATE,
    TOTAL_SEQUENCE_LENGTH,
    VALUE,
    past_name,
    present_name,
)

__all__ = ["GraphNames", "StageConfig"]


@dataclass(frozen=True, slots=True)
class GraphNames:
    """Names of a graph's inputs and outputs; the defaults are the canonical names, which genai itself writes.

    `%d` in a name stands for the number of a layer.

    Args:
        input_ids: Token ids.
        attention_mask: Which positions may be attended to.
        position_ids: The tokens' positions.
        past_key: A layer's keys before the step.
        past_value: A layer's values before the step.
        present_key: A layer's keys after the step.
        present_value: A layer's values after the step.
        past: Keys and values in one tensor, before the step.
        present: Keys and values in one tensor, after the step.
        past_conv: A layer's convolution window before the step.
        present_conv: A layer's convolution window after the step.
        past_recurrent: A layer's recurrent state before the step.
        present_recurrent: A layer's recurrent state after the step.
        past_sequence_length: Number of tokens before the step.
        total_sequence_length: Number of tokens after the step.
        logits: Scores of the next token.
    """

    input_ids: str = INPUT_IDS
    attention_mask: str = ATTENTION_MASK
    position_ids: str = POSITION_IDS
    past_key: str = past_name("%d", KEY)
    past_value: str = past_name("%d", VALUE)
    present_key: str = present_name("%d", KEY)
    present_value: str = present_name("%d", VALUE)
    past: str = past_name("%d", "")
    present: str = present_name("%d", "")
    past_conv: str = past_name("%d", CONV_STATE)
    present_conv: str = present_name("%d", CONV_STATE)
    past_recurrent: str = past_name("%d", RECURRENT_STATE)
    present_recurrent: str = present_name("%d", RECURRENT_STATE)
    past_sequence_length: str = PAST_SEQUENCE_LENGTH
    total_sequence_length: str = TOTAL_SEQUENCE_LENGTH
    logits: str = LOGITS

    def canonical(self, names: Iterable[str]) -> dict[str, str]:
        """Return the canonical name of each of a graph's names that has another one.

        >>> GraphNames(past_key="k_%d_in").canonical(["input_ids", "k_3_in"])
        {'k_3_in': 'past_key_values.3.key'}
        """
        renamed = self._renamed()
        found = {}
        for name in names:
            for pattern, canonical in renamed:
                if (match := pattern.fullmatch(name)) is not None:
                    found[name] = canonical.replace("%d", match.group(1)) if match.groups() else canonical
                    break
        return found

    def _renamed(self) -> list[tuple[re.Pattern[str], str]]:
        pairs = []
        for part in dataclasses.fields(self):
            name, canonical = getattr(self, part.name), str(part.default)
            if name != canonical:
                pairs.append((re.compile(re.escape(name).replace("%d", r"(\d+)")), canonical))
        return pairs


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One graph of a decoder that is split into several, which run one after another.

    Args:
        name: What the configuration calls it.
        filename: Its ONNX file within the folder.
        inputs: The inputs that it is fed, by the names in its graph.
        outputs: The outputs that it gives, by the names in its graph.
        run_on_prompt: Whether it runs on a prompt.
        run_on_token_gen: Whether it runs on a generated token.
        is_lm_head: Whether it only computes logits, so that a prompt's earlier chunks need not run it.
        session_options: Its own ONNX Runtime session options; `None` takes the decoder's.
        provider_options: Its own options by execution provider.
        forwarded: Names under which later stages know its outputs, by its own names for them.
    """

    name: str
    filename: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    run_on_prompt: bool = True
    run_on_token_gen: bool = True
    is_lm_head: bool = False
    session_options: Mapping[str, Any] | None = None
    provider_options: tuple[tuple[str, Mapping[str, str]], ...] = ()
    forwarded: Mapping[str, str] = field(default_factory=dict)
