"""Which files of a repository are worth downloading: the rules, over a list of names.

It knows what repositories look like; it knows neither the network nor the disk.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from genai.errors import CheckpointError, ModelFolderError, OptionError
from genai.folder import CONFIG_FILE, HF_CONFIG_FILE, OPTIMIZER_CONFIG_FILE, is_text_file
from genai.folder.files import is_adapter_file
from genai.folder.gguf_files import GGUF_SUFFIX, gguf_models, gguf_parts
from genai.folder.graph_files import check_is_decoder, choose_graph, companions_of, find_graphs

__all__ = ["Selection", "select_files"]

_SAFETENSORS = re.compile(r"model(?:-(?P<part>\d+)-of-(?P<parts>\d+))?\.safetensors")
_TORCH_FILES = re.compile(r"pytorch_model(?:-(?P<part>\d+)-of-(?P<parts>\d+))?\.bin")
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
        variant: Which of several ONNX files was chosen; `None` where there is no choice.
        gguf_file: The GGUF file that is the checkpoint, the first of its parts; `None` for any other.
    """

    files: tuple[str, ...]
    is_model_folder: bool
    variant: str | None = None
    gguf_file: str | None = None


def select_files(
    names: Collection[str],
    *,
    source: str,
    subfolder: str | None = None,
    checkpoint: bool = False,
    prefer_checkpoint: bool = False,
    variant: str | None = None,
    provider: str = "cpu",
) -> Selection:
    """Choose a runnable model folder if there is one, else the checkpoint in safetensors, without duplicates.

    Where there is neither, a GGUF file is taken if there is just one, or the one that is named.
    Of several ONNX files only one and its weights are taken, and `pytorch_model.bin` or its parts only where there are
    no safetensors. Weights in other formats, `consolidated.safetensors`, variants of safetensors
    (`model.fp16.safetensors`) and folders such as `original/` are left out.

    Args:
        names: All files of the repository, as paths from its root.
        source: The repository's name, for messages.
        subfolder: The folder that holds the model, or a GGUF file; `None` is the root.
        checkpoint: Take the checkpoint even if there is a model folder.
        prefer_checkpoint: Rather take safetensors than ONNX files that came without a genai_config.json.
        variant: Which ONNX file to take where there are several ("q4", "fp16", ...).
        provider: The execution provider that the choice of a variant suits otherwise.

    Raises:
        ModelFolderError: There is no model in that folder of the repository.
        CheckpointError: There are no weights that can be read, or some of their parts are missing.
        OptionError: There is no such variant.

    >>> select_files(["config.json", "model.safetensors", "pytorch_model.bin", "a.png"], source="owner/name").files
    ('config.json', 'model.safetensors')
    >>> names = ["config.json", "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_q4.onnx"]
    >>> select_files(names, source="owner/name").files
    ('config.json', 'onnx/model_q4.onnx')
    """
    if subfolder is not None and subfolder.lower().endswith(GGUF_SUFFIX):
        _check_no_variant(variant, source)
        return _gguf(subfolder, names, source.partition(":")[0])
    folder = PurePosixPath(subfolder or ".")
    inside = _inside(folder, names)
    here = sorted(name for name in inside if "/" not in name)
    graphs = find_graphs(inside) if HF_CONFIG_FILE in here else ()
    text_files = [name for name in inside if is_text_file(name)]
    if CONFIG_FILE in here and not checkpoint and (variant is None or not graphs):
        _check_no_variant(variant, source)
        others = [
            name for name in here if name not in text_files and not name.endswith(_NOT_FOR_MODEL_FOLDERS)
        ]
        adapters = [name for name in inside if is_adapter_file(name)]
        return Selection(_within(folder, others + text_files + adapters), is_model_folder=True)
    small = [*([HF_CONFIG_FILE] if HF_CONFIG_FILE in here else []), *text_files]
    has_safetensors = any(name.endswith(".safetensors") for name in here)
    if graphs and not checkpoint and not (prefer_checkpoint and has_safetensors):
        check_is_decoder(inside, source=source)
        graph = choose_graph(graphs, variant=variant, provider=provider, source=source)
        files = [*small, graph.path, *companions_of(graph, inside)]
        return Selection(_within(folder, files), is_model_folder=True, variant=graph.variant)
    _check_no_variant(variant, source)
    if not has_safetensors and CONFIG_FILE not in here and (models := gguf_models(here)):
        return _only_gguf(_within(folder, models), names, source)
    if HF_CONFIG_FILE not in here:
        raise ModelFolderError(_nothing_here(names, here, source, subfolder, checkpoint=checkpoint))
    small += [OPTIMIZER_CONFIG_FILE] if OPTIMIZER_CONFIG_FILE in here else []
    return Selection(_within(folder, small + _weights(here, source)), is_model_folder=False)


