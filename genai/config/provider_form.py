"""What the kernels of an execution provider want of a decoder's graph, as data: the form that an export gives it.

Facts are of ONNX Runtime 1.31 and 1.32, read from its kernels' own tables and checks and, as docs/providers.md says of
each provider, tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from genai.errors import OptionError, did_you_mean

__all__ = ["FLOAT_TYPES", "PROVIDER_FORMS", "ProviderForm", "provider_form", "provider_name"]

FLOAT_TYPES = ("fp32", "fp16", "bf16")
"""What graphs compute in, and weights that are not quantized are stored in."""


@dataclass(frozen=True, slots=True)
class ProviderForm:
    """The form of a graph that a provider runs best.

    Args:
        name: The provider that it was made for; others may share it.
        activations: The float types that its kernels compute in; quantized weights come with the first unless another is
            asked for.
        has_zero_points: Whether blocks of 4 bits may have zero points. Without them they are coarser, but CUDA's fast
            kernel (fpA_intB) takes no others; of matrices without, it takes those of a multiple of 64 outputs, which all
            are but the heads of some vocabularies.
        has_expert_zero_points: The same for the matrices of experts.
        widens_blocks: Whether matrices of 8 bits have blocks of twice the size.
        max_narrow_block: Weights of 4 bits that one block may have.
        narrow_blocks: Sizes that blocks of 4 bits have where none is asked for, from the largest on: of a matrix's the first
            of which a row has whole ones, else the last.
        separates_bias: Whether a bias is added by a node of its own, because the fast kernel takes none.
        expert_multiple: What the widths of experts have to be multiples of.
        biases_codes: Whether attention over a cache of codes can add biases to its scores.
        without: Operators of ONNX Runtime's and ONNX's that it has no kernels for, and that a graph can do without.
        half_only: Operators whose kernels compute in fp16 and bf16 alone: in fp32 the CPU runs them.
        incomplete: Float types that it has not all kernels for: a folder in one of them cannot run on it.
        opset: The version of ONNX's operators.
        has_plain_attention: Whether its attention reads queries, keys and values apart, and scales scores: it rotates
            nothing, and has no window, sinks, softcap or bias.
        has_whole_blocks: Whether the inputs of a quantized product have to be whole blocks.
    """

    name: str
    activations: tuple[str, ...]
    has_zero_points: bool = True
    has_expert_zero_points: bool = True
    widens_blocks: bool = True
    max_narrow_block: int = 256
    narrow_blocks: tuple[int, ...] = (32,)
    separates_bias: bool = False
    expert_multiple: int = 1
    biases_codes: bool = True
    without: frozenset[str] = field(default=frozenset())
    half_only: frozenset[str] = field(default=frozenset())
    incomplete: frozenset[str] = field(default=frozenset())
    opset: int = 23
    has_plain_attention: bool = False
    has_whole_blocks: bool = False

    def default_activations(self, precision: str) -> str:
        """Return what a graph of a precision computes in, if nothing else is asked for: one of FLOAT_TYPES."""
        return precision if precision in FLOAT_TYPES else self.activations[0]


_CPU = ProviderForm(
    "cpu", ("fp32", "fp16", "bf16"), narrow_blocks=(128, 64, 32), incomplete=frozenset({"bf16"})
)
_CUDA = ProviderForm(
    "cuda",
    ("fp16", "bf16", "fp32"),
    has_zero_points=False,
    has_expert_zero_points=False,
    widens_blocks=False,
    max_narrow_block=128,
    separates_bias=True,
    expert_multiple=64,
    biases_codes=False,
    half_only=frozenset({"GroupQueryAttention", "QMoE"}),
)
_WEBGPU = ProviderForm(
    "webgpu",
    ("fp16", "fp32"),
    has_expert_zero_points=False,
    without=frozenset({"FusedMatMul", "LogSoftmax", "MoE"}),
)
_DIRECTML = ProviderForm(
    "directml",
    ("fp16", "fp32"),
    separates_bias=True,
    without=frozenset({"GatherBlockQuantized", "MoE", "QMoE", "RMSNormalization"}),
    opset=21,
    has_plain_attention=True,
    has_whole_blocks=True,
)

PROVIDER_FORMS = {
    "cpu": _CPU,
    "openvino": _CPU,
    "coreml": _CPU,
    "cuda": _CUDA,
    "tensorrt": _CUDA,
    "nv_tensorrt_rtx": _CUDA,
    "rocm": _CUDA,
    "migraphx": _CUDA,
    "webgpu": _WEBGPU,
    "directml": _DIRECTML,
}
"""The form of each provider that has one."""

_OTHER_NAMES = {"dml": "directml", "nvtensorrtrtx": "nv_tensorrt_rtx"}
"""Names of ONNX Runtime's that are more than genai's with other capitals and a suffix."""


def provider_name(given: str) -> str:
    """Return genai's name of a provider, which may be given in capitals, or as ONNX Runtime calls it.

    Raises:
        OptionError: It is no text.

    >>> provider_name("CUDA"), provider_name("DmlExecutionProvider"), provider_name("ContosoAiExecutionProvider")
    ('cuda', 'directml', 'contosoai')
    """
    if not isinstance(given, str):
        raise OptionError(f"provider must be the name of one, not {given!r}")
    name = given.strip().lower().removesuffix("executionprovider")
    return _OTHER_NAMES.get(name, name)


def provider_form(provider: str) -> ProviderForm:
    """Return the form of a provider, by any of its names.

    Raises:
        OptionError: No provider of this name has one.

    >>> provider_form("tensorrt").name, provider_form("CUDAExecutionProvider").name
    ('cuda', 'cuda')
    """
    name = provider_name(provider)
    if name not in PROVIDER_FORMS:
        raise OptionError(
            f'provider must be one of {", ".join(PROVIDER_FORMS)}, not "{provider}".{did_you_mean(name, PROVIDER_FORMS)}'
        )
    return PROVIDER_FORMS[name]
