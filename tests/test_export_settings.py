"""Settings of an export: what is impossible is refused, and a name tells any two apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.config import KV_PRECISIONS, PRECISIONS, QUANTIZE_METHODS, VIAS, ExportSettings
from genai.errors import OptionError

SETTINGS = st.builds(
    ExportSettings,
    precision=st.sampled_from(PRECISIONS),
    block_size=st.sampled_from([None, 16, 32, 256]),
    max_context=st.none() | st.integers(1, 9),
    via=st.sampled_from(VIAS),
    kv_precision=st.sampled_from(KV_PRECISIONS),
)
CALIBRATED = st.builds(
    ExportSettings,
    precision=st.just("int4"),
    quantize=st.sampled_from(QUANTIZE_METHODS),
    calibration=st.none() | st.just("0123456789abcdef"),
)


@given(SETTINGS | CALIBRATED, SETTINGS | CALIBRATED)
def test_a_name_tells_settings_apart(one: ExportSettings, other: ExportSettings) -> None:
    assert (one.name == other.name) == (one == other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "itn4"}, 'precision must be one of .* not "itn4". Did you mean "int4"'),
        ({"via": "onnx"}, 'via must be one of .* not "onnx"'),
        ({"kv_precision": "int4"}, 'kv_precision must be one of auto, int8, not "int4"'),
        ({"quantize": "gtpq"}, 'quantize must be one of .* not "gtpq". Did you mean "gptq"'),
        (
            {"precision": "int8", "quantize": "gptq"},
            'quantize "gptq" chooses weights of 4 bits.* choose int4',
        ),
        ({"block_size": 33}, "block_size must be a power of two from 16 to 256"),
        ({"max_context": 0}, "max_context must be a whole number >= 1, not 0"),
        ({"max_context": True}, "max_context must be a whole number >= 1, not True"),
    ],
)
def test_impossible_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ExportSettings(**options)
    with pytest.raises(OptionError, match=message):
        ExportSettings().merge(**options)


def test_a_block_size_means_nothing_for_floats() -> None:
    settings = ExportSettings("fp16", block_size=64)
    assert settings == ExportSettings("fp16")
    assert (settings.name, settings.block_size) == ("fp16", None)
    assert ExportSettings("int8", 64).merge(precision="fp32") == ExportSettings("fp32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_block_size_is_checked_at_every_precision(precision: str) -> None:
    with pytest.raises(OptionError, match="block_size must be a power of two from 16 to 256"):
        ExportSettings(precision, block_size=7)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(OptionError, match=r'unknown export option "blok_size"\. Did you mean "block_size"'):
        ExportSettings().merge(blok_size=32)  # type: ignore[call-arg]
    assert ExportSettings().merge(precision=None, block_size=None) == ExportSettings()
