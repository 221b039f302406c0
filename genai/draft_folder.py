"""The folder of a draft model, and whether it can guess for another model: their tokens must be the same."""

from __future__ import annotations

from pathlib import Path

from genai.errors import OptionError, TokenizerError
from genai.folder import ModelFolder
from genai.hub import Progress
from genai.prepare import prepare_model
from genai.text import Tokenizer

__all__ = ["prepare_draft"]


def prepare_draft(
    draft: str | Path | ModelFolder,
    folder: ModelFolder,
    *,
    provider: str,
    offline: bool,
    progress: Progress | None,
) -> ModelFolder:
    """Return the folder of a draft model, exported first if it has to be.

    Args:
        draft: What names it, as `Generator` takes a model.
        folder: The model that it is to guess for.
        provider: What it will run on.
        offline: Use no network.
        progress: Told of downloads and exports.

    Raises:
        OptionError: Their vocabularies differ, or cannot be compared.
        GenaiError: As `genai.prepare.prepare_model` raises.
    """
    if not isinstance(draft, ModelFolder):
        draft = prepare_model(draft, provider=provider, offline=offline, progress=progress)
    theirs, ours = _vocabulary(draft), _vocabulary(folder)
    if theirs != ours:
        token = min(
            (token for token in theirs.keys() | ours.keys() if theirs.get(token) != ours.get(token)),
            key=lambda token: min(theirs.get(token, len(theirs)), ours.get(token, len(ours))),
        )
        raise OptionError(
            f"{draft.path} cannot be the draft model of {folder.path}: their vocabularies differ, beginning with "
            f"{token!r}, whose ids are {theirs.get(token)} and {ours.get(token)}; take a smaller model of the same family"
        )
    return draft


def _vocabulary(folder: ModelFolder) -> dict[str, int]:
    try:
        return Tokenizer.from_folder(folder.tokenizer_path).backend.get_vocab(with_added_tokens=True)
    except TokenizerError as error:
        raise OptionError(
            f"a draft model and its model need tokenizers that can be compared: {error}"
        ) from error
