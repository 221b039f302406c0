"""What a precision means in a graph: the float type of activations, and how the weights of each module are stored."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self

import onnx_ir as ir

from genai.config import PROVIDER_FORMS, ExportSettings, ProviderForm
from genai.export.build.patterns import schemes_by_pattern
from genai.export.build.recipe import Recipe
from genai.export.checkpoint.rows import Rows
from genai.quantize import BlockScheme

__all__ = ["Precision"]

_FLOAT_TYPES = {
    "fp32": ir.DataType.FLOAT,
    "fp16": ir.DataType.FLOAT16,
    "bf16": ir.DataType.BFLOAT16,
}

_KEPT_AS_FLOATS = frozenset(
    {
        *("beta", "corrections", "decay", "decay_down", "keys", "position_embedding", "predictions"),
        *("queries", "router", "shared_gate", "step"),
    }
)
"""Modules that are small and decide much: where tokens go, what is forgotten, how streams are mixed, where a token is."""


@dataclass(frozen=True, slots=True)
class Precision:
    """The types of a graph, and the scheme of every module.

    Args:
        name: One of `genai.config.PRECISIONS`.
        float_type: Type of activations, norms, rotary tables and unquantized weights.
        default_scheme: How matrices are quantized; `None` if they are not.
        schemes: What modules get instead, by patterns of their paths as `fnmatch` reads them ("head",
            "layers.3.*down"); the first pattern that matches counts, and `None` keeps floats.
        accuracy_level: How MatMulNBits and QMoE compute: 4 is with int8 activations, 3 to 4 times as fast on CPU as with
            floats (1).
        keeps_codes: Whether matrices that the checkpoint has quantized are carried over.
        recipe: Where the schemes are a mixture, what they are mixed by; channels are balanced only then.
        form: What the provider's kernels want of the graph.

    >>> precision = Precision.of(ExportSettings("int4")).with_schemes({"*.0.*down": BlockScheme(8, 32)})
    >>> [precision.scheme_of(path).bits for path in ("head", "layers.0.mlp.down", "layers.1.mlp.down")]
    [8, 8, 4]
    >>> precision.scheme_of("layers.0.mlp.router") is None
    True
    """

    name: str
    float_type: ir.DataType
    default_scheme: BlockScheme | None
    schemes: Mapping[str, BlockScheme | None] = field(default_factory=dict)
    accuracy_level: int = 4
    keeps_codes: bool = False
    recipe: Recipe | None = None
    form: ProviderForm = PROVIDER_FORMS["cpu"]

    @classmethod
    def of(cls, settings: ExportSettings) -> Self:
        """Return the precision that an export's settings ask for, as far as no weights need be known for it."""
        name, form = settings.precision, settings.form
        float_type = _FLOAT_TYPES[settings.float_type]
        if name == "int8":
            return cls(
                name, float_type, BlockScheme(8, settings.block_sizes[-1], scale_type="float16"), form=form
            )
        if recipe := Recipe.of(settings):
            schemes = dict.fromkeys(recipe.modules, recipe.wide)
            if not form.has_expert_zero_points and not recipe.narrow.is_symmetric:
                schemes["*.experts.*"] = dataclasses.replace(recipe.narrow, is_symmetric=True)
            return cls(name, float_type, recipe.narrow, schemes, recipe=recipe, form=form)
        return cls(name, float_type, None, keeps_codes=name == "keep", form=form)

    def mixed_for(self, parameters: Mapping[str, Rows]) -> Self:
        """Return this precision with its recipe applied to a decoder; without a recipe, itself.

        Args:
            parameters: The decoder's parameters by canonical name.
        """
        if self.recipe is None:
            return self
        wide = dict.fromkeys(self.recipe.wide_modules(parameters), self.recipe.wide)
        shapes = {
            name.removesuffix(".weight"): rows.shape
            for name, rows in parameters.items()
            if name.endswith(".weight") and len(rows.shape) > 1
        }
        return self.with_schemes(wide)._fitted_to(shapes)

    def with_schemes(self, schemes: Mapping[str, BlockScheme | None]) -> Self:
        """Return this precision with other schemes for some modules, before those that it has and instead of them."""
        others = {pattern: scheme for pattern, scheme in self.schemes.items() if pattern not in schemes}
        return dataclasses.replace(self, schemes={**schemes, **others})

    def limited_to(self, paths: Collection[str]) -> Self:
        """Return this precision without patterns that match none of these modules' paths."""
        schemes = {
            pattern: scheme
            for pattern, scheme in self.schemes.items()
            if any(fnmatchcase(path, pattern) for path in paths)
        }
        return dataclasses.replace(self, schemes=schemes)

    def scheme_of(self, path: str) -> BlockScheme | None:
        """Return how a module's matrix is quantized; `None` if it is stored as floats.

        Args:
            path: The canonical name of its parameters without their ending, such as "layers.3.mlp.down".
        """
        for pattern, scheme in self.schemes.items():
            if fnmatchcase(path, pattern):
                return scheme
        return None if path.rpartition(".")[2] in _KEPT_AS_FLOATS else self.default_scheme

    def scheme_of_uncarried(self, path: str) -> BlockScheme | None:
        """Return how a matrix is stored that a checkpoint has quantized, but not so that it can be carried over.

        Eight bits lose nothing that shows beside what the quantization cost already.
        """
        return self.scheme_of(path) or (
            None if path.rpartition(".")[2] in _KEPT_AS_FLOATS else BlockScheme(8, 32)
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest says of the quantization; nothing if there is none."""
        values = self.default_scheme.to_json() if self.default_scheme else {}
        if self.schemes:
            values["modules"] = {path: s.to_json() if s else None for path, s in self.schemes.items()}
        return values

    def _fitted_to(self, shapes: Mapping[str, tuple[int, ...]]) -> Self:
        """Return this precision with the recipe's blocks as large as each matrix bears; without a recipe, itself.

        Most weights get the default scheme, and the rest are listed.

        Args:
            shapes: Of all matrices, [..., outputs, inputs], by the paths of their modules.
        """
        recipe = self.recipe
        if recipe is None or len(recipe.block_sizes) == 1:
            return self
        fitted, num_weights = dict[str, BlockScheme](), Counter[BlockScheme]()
        for path, shape in shapes.items():
            if self.scheme_of(path) == recipe.narrow:
                fitted[path] = recipe.narrow_for(path, shape[-1])
                num_weights[fitted[path]] += math.prod(shape)
        if not fitted:
            return self
        ((default, _),) = num_weights.most_common(1)
        listed = schemes_by_pattern(fitted, fitted)
        others = {pattern: scheme for pattern, scheme in listed.items() if scheme != default}
        return dataclasses.replace(self, default_scheme=default, schemes={**self.schemes, **others})
