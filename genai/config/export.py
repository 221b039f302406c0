"""Settings of an export, as one frozen value from the command line to the store and the manifest."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self, TypedDict, Unpack

from genai.config.choices import check_one_of
from genai.config.provider_form import FLOAT_TYPES, ProviderForm, provider_form
from genai.errors import OptionError, did_you_mean

__all__ = [
    "ACTIVATIONS",
    "CALIBRATED_METHODS",
    "EXPORT_VERSION",
    "KV_PRECISIONS",
    "PRECISIONS",
    "QUANTIZE_METHODS",
    "VIAS",
    "ExportOptions",
    "ExportSettings",
    "check_block_size",
]

EXPORT_VERSION = 6
"""The version of what an export writes: raised when a fix changes it, so that exports made before are not used."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int4", "int4-small", "keep")
"""What `precision` may be: types, "int4-small" for less of them than int4 has, or "keep" for matrices as a quantized
checkpoint has them, in a graph of fp32."""

ACTIVATIONS = ("auto", *FLOAT_TYPES)
"""What `activations` may be: a float type, or "auto" for that of unquantized weights, else the provider's."""

KV_PRECISIONS = ("auto", "int8")
"""What `kv_precision` may be: 8 bits, or "auto" for the type of the activations."""

VIAS = ("auto", "native", "transformers")
"""What `via` may be: an exporter, or "auto" for the first in this order that takes the model."""

QUANTIZE_METHODS = ("rtn", "hqq", "awq", "gptq")
"""What `quantize` may be: rounding to nearest or half-quadratic quantization, which need no text, or a method that is
calibrated with one."""

CALIBRATED_METHODS = ("awq", "gptq")
"""Methods that look at what a layer's matrices read."""

MIN_BLOCK_SIZE, MAX_BLOCK_SIZE = 16, 256
DEFAULT_BLOCK_SIZE = 32  # of matrices of 8 bits alone, and of those that a budget of bits mixes


