"""What of a model folder goes along: the files that running it takes, and what its graph takes and gives."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Self

import onnx

from genai.errors import ModelFolderError
from genai.folder import CARD_FILE, CONFIG_FILE, MANIFEST_FILE, ModelFolder, is_text_file

__all__ = ["FolderContents", "GraphValue"]


@dataclass(frozen=True, slots=True)
class GraphValue:
    """An input or output of a graph.

    Args:
        name: What the graph calls it.
        element_type: Its type, as `onnx.TensorProto.DataType` counts them.
        shape: Its axes; `None` is one that may have any length.
    """

    name: str
    element_type: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class FolderContents:
    """A model folder's files and the signature of its graph.

    Args:
        folder: The folder.
        data_files: The files beside the graph that hold its weights.
        text_files: What the tokenizer, the chat template and the generation defaults are in.
        inputs: What has to be fed; inputs with a default are left out.
        outputs: What a run gives.
        has_float16: Whether it holds or passes on values of float16.
    """

    folder: ModelFolder
    data_files: tuple[str, ...]
    text_files: tuple[str, ...]
    inputs: tuple[GraphValue, ...]
    outputs: tuple[GraphValue, ...]
    has_float16: bool

    @classmethod
    def read(cls, folder: ModelFolder) -> Self:
        """Read a folder in onnxruntime-genai's layout, whose decoder is one graph.

        Raises:
            ModelFolderError: It has another layout, several graphs, or a graph that cannot be read.
        """
        if not (folder.path / CONFIG_FILE).is_file() or folder.decoder.stages:
            raise ModelFolderError(
                f"{folder.path}: only a folder with a {CONFIG_FILE} that names one graph can be deployed; export the "
                "checkpoint with genai export"
            )
        try:
            model = onnx.load(folder.model_path, load_external_data=False)
        except Exception as error:  # protobuf's errors have no common type
            raise ModelFolderError(f"{folder.model_path}: cannot be read as ONNX ({error})") from error
        names = [folder.decoder.filename, folder.decoder.tokenizer_dir, *_data_files(model)]
        for name in names:
            if (
                PurePosixPath(name).is_absolute()
                or PureWindowsPath(name).anchor
                or ".." in PureWindowsPath(name).parts
            ):
                raise ModelFolderError(
                    f"{folder.path} names a file outside of itself ({name}): it is not deployed"
                )
        with_default = {tensor.name for tensor in model.graph.initializer}
        inputs = tuple(_value(value) for value in model.graph.input if value.name not in with_default)
        outputs = tuple(_value(value) for value in model.graph.output)
        types = {value.element_type for value in (*inputs, *outputs)}
        return cls(
            folder=folder,
            data_files=tuple(sorted(_data_files(model))),
            text_files=tuple(
                sorted(
                    name
                    for file in folder.tokenizer_path.rglob("*")
                    if file.is_file()
                    and is_text_file(name := file.relative_to(folder.tokenizer_path).as_posix())
                )
            ),
            inputs=inputs,
            outputs=outputs,
            has_float16=onnx.TensorProto.FLOAT16
            in types.union(tensor.data_type for tensor in model.graph.initializer),
        )

    @property
    def has_chat_template(self) -> bool:
        """Whether the folder says how a conversation is written."""
        return "chat_template.jinja" in self.text_files

    def copy_to(self, target: Path) -> None:
        """Copy the files into a folder that is made for them, each at its place within the model folder."""
        source = self.folder.path
        names = [self.folder.decoder.filename, *self.data_files, CONFIG_FILE, CARD_FILE, MANIFEST_FILE]
        tokenizer_dir = Path(self.folder.decoder.tokenizer_dir)
        for name in [*names, *(str(tokenizer_dir / text) for text in self.text_files)]:
            if name in (CARD_FILE, MANIFEST_FILE) and not (source / name).is_file():
                continue
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


def _data_files(model: onnx.ModelProto) -> set[str]:
    return {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _value(value: onnx.ValueInfoProto) -> GraphValue:
    kind = value.type.tensor_type
    axes = (axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim)
    return GraphValue(value.name, kind.elem_type, tuple(axes))
