"""A model repository for Triton: the graph for its ONNX Runtime backend, and genai in its Python backend.

Both models are of one folder, which lies once in the repository: the Python model reads the files of the other.
https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from string import Template

from genai.deploy.contents import FolderContents, GraphValue
from genai.errors import ModelFolderError
from genai.folder import CONFIG_FILE, ModelFolder, check_target, staged_folder

__all__ = ["check_triton_target", "write_triton_repository"]

_TEMPLATES = files("genai.deploy") / "templates" / "triton"

GENERATE, LOGITS = "generate", "logits"
"""The two models: text in, text out; and token ids and a past in, logits out."""

_MARK = f"{LOGITS}/1/{CONFIG_FILE}"

_TYPES = {
    "BOOL": "TYPE_BOOL",
    "INT8": "TYPE_INT8",
    "UINT8": "TYPE_UINT8",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "FLOAT16": "TYPE_FP16",
    "BFLOAT16": "TYPE_BF16",
    "FLOAT": "TYPE_FP32",
}
"""Triton's types by ONNX's."""


def check_triton_target(target: Path, *, overwrite: bool) -> None:
    """See that a repository may be made at the target.

    Raises:
        ExportError: Something is there already, or something that is no such repository would be overwritten.
    """
    check_target(target, overwrite=overwrite, mark=_MARK)


def write_triton_repository(folder: ModelFolder, target: Path, *, overwrite: bool = False) -> None:
    """Write a model repository with the models `generate` (genai, text to text) and `logits` (the graph alone).

    Raises:
        ExportError: The target exists already, or the disk refuses.
        ModelFolderError: The folder is not in onnxruntime-genai's layout, or has types that Triton does not know.
    """
    contents = FolderContents.read(folder)
    signature = {"inputs": _values(contents.inputs), "outputs": _values(contents.outputs)}
    with staged_folder(target, overwrite=overwrite, mark=_MARK) as staging:
        contents.copy_to(staging / LOGITS / "1")
        _write(
            "logits.pbtxt",
            staging / LOGITS / "config.pbtxt",
            name=LOGITS,
            filename=folder.decoder.filename,
            **signature,
        )
        (staging / GENERATE / "1").mkdir(parents=True)
        _write(
            "generate.pbtxt",
            staging / GENERATE / "config.pbtxt",
            name=GENERATE,
            model=f"../{LOGITS}/1",
            chat="true" if contents.has_chat_template else "false",
        )
        _write("model.py", staging / GENERATE / "1" / "model.py")


def _write(template: str, target: Path, **values: str) -> None:
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    target.write_text(Template(text).substitute(values) if values else text, encoding="utf-8")


def _values(values: Iterable[GraphValue]) -> str:
    """Return the entries of `input` or `output`, one a line."""
    return ",\n".join(
        f'  {{ name: "{value.name}" data_type: {_type_of(value)} dims: {_dims_of(value)} }}'
        for value in values
    )


def _type_of(value: GraphValue) -> str:
    import onnx

    name = onnx.TensorProto.DataType.Name(value.element_type)
    if name not in _TYPES:
        raise ModelFolderError(f"{value.name} is of the type {name.lower()}, which Triton does not know")
    return _TYPES[name]


def _dims_of(value: GraphValue) -> str:
    return f"[ {', '.join(str(-1 if axis is None else axis) for axis in value.shape)} ]"
