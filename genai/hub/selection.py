"""Which files of a repository are worth downloading: the rules, over a list of names.

It knows what repositories look like; it knows neither the network nor the disk.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from genai.errors import CheckpointError, ModelFolderError
from genai.folder import CONFIG_FILE

__all__ = ["Selection", "select_files"]

_CHECKPOINT_FILES = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
    }
)
_WEIGHTS = re.compile(r"model(?:-(?P<part>\d+)-of-(?P<parts>\d+))?\.safetensors")
_TEMPLATE_FOLDER = "additional_chat_templates"
_FOREIGN_WEIGHTS = (".bin", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth")
_NOT_FOR_MODEL_FOLDERS = (
    *(".gif", ".gitattributes", ".jpeg", ".jpg", ".md", ".png", ".svg"),
    *(".gguf", ".h5", ".msgpack", ".ot", ".pt", ".pth", ".safetensors"),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """The files to download from a repository.

    Args:
        files: Their paths within the repository.
        is_model_folder: Whether they are a model folder that runs as it is; otherwise they are a checkpoint.
    """

    files: tuple[str, ...]
    is_model_folder: bool


def select_files(
    names: Collection[str], *, source: str, subfolder: str | None = None, checkpoint: bool = False
) -> Selection:
    """Choose a runnable model folder if there is one, else the checkpoint in safetensors, without duplicates.

    Weights in other formats, `consolidated.safetensors`, variants (`model.fp16.safetensors`) and folders such as
    `original/` are left out.

    Args:
        names: All files of the repository, as paths from its root.
        source: The repository's name, for messages.
        subfolder: The folder that holds the model; `None` is the root.
        checkpoint: Take the checkpoint even if there is a model folder.

    Raises:
        ModelFolderError: There is no model in that folder of the repository.
        CheckpointError: There are no safetensors, or some of their parts are missing.

    >>> select_files(["config.json", "model.safetensors", "pytorch_model.bin", "a.png"], source="owner/name").files
    ('config.json', 'model.safetensors')
    """
    folder = PurePosixPath(subfolder or ".")
    here = sorted(path.name for path in map(PurePosixPath, names) if path.parent == folder)
    templates = sorted(
        f"{path.parent.name}/{path.name}"
        for path in map(PurePosixPath, names)
        if path.parent == folder / _TEMPLATE_FOLDER and path.suffix == ".jinja"
    )
    if CONFIG_FILE in here and not checkpoint:
        chosen = [name for name in here if not name.endswith(_NOT_FOR_MODEL_FOLDERS)]
        return Selection(_within(folder, chosen + templates), is_model_folder=True)
    if "config.json" not in here:
        raise ModelFolderError(_nothing_here(names, here, source, subfolder, checkpoint=checkpoint))
    chosen = [name for name in here if name in _CHECKPOINT_FILES]
    return Selection(_within(folder, chosen + templates + _weights(here, source)), is_model_folder=False)


def _within(folder: PurePosixPath, names: list[str]) -> tuple[str, ...]:
    return tuple(str(folder / name) for name in names)


def _weights(here: list[str], source: str) -> list[str]:
    """Choose the weights' files: transformers' names first, else whatever safetensors there are."""
    parts = [match for name in here if (match := _WEIGHTS.fullmatch(name)) and match["parts"]]
    if parts and ("model.safetensors.index.json" in here or "model.safetensors" not in here):
        present = {(int(match["part"]), int(match["parts"])) for match in parts}
        totals = {total for _, total in present}
        missing = [
            f"{part} of {total}"
            for total in totals
            for part in range(1, total + 1)
            if (part, total) not in present
        ]
        if missing:
            raise CheckpointError(f"{source}: parts of the safetensors are missing: {', '.join(missing)}")
        return [match[0] for match in parts]
    if "model.safetensors" in here:
        return ["model.safetensors"]
    others = [
        name
        for name in here
        if name.endswith(".safetensors") and not name.startswith(("consolidated", "adapter_model"))
    ]
    if not others:
        foreign = [name for name in here if name.endswith(_FOREIGN_WEIGHTS)]
        found = f"only {', '.join(foreign[:3])}" if foreign else "no weights at all"
        raise CheckpointError(
            f"{source} has no safetensors, {found}; genai reads safetensors alone: ask the repository's owner for "
            "them, or convert it (transformers: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...))"
        )
    return others


def _nothing_here(
    names: Collection[str], here: list[str], source: str, subfolder: str | None, *, checkpoint: bool
) -> str:
    where = f'the folder "{subfolder}" of {source.partition(":")[0]}' if subfolder else source
    if subfolder and not here:
        return f"there is no such folder: {where}"
    if CONFIG_FILE in here:
        assert checkpoint
        return f"{where} holds a model folder that runs as it is, not a checkpoint to export"
    folders = sorted({str(PurePosixPath(name).parent) for name in names if name.endswith("/" + CONFIG_FILE)})
    hint = f"; there are model folders at {', '.join(f':{folder}' for folder in folders)}" if folders else ""
    if any(name.endswith(".gguf") for name in here):
        hint += "; it holds GGUF files, which genai does not read"
    return f"{where} holds no language model: neither {CONFIG_FILE} nor config.json is there{hint}"
