"""What every layer of a decoder makes of some tokens: one run, without a cache, of a graph with more outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genai.errors import GenerationError, OptionError
from genai.folder import ModelFolder
from genai.graph.axes import BATCH_SIZE, PAST_LENGTH
from genai.graph.names import ATTENTION_MASK, INPUT_IDS, NUM_LOGITS_TO_KEEP, POSITION_IDS
from genai.runtime.adapt import locate_weights, promote_layers, read_model
from genai.runtime.first_provider import first_that_works
from genai.runtime.graph_interface import DTYPES
from genai.runtime.ort import RUN_ERRORS
from genai.runtime.providers import choose_provider
from genai.runtime.session_options import WEIGHTS_FOLDER, session_options

__all__ = ["layer_outputs"]

AXES = {BATCH_SIZE: 1, PAST_LENGTH: 0}


def layer_outputs(
    folder: ModelFolder,
    token_ids: Sequence[int],
    *,
    provider: str = "auto",
    device_id: int = 0,
    provider_library: str | Path | None = None,
) -> list[npt.NDArray[np.float32]]:
    """Return the residual stream behind every layer, float32 [num_tokens, ...] each, from a session of its own.

    Args:
        folder: The model folder.
        token_ids: The tokens.
        provider: Execution provider, or "auto".
        device_id: Which device of the provider.
        provider_library: A plug-in library of execution providers to register first.

    Raises:
        OptionError: The graph does not tell its layers apart; those of genai's own exports do.
        GenerationError: The model failed to run.
    """
    model = read_model(folder.model_path)
    streams = [] if folder.decoder.stages else promote_layers(model.graph)
    if not streams:
        raise OptionError(
            f"{folder.path}: the graph does not name its layers as genai's own exports do, so they cannot be looked "
            "into one by one"
        )
    weights = locate_weights(model, folder.model_path.parent)

    def options() -> Any:
        made = session_options(folder.decoder, ())
        made.add_session_config_entry(WEIGHTS_FOLDER, str(weights))
        return made

    candidates = choose_provider(provider, library=provider_library)
    _, session = first_that_works(
        candidates, folder, model.SerializeToString(), options, device_id, may_record=False
    )
    try:
        outputs = session.run(streams, _feeds(session, token_ids))
    except RUN_ERRORS as error:
        raise GenerationError(f"ONNX Runtime failed to run the model: {error}") from error
    return [output[0].astype(np.float32) for output in outputs]


def _feeds(session: Any, token_ids: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
    """Return the inputs of a run over these tokens alone: pasts have no positions, and states are zero."""
    count = len(token_ids)
    given = {
        INPUT_IDS: np.array([token_ids], np.int64),
        ATTENTION_MASK: np.ones((1, count), np.int64),
        POSITION_IDS: np.arange(count, dtype=np.int64)[None],
    }
    feeds: dict[str, npt.NDArray[Any]] = {
        value.name: given[value.name]
        if value.name in given
        else np.zeros([AXES.get(axis, axis) for axis in value.shape], DTYPES[value.type])
        for value in session.get_inputs()
    }
    if any(value.name == NUM_LOGITS_TO_KEEP for value in session.get_overridable_initializers()):
        feeds[NUM_LOGITS_TO_KEEP] = np.array([count], np.int64)
    return feeds
