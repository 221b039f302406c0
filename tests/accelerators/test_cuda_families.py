"""Every family in every precision lands on CUDA, runs there, and can be captured as one graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genai.folder import ModelFolder
from genai.runtime import Decoder
from tests.accelerators.captured_step import replay_of_step
from tests.accelerators.models import export, sized_checkpoint
from tests.accelerators.placement import nodes_on_cpu, open_session
from tests.checkpoints import FAMILIES, make_checkpoint
from tests.export.test_parity import VARIANTS
from tests.spans import decode, prefill, score

pytestmark = pytest.mark.cuda_stub

CUDA = "CUDAExecutionProvider"

FORMS: dict[str, dict[str, Any]] = {
    "fp16": {"precision": "fp16"},
    "bf16": {"precision": "bf16"},
    "int8": {"precision": "int8"},
    "int4": {"precision": "int4"},
    "int4, bf16": {"precision": "int4", "activations": "bf16"},
}

SIZES = {"Sub", "Concat"}
"""What computes sizes, on the host: at which position the head's begin, and the shape of linear biases."""

TINY = {"olmo hybrid, derived widths", "phimoe, longrope"}
"""Variants whose rotary factors are made for tiny heads, or whose filters transformers saves cut wrongly in other widths."""

ON_HOST = {"rwkv": frozenset({"Gather", "RNN"})}
"""What else of a family is computed on the host, since no kernel of CUDA takes it; its steps are not captured."""

DATA_DEPENDENT = {"gemma4, experts", "mixtral, gelu, tied, windows", "nemotron_h"}
"""Families and variants that look, on the host, at which tokens chose an expert: no kernel computes such experts."""


def assert_lands(folder: Path, *, on_host: frozenset[str] = frozenset(), can_capture: bool = True) -> None:
    """See that all but sizes is computed on CUDA, that its kernels take what they get, and that a step is one launch."""
    assert on_host <= nodes_on_cpu(open_session(folder, CUDA)).keys() <= SIZES | on_host
    assert_runs(folder)
    if on_host:
        return
    session = open_session(folder, CUDA, enable_cuda_graph="1")
    for rows in (1, 4):
        if can_capture:
            replay = replay_of_step(session, rows=rows)
            assert replay.pop("replayed") > 0
            assert replay == {"graph_launches": 1, "stream_synchronizations": 1}
        else:
            with pytest.raises(RuntimeError, match="StreamCaptureUnsupported"):
                replay_of_step(session, rows=rows)


def assert_runs(folder: Path) -> None:
    """Run prompts, a later chunk, steps of one row and of two, and several positions' logits; what comes is no matter."""
    decoder = Decoder(ModelFolder.load(folder), provider="cuda")
    one, two = (decoder.cache.acquire([token]) for token in (1, 2))
    prefill(decoder, one, [1, 2, 3])
    prefill(decoder, one, [4, 5, 6, 7])
    decode(decoder, [8], [one])
    prefill(decoder, two, [2, 3, 4, 5])
    decode(decoder, [8, 9], [one, two])
    score(decoder, one, [3, 4])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_lands(family: str, form: str, checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = export(checkpoint_of(family), tmp_path / "model", provider="cuda", **FORMS[form])
    on_host = ON_HOST.get(family, frozenset())
    assert_lands(folder, on_host=on_host, can_capture=family not in DATA_DEPENDENT)


@pytest.mark.parametrize("form", ["fp16", "int4, bf16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_lands(variant: str, form: str, tmp_path: Path) -> None:
    family, overrides = VARIANTS[variant]
    make = make_checkpoint if variant in TINY else sized_checkpoint
    checkpoint = make(family, tmp_path / "checkpoint", **overrides)
    folder = export(checkpoint, tmp_path / "model", provider="cuda", **FORMS[form])
    on_host = ON_HOST.get(family, frozenset())
    assert_lands(folder, on_host=on_host, can_capture=variant not in DATA_DEPENDENT)
