"""How far each layer's result is from the reference's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genai.errors import OptionError
from genai.generator import Generator
from genai.runtime.layer_outputs import layer_outputs

__all__ = ["layer_errors"]

MAX_TOKENS = 256


def layer_errors(model: Generator, reference: Generator, token_ids: Sequence[int]) -> tuple[float, ...]:
    """Return the relative error |x - r| / |r| of the residual stream behind every layer, the mean over some tokens.

    Each token counts the same: the stream of the first one is often a thousand times as long as that of the others.

    Raises:
        OptionError: The layers of a graph cannot be told apart, or the models have not the same ones.
        GenerationError: A model failed to run.
    """
    ours, theirs = (
        layer_outputs(
            each.folder,
            token_ids[:MAX_TOKENS],
            provider=each.provider,
            device_id=each.device_id,
            provider_library=each.provider_library,
        )
        for each in (model, reference)
    )
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        raise OptionError(
            f"{model.folder.path} and {reference.folder.path} have different layers: {len(ours)} of shape "
            f"{ours[0].shape[1:]}, and {len(theirs)} of shape {theirs[0].shape[1:]}"
        )
    errors = []
    for output, expected in zip(ours, theirs, strict=True):
        axes = tuple(range(1, expected.ndim))
        distance = np.sqrt(np.square(output - expected, dtype=np.float64).sum(axis=axes))
        size = np.sqrt(np.square(expected, dtype=np.float64).sum(axis=axes))
        errors.append(float(np.mean(distance / np.maximum(size, np.finfo(np.float32).tiny))))
    return tuple(errors)
