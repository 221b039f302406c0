"""What of a decoder a provider cannot compute, said before anything is built."""

from __future__ import annotations

from collections.abc import Iterator

from genai.config import ExportSettings
from genai.errors import OptionError, UnsupportedModelError
from genai.export.architecture import AttentionSpec, DecoderSpec, GatedDeltaSpec, ShortConvolutionSpec

__all__ = ["check_provider"]


def check_provider(spec: DecoderSpec, settings: ExportSettings) -> None:
    """See that the settings' provider can compute a decoder.

    Raises:
        UnsupportedModelError: It would compute something else, or has no kernel.
        OptionError: It cannot with these settings.
    """
    form = settings.form
    if spec.alibis and settings.quantizes_cache and not form.biases_codes:
        raise OptionError(
            f"the attention adds linear biases to its scores, which {form.name}'s kernel cannot over a cache of 8-bit "
            "codes: choose kv_precision auto, or another provider"
        )
    if not form.has_plain_attention:
        return
    if settings.quantizes_cache:
        raise OptionError(f"{form.name} has no attention over 8-bit codes: choose kv_precision auto")
    reasons = sorted({reason for layer in spec.layers for reason in _reasons(layer.mixer)})
    if reasons:
        raise UnsupportedModelError(
            f"{form.name} has no kernel for {' and '.join(reasons)}: choose another provider"
            + ("" if "windows" not in " ".join(reasons) else ", or a max_context within the window")
        )


def _reasons(mixer: object) -> Iterator[str]:
    match mixer:
        case GatedDeltaSpec():
            yield "linear attention"
        case ShortConvolutionSpec():
            yield "convolutions with a state"
        case AttentionSpec():
            features = {
                "a softcap on scores": mixer.softcap is not None,
                "sliding windows": mixer.window is not None,
                "attention sinks": mixer.sinks,
                "linear biases (ALiBi)": mixer.alibi is not None,
                "layers that read another layer's cache": mixer.reads_layer is not None,
            }
            yield from (name for name, is_there in features.items() if is_there)