def _only_gguf(models: tuple[str, ...], names: Collection[str], source: str) -> Selection:
    if len(models) > 1:
        shown = [f"{source.partition(':')[0]}:{name}" for name in models]
        more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
        raise ModelFolderError(
            f"{source} holds {len(models)} GGUF files; name one of them: {', '.join(shown[:8])}{more}"
        )
    return _gguf(models[0], names, source)


def _gguf(name: str, names: Collection[str], repo: str) -> Selection:
    """Return a GGUF file with all of its parts, and nothing else: it holds its tokenizer and config."""
    path = PurePosixPath(name)
    parts = tuple(str(path.with_name(part)) for part in gguf_parts(path.name))
    missing = [part for part in parts if part not in names]
    if missing:
        others = gguf_models(names)
        found = f"; there are {', '.join(others[:8])}" if others else "; it holds no GGUF files"
        raise ModelFolderError(f'{repo} has no file "{missing[0]}"{found}')
    return Selection(parts, is_model_folder=False, gguf_file=parts[0])


def _check_no_variant(variant: str | None, source: str) -> None:
    if variant is not None:
        raise OptionError(
            f'{source} has no variant "{variant}": variants are for repositories with config.json and several files '
            "onnx/model_*.onnx"
        )


def _inside(folder: PurePosixPath, names: Collection[str]) -> list[str]:
    """Return the paths within a folder of the repository, of the files that are in it."""
    prefix = "" if folder == PurePosixPath(".") else f"{folder}/"
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _within(folder: PurePosixPath, names: list[str]) -> tuple[str, ...]:
    return tuple(str(folder / name) for name in names)


def _weights(here: list[str], source: str) -> list[str]:
    """Choose the weights' files: safetensors by transformers' names, else any, else those of PyTorch."""
    named = _named_weights(here, source, _SAFETENSORS, single="model.safetensors")
    if named:
        return named
    others = [
        name
        for name in here
        if name.endswith(".safetensors") and not name.startswith(("consolidated", "adapter_model"))
    ]
    others = others or _named_weights(here, source, _TORCH_FILES, single="pytorch_model.bin")
    if not others:
        foreign = [name for name in here if name.endswith(_FOREIGN_WEIGHTS)]
        found = f"only {', '.join(foreign[:3])}" if foreign else "no weights at all"
        raise CheckpointError(
            f"{source} has no safetensors, {found}; genai reads safetensors, pytorch_model.bin and GGUF: ask the repository's "
            "owner for them, or convert it (transformers: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...))"
        )
    return others


def _named_weights(here: list[str], source: str, pattern: re.Pattern[str], *, single: str) -> list[str]:
    """Return all parts of the weights and their index, or the file that holds them all, or nothing."""
    index = f"{single}.index.json"
    parts = [match for name in here if (match := pattern.fullmatch(name)) and match["parts"]]
    if parts and (index in here or single not in here):
        present = {(int(match["part"]), int(match["parts"])) for match in parts}
        totals = {total for _, total in present}
        missing = [
            f"{part} of {total}"
            for total in totals
            for part in range(1, total + 1)
            if (part, total) not in present
        ]
        if missing:
            raise CheckpointError(
                f"{source}: parts of the {single.rpartition('.')[2]} are missing: {', '.join(missing)}"
            )
        return [*([index] if index in here else []), *(match[0] for match in parts)]
    return [*([index] if index in here else []), single] if single in here else []


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
    if subfolder and any(name.endswith(".onnx") for name in here):
        hint += f"; for the ONNX files there name the repository without :{subfolder}, and choose with variant (--variant)"
    if not subfolder and (models := gguf_models(names)):
        hint += f"; there are GGUF files, such as {source}:{models[0]}"
    return f"{where} holds no language model: neither {CONFIG_FILE} nor config.json is there{hint}"
