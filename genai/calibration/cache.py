"""The scales of a KV cache of 8-bit codes, from what a text makes of a decoder's keys and values.

Keys lie in the cache as they are after their rotation, which turns two channels into each other with the position: a
channel that is small over a thousand positions may be as large as its partner over ten thousand. So both get a scale
for the radius of the pair, which no position changes (where a norm stands behind the rotation, nearly so). What is
larger than anything in the text, by more than the margin, saturates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from genai.calibration.corpus import CalibrationText, describe
from genai.calibration.layer_run import embed_tokens, run_layer_cache
from genai.calibration.parameters import Arrays, Floats
from genai.calibration.work_folder import WorkFolder
from genai.export import Calibrated
from genai.export.architecture import AttentionSpec, DecoderSpec
from genai.export.architecture.rope import RopeSpec
from genai.export.build.cache_scales import scales_name
from genai.graph.names import KEY

__all__ = ["MARGIN", "CacheCalibration", "peaks_of", "scales_for"]

MARGIN = 1.25
"""How much larger than in the text a channel may become before its codes saturate.

On other texts the squared error of keys and values is smallest from 0.9 to 1.25. Above it grows with the margin's square;
below, what saturates costs far more.
"""

MAX_CODE = 127


@dataclass(frozen=True, slots=True)
class CacheCalibration:
    """A search for scales that can be run.

    Args:
        calibrated: What will be exported, but for the scales. Matrices that are rounded only as they are written are run
            as floats; the margin has room for the difference.
        spec: The decoder, for sequences as long as the calibration's.
        text: The text.
        sequences: The text's tokens, int64 [tokens] each, all as long.
    """

    calibrated: Calibrated
    spec: DecoderSpec
    text: CalibrationText
    sequences: Sequence[NDArray[np.int64]]

    @property
    def num_layers(self) -> int:
        """How many layers are run."""
        return len(self.spec.layers)

    def run(self, work: WorkFolder, advance: Callable[[int], None]) -> None:
        """Run the layers that are not done yet; `advance` is told how many are."""
        parameters = self.calibrated.parameters

        def begin() -> Floats:
            return embed_tokens(parameters, self.spec, self.sequences, beside=work.path)

        def look(index: int, hidden: Floats) -> tuple[Arrays, Floats]:
            mixer = self.spec.layers[index].mixer
            rope = mixer.rope if isinstance(mixer, AttentionSpec) else None
            peaks = partial(peaks_of, rope=rope)
            run = run_layer_cache(parameters, self.spec, index, hidden, peaks, beside=work.path)
            return run.peaks, run.outputs

        work.finish_layers(self.num_layers, begin, look, advance)

    def outcome(self, work: WorkFolder) -> Calibrated:
        """Return what to export, the scales among its parameters, once all layers are done."""
        scales = {
            scales_name(index, layer, state): scales_for(peaks)
            for index, layer in enumerate(self.spec.layers)
            for state, peaks in work.read_layer(index).items()
        }
        in_floats = [
            index
            for index, layer in enumerate(self.spec.layers)
            if layer.mixer is not None and not isinstance(layer.mixer, AttentionSpec)
        ]
        notes = {"margin": MARGIN, **describe(self.text, self.sequences), "layers_in_floats": in_floats}
        return replace(
            self.calibrated,
            parameters={**self.calibrated.parameters, **scales},
            notes={**self.calibrated.notes, "kv_cache": notes},
        )


def peaks_of(state: str, content: Floats, *, rope: RopeSpec | None) -> Floats:
    """Return how large the channels of keys or values are: float32 [heads, head_dim] of [heads, tokens, head_dim]."""
    largest: Floats = np.abs(content).max(axis=1)
    if state == KEY and rope is not None:
        first, second = _pairs(rope)
        radii = np.hypot(content[..., first], content[..., second]).max(axis=1)
        largest[:, first] = largest[:, second] = radii
    return largest


def scales_for(peaks: Floats) -> Floats:
    """Return the scales of channels, float32 [1, heads, 1, head_dim]; 1 of one that was always 0."""
    scales = np.where(peaks > 0, peaks * (MARGIN / MAX_CODE), 1.0)
    return scales.astype(np.float32)[None, :, None]


def _pairs(rope: RopeSpec) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the channels that rotate into each other."""
    half = np.arange(rope.dim // 2)
    return (2 * half, 2 * half + 1) if rope.interleaved else (half, half + rope.dim // 2)
