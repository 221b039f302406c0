"""A model folder as it is read from disk: its small files, and which ONNX file in it is to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from genai.config import GenerationConfig
from genai.errors import ModelFolderError, OptionError
from genai.folder.decoder_config import DecoderConfig
from genai.folder.files import (
    ADAPTER_SUFFIX,
    ADAPTERS_FOLDER,
    CONFIG_FILE,
    HF_CONFIG_FILE,
    MANIFEST_FILE,
    read_json,
)
from genai.folder.genai_config import read_genai_config
from genai.folder.generation_defaults import LengthLimits, read_generation_defaults, read_length_limits
from genai.folder.graph_files import NO_CACHE, check_is_decoder, choose_graph, find_graphs
from genai.folder.hf_config import decoder_from_hf_config
from genai.folder.manifest import Manifest

__all__ = ["ModelFolder"]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder that was read from disk: ours, onnxruntime-genai's, Optimum's or transformers.js'.

    Args:
        path: The folder.
        decoder: Its genai_config.json, or what its config.json says of the decoder.
        generation: Generation defaults, from its generation_config.json and genai_config.json.
        manifest: Its manifest.json; `None` for a folder that another tool made.
        limits: Limits on the length of a sequence that go with the generation defaults.
        variant: Which of several ONNX files it runs ("q4", "fp16", ...); `None` where genai_config.json names the one.
    """

    path: Path
    decoder: DecoderConfig
    generation: GenerationConfig
    manifest: Manifest | None
    limits: LengthLimits = field(default_factory=LengthLimits)
    variant: str | None = None

    @property
    def model_path(self) -> Path:
        """The ONNX file; its external weights lie beside it."""
        return self.path / self.decoder.filename

    @property
    def tokenizer_path(self) -> Path:
        """The folder of the tokenizer's files and the chat template."""
        return self.path / self.decoder.tokenizer_dir

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The ids that end a sequence: generation_config.json's, else the decoder's."""
        return self.generation.eos_token_ids or self.decoder.eos_token_ids

    @property
    def adapter_files(self) -> dict[str, Path]:
        """The file of each adapter, by its name, in order of the names."""
        files = sorted((self.path / ADAPTERS_FOLDER).glob(f"*{ADAPTER_SUFFIX}"))
        return {file.name.removesuffix(ADAPTER_SUFFIX): file for file in files}

    @classmethod
    def load(cls, path: Path | str, *, variant: str | None = None, provider: str = "cpu") -> Self:
        """Read the folder's small files and see that the ONNX files are there.

        Args:
            path: The folder.
            variant: Which of several ONNX files to take; `None` takes the one that suits the provider.
            provider: The execution provider that is to run it.

        Raises:
            ModelFolderError: A file is missing or cannot be understood.
            OptionError: There is no such variant.
        """
        path = Path(path)
        decoder, variant = _read_decoder(path, variant=variant, provider=provider)
        for filename in {stage.filename for stage in decoder.stages} or {decoder.filename}:
            if not (path / filename).is_file():
                raise ModelFolderError(
                    f"{path}: {filename}, which {CONFIG_FILE} names, is missing; export the model again"
                )
        manifest_path = path / MANIFEST_FILE
        return cls(
            path=path,
            decoder=decoder,
            generation=read_generation_defaults(path, decoder),
            manifest=Manifest.from_json(read_json(manifest_path)) if manifest_path.is_file() else None,
            limits=read_length_limits(path, decoder),
            variant=variant,
        )

    @staticmethod
    def is_model_folder(path: Path | str) -> bool:
        """Whether the path is a folder that `load` would try to read."""
        path = Path(path)
        return (path / CONFIG_FILE).is_file() or bool(
            (path / HF_CONFIG_FILE).is_file() and find_graphs(_onnx_files(path))
        )


def _read_decoder(path: Path, *, variant: str | None, provider: str) -> tuple[DecoderConfig, str | None]:
    """Return the decoder and which variant of it; genai_config.json wins unless a variant is wanted."""
    names = _onnx_files(path) if (path / HF_CONFIG_FILE).is_file() else []
    graphs = find_graphs(names)
    if (path / CONFIG_FILE).is_file() and (variant is None or not graphs):
        if variant is not None:
            raise OptionError(
                f'{path} has no variant "{variant}": its {CONFIG_FILE} names the one model that it holds'
            )
        return read_genai_config(read_json(path / CONFIG_FILE)), None
    if not graphs:
        raise ModelFolderError(_explain_no_model(path, names))
    values = read_json(path / HF_CONFIG_FILE)
    check_is_decoder(names, source=str(path))
    graph = choose_graph(graphs, variant=variant, provider=provider, source=str(path))
    return decoder_from_hf_config(values, graph=graph, folder=path), graph.variant


def _onnx_files(path: Path) -> list[str]:
    """Return the ONNX files of a folder and of its folder `onnx`, as paths within it."""
    return [
        file.relative_to(path).as_posix()
        for pattern in ("*.onnx", "onnx/*.onnx")
        for file in path.glob(pattern)
    ]


def _explain_no_model(path: Path, names: list[str]) -> str:
    if any(Path(name).stem.startswith("decoder_model") for name in names):
        return f"{path}: {NO_CACHE}"
    if (path / HF_CONFIG_FILE).is_file() and any(
        file for pattern in ("*.safetensors", "pytorch_model*.bin") for file in path.glob(pattern)
    ):
        return (
            f"{path}: this is a checkpoint, not a model folder ({CONFIG_FILE} is missing); make a model folder of it "
            f"with `genai export {path} -o OUTPUT`"
        )
    return f"{path}: {CONFIG_FILE} is missing; this is not a model folder"
