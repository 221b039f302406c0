"""What of a decoder a provider cannot compute, said before anything is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from genai.config import FLOAT_TYPES, ExportSettings
from genai.errors import OptionError, UnsupportedModelError
from genai.export.architecture import (
    AttentionSpec,
    DecoderSpec,
    GatedDeltaSpec,
    LightningAttentionSpec,
    Mamba2Spec,
    MambaSpec,
    RgLruSpec,
    ShortConvolutionSpec,
    TimeMixSpec,
)

__all__ = ["check_provider", "describe_left"]


WINDOWS = "sliding windows"
CHUNKS = "attention within chunks"


def check_provider(spec: DecoderSpec, settings: ExportSettings) -> None:
    """See that the settings' provider can compute a decoder.

    Raises:
        UnsupportedModelError: It would compute something else, or has no kernel.
        OptionError: It cannot with these settings.
    """
    form = settings.form
    if (spec.alibis or spec.chunks) and settings.quantizes_cache and not form.biases_codes:
        kind = "linear biases" if spec.alibis else "a mask of chunks"
        raise OptionError(
            f"the attention adds {kind} to its scores, which {form.name}'s kernel cannot over a cache of 8-bit "
            "codes: choose kv_precision auto, or another provider"
        )
    if not form.has_plain_attention:
        return
    if settings.quantizes_cache:
        raise OptionError(f"{form.name} has no attention over 8-bit codes: choose kv_precision auto")
    reasons = sorted(
        {reason for layer in spec.layers for mixer in layer.mixers for reason in _reasons(mixer)}
    )
    if reasons:
        raise UnsupportedModelError(
            f"{form.name} has no kernel for {' and '.join(reasons)}: choose another provider"
            + (", or a max_context within the window" if set(reasons) <= {WINDOWS, CHUNKS} else "")
        )


def describe_left(nodes: Iterable[ir.Node], settings: ExportSettings) -> str | None:
    """Return what the settings' provider has no kernels for in their float type, and who runs it; None if nothing."""
    form = settings.form
    option = "precision" if settings.precision in FLOAT_TYPES else "activations"
    if settings.float_type in form.incomplete:
        return (
            f"{form.name} has not all kernels for {settings.float_type}, so the folder cannot run there: choose {option} "
            f"{form.activations[0]}, or the provider that it is for"
        )
    names = sorted({node.op_type for node in nodes} & form.half_only) if settings.float_type == "fp32" else []
    if not names:
        return None
    halves = " or ".join(name for name in form.activations if name != "fp32")
    return (
        f"{form.name} has no kernel for {' and '.join(names)} in fp32, so the CPU will run that, which is slow: choose "
        f"{option} {halves}"
    )


def _reasons(mixer: object) -> Iterator[str]:
    match mixer:
        case (
            GatedDeltaSpec()
            | LightningAttentionSpec()
            | Mamba2Spec()
            | MambaSpec()
            | RgLruSpec()
            | TimeMixSpec()
        ):
            yield "linear attention"
        case ShortConvolutionSpec():
            yield "convolutions with a state"
        case AttentionSpec():
            features = {
                "a softcap on scores": mixer.softcap is not None,
                WINDOWS: mixer.window is not None,
                CHUNKS: mixer.chunk is not None,
                "attention sinks": mixer.sinks,
                "linear biases (ALiBi)": mixer.alibi is not None,
                "layers that read another layer's cache": mixer.reads_layer is not None,
            }
            yield from (name for name, is_there in features.items() if is_there)