class ExportOptions(TypedDict, total=False):
    """Options that change settings of an export; `None` changes nothing."""

    precision: str | None
    block_size: int | None
    max_context: int | None
    via: str | None
    quantize: str | None
    bits_budget: float | None
    kv_precision: str | None
    provider: str | None
    activations: str | None


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What makes one export of a checkpoint differ from another.

    Args:
        precision: "fp32", "fp16", "bf16", "int8", "int4", its smaller and coarser form "int4-small", or "keep" for what a
            checkpoint has quantized as it is.
        block_size: Weights per scale at int8 and int4: 32, 64 or 128 (any power of two from 16 to 256); mixtures take
            twice as many where they are coarser or have 8 bits. `None` is 32 at int8, and at int4 what the provider's form
            says for each matrix. At other precisions it means nothing, and is `None` whatever was asked for.
        max_context: Longest sequence that the folder is made for; `None` is the checkpoint's own limit.
        via: "native" or "transformers" names an exporter; "auto" takes the first that takes the model.
        quantize: How weights of 4 bits are chosen: "rtn" rounds to nearest, "hqq" fits scales to most weights of a block
            (see `genai.quantize.hqq`), "awq" rounds to nearest after smoothing, "gptq" chooses codes that make up for
            each other's errors after smoothing (see `genai.calibration`).
        bits_budget: Mean bits per weight that all matrices may take with their scales, at int4: which of them get more and
            which fewer is measured. `None` leaves it to the recipe.
        kv_precision: How the KV cache holds keys and values: "int8" as codes of 8 bits, whose scales a calibration finds;
            "auto" in the type of the activations.
        provider: The execution provider that it is made for; providers of one form are called by the first.
        activations: The float type that the graph computes in: that of the weights where these are floats, else the
            first of the provider's, which "auto" takes.
        calibration: The digest of the text that it was calibrated with; `None` where it was not, or not yet.

    Raises:
        OptionError: A value is none of these.

    >>> ExportSettings(precision="itn4")
    Traceback (most recent call last):
    genai.errors.OptionError: precision must be one of fp32, fp16, bf16, int8, int4, int4-small, keep, not "itn4". Did you mean "int4"?
    """

    precision: str = "int4"
    block_size: int | None = None
    max_context: int | None = None
    via: str = "auto"
    quantize: str = "rtn"
    bits_budget: float | None = None
    kv_precision: str = "auto"
    provider: str = "cpu"
    activations: str = "auto"
    calibration: str | None = None

    def __post_init__(self) -> None:
        check_one_of(PRECISIONS, precision=self.precision)
        check_one_of(VIAS, via=self.via)
        check_one_of(QUANTIZE_METHODS, quantize=self.quantize)
        check_one_of(KV_PRECISIONS, kv_precision=self.kv_precision)
        check_one_of(ACTIVATIONS, activations=self.activations)
        object.__setattr__(self, "provider", self.form.name)
        self._check_activations()
        size = self.block_size
        if size is not None:
            check_block_size(size)
        if size is not None and self.precision.startswith("int4") and size > self.form.max_narrow_block:
            raise OptionError(
                f"{self.provider} reads blocks of at most {self.form.max_narrow_block} weights of 4 bits, not "
                f"{size}: choose block_size {self.form.max_narrow_block}"
            )
        if not self.is_quantized:
            object.__setattr__(self, "block_size", None)
        length = self.max_context
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise OptionError(f"max_context must be a whole number >= 1, not {length!r}")
        budget = self.bits_budget
        if budget is not None and not (_is_number(budget) and 0 < budget < math.inf):
            raise OptionError(f"bits_budget must be a number of bits > 0, not {budget!r}")
        if budget is not None and self.precision != "int4":
            raise OptionError(
                f"bits_budget mixes matrices of 2 to 8 bits, and the precision is {self.precision}: choose int4, or leave "
                "bits_budget out"
            )
        if self.quantize != "rtn" and not self.precision.startswith("int4"):
            raise OptionError(
                f'quantize "{self.quantize}" chooses weights of 4 bits, and the precision is {self.precision}: choose '
                "int4, or leave quantize out"
            )

    @property
    def form(self) -> ProviderForm:
        """What the provider wants of the graph."""
        return provider_form(self.provider)

    @property
    def float_type(self) -> str:
        """The float type that the graph computes in: "fp32", "fp16" or "bf16".

        >>> ExportSettings().float_type, ExportSettings(provider="cuda").float_type, ExportSettings("bf16").float_type
        ('fp32', 'fp16', 'bf16')
        """
        default = self.form.default_activations(self.precision)
        return default if self.activations == "auto" else self.activations

    @property
    def is_quantized(self) -> bool:
        """Whether weights are rounded in blocks, so that block_size means something."""
        return self.precision.startswith("int")

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """The sizes of blocks that a matrix is stored in: the first of which a row has whole ones, else the last.

        >>> ExportSettings().block_sizes, ExportSettings(block_size=64).block_sizes, ExportSettings("int8").block_sizes
        ((128, 64, 32), (64,), (32,))
        """
        if self.block_size is not None:
            return (self.block_size,)
        is_mixed_by_form = self.precision.startswith("int4") and self.bits_budget is None
        return self.form.narrow_blocks if is_mixed_by_form else (DEFAULT_BLOCK_SIZE,)

    @property
    def is_calibrated(self) -> bool:
        """Whether a text decides on the weights of layers."""
        return self.quantize in CALIBRATED_METHODS

    @property
    def quantizes_cache(self) -> bool:
        """Whether the KV cache holds codes."""
        return self.kv_precision != "auto"

    @property
    def text_options(self) -> dict[str, str]:
        """What is chosen by what a text makes of the layers, and what to do instead.

        >>> ExportSettings(quantize="gptq", bits_budget=4.5).text_options
        {'quantize gptq': 'choose quantize rtn', 'bits_budget 4.5': 'leave bits_budget out'}
        """
        options: dict[str, str] = {}
        if self.is_calibrated:
            options[f"quantize {self.quantize}"] = "choose quantize rtn"
        if self.bits_budget is not None:
            options[f"bits_budget {self.bits_budget:g}"] = "leave bits_budget out"
        if self.quantizes_cache:
            options[f"kv_precision {self.kv_precision}"] = "choose kv_precision auto"
        return options

    @property
    def needs_text(self) -> bool:
        """Whether anything is chosen by what a text makes of the layers."""
        return bool(self.text_options)

    @property
    def name(self) -> str:
        """A name that no other settings have, fit for a folder.

        >>> ExportSettings().name, ExportSettings(precision="fp32", max_context=512).name
        ('int4', 'fp32-max_context=512')
        """
        parts = [self.precision, *([str(self.block_size)] if self.block_size is not None else [])]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in ("precision", "block_size") and value != field.default:
                parts.append(f"{field.name}={value}")
        return "-".join(parts)

    @property
    def precision_told(self) -> str:
        """What the precision is, as the end of a sentence that begins with "exporting".

        >>> ExportSettings(precision="keep").precision_told, ExportSettings().precision_told
        ('with its own quantization', 'to int4')
        """
        return "with its own quantization" if self.precision == "keep" else f"to {self.precision}"

    def _check_activations(self) -> None:
        """See that precision, activations and provider fit; what "auto" stands for too is called that."""
        if self.activations == self.form.default_activations(self.precision):
            object.__setattr__(self, "activations", "auto")
        if self.float_type not in self.form.activations:
            raise OptionError(
                f"{self.provider} computes in {' or '.join(self.form.activations)}, not in {self.float_type}: choose "
                f"{'precision' if self.activations == 'auto' else 'activations'} {self.form.activations[0]}, or another "
                "provider"
            )
        if self.precision in FLOAT_TYPES and self.activations != "auto":
            raise OptionError(
                f"weights of {self.precision} are multiplied with activations of {self.precision}, not {self.activations}: "
                f"choose precision {self.activations}, or leave activations out"
            )

    def merge(self, **options: Unpack[ExportOptions]) -> Self:
        """Return a copy with these options changed; `None` leaves one as it is.

        Raises:
            OptionError: An option is unknown or its value impossible.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for name in options:
            if name not in known:
                raise OptionError(f'unknown export option "{name}".{did_you_mean(name, known)}')
        changed: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        return dataclasses.replace(self, **changed)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_block_size(size: object) -> None:
    """See that weights can be quantized in blocks of this size.

    Raises:
        OptionError: They cannot.
    """
    if not (isinstance(size, int) and MIN_BLOCK_SIZE <= size <= MAX_BLOCK_SIZE and size & (size - 1) == 0):
        raise OptionError(
            f"block_size must be a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE} "
            f"(usually 32, 64 or 128), not {size!r}"
        )
