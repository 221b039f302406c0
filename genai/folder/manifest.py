"""manifest.json: where an exported folder came from and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from genai.config import PROVIDER_FORMS
from genai.errors import ModelFolderError
from genai.folder.files import MANIFEST_FILE
from genai.folder.results import as_evaluation, as_validation

__all__ = ["Manifest"]

_OBJECTS = (
    "quantization",
    "opset",
    "versions",
    "files",
    "exporter_notes",
    "settings",
    "attributes",
    "adapters",
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What manifest.json says of a folder: where it came from and what is in it.

    Args:
        source: Hub repository or path of the checkpoint.
        revision: Commit of the repository, if known.
        architecture: The checkpoint's architecture, as its config.json names it.
        precision: One of `genai.config.PRECISIONS`.
        quantization: The scheme and its parameters; empty if not quantized.
        opset: ONNX opset by domain.
        versions: Versions of the tools that made the folder.
        created: Date and time in ISO 8601, UTC.
        files: sha256 by file name, of every other file of the folder but its model card.
        exporter: What made the graph: "native" or "transformers"; "optimum" in folders of earlier versions.
        exporter_notes: Why that one, and what it and the passes after it did.
        settings: What the export was asked for: the fields of `genai.config.ExportSettings`.
        export_version: `genai.config.EXPORT_VERSION` when it was made; 1 for folders that do not say.
        attributes: Facts about the graph that the runtime needs and genai_config.json has no key for.
        validation: Results of `genai validate`, empty until it ran.
        evaluation: Results of `genai evaluate`, likewise.
        adapters: The adapters beside the model by name: "source", "rank", and how many "modules" each adapts.
        license: The licence that the checkpoint states, or its page; `None` if neither is known to.
        num_parameters: The checkpoint's, a tied head not counted again; `None` where the exporter does not tell.
        num_bytes: Bytes of the ONNX files with their weights; `None` in folders that do not say.
    """

    source: str
    revision: str | None
    architecture: str
    precision: str
    quantization: Mapping[str, Any]
    opset: Mapping[str, int]
    versions: Mapping[str, str]
    created: str
    files: Mapping[str, str]
    exporter: str = "native"
    exporter_notes: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    export_version: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    adapters: Mapping[str, Any] = field(default_factory=dict)
    license: str | None = None
    num_parameters: int | None = None
    num_bytes: int | None = None

    @property
    def provider(self) -> str:
        """The execution provider that the folder was made for."""
        return str(self.settings.get("provider", "cpu"))

    @property
    def float_type(self) -> str:
        """The type that the graph computes in: "fp32", "fp16" or "bf16".

        >>> values = {"settings": {"provider": "cuda"}}
        >>> Manifest("x", None, "X", "int4", {}, {}, {}, "", {}, **values).float_type
        'fp16'
        """
        asked = self.settings.get("activations", "auto")
        form = PROVIDER_FORMS.get(self.provider, PROVIDER_FORMS["cpu"])
        return form.default_activations(self.precision) if asked == "auto" else str(asked)

    @property
    def bits_per_weight(self) -> float | None:
        """Bits of the ONNX files per parameter, scales and graph included."""
        if self.num_parameters is None or self.num_bytes is None:
            return None
        return 8 * self.num_bytes / self.num_parameters

    def to_json(self) -> dict[str, Any]:
        """Return the content of a manifest.json."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a manifest.json; results that nobody here could read are passed over.

        Raises:
            ModelFolderError: It lacks keys that every manifest has, or something else stands in the place of an object.
        """
        known = {k: v for k, v in values.items() if k in cls.__dataclass_fields__}
        for name in _OBJECTS:
            if not isinstance(value := known.get(name, {}), Mapping):
                raise ModelFolderError(
                    f'{MANIFEST_FILE}: "{name}" must be an object, not {value!r:.50}; export the model again'
                )
        known["validation"] = as_validation(known.get("validation"))
        known["evaluation"] = as_evaluation(known.get("evaluation"))
        try:
            return cls(**known)
        except TypeError as error:
            raise ModelFolderError(f"{MANIFEST_FILE}: {error}; export the model again") from error
