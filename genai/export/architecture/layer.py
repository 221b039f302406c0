"""A decoder layer: a mixer, a feed-forward block, and the norms around them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from genai.export.architecture.altup import LaurelSpec
from genai.export.architecture.attention import AttentionSpec
from genai.export.architecture.dense_and_experts import DenseAndExpertsSpec
from genai.export.architecture.feed_forward import MlpSpec
from genai.export.architecture.gated_delta import GatedDeltaSpec
from genai.export.architecture.latent_attention import LatentAttentionSpec
from genai.export.architecture.lightning_attention import LightningAttentionSpec
from genai.export.architecture.mamba import MambaSpec
from genai.export.architecture.mamba2 import Mamba2Spec
from genai.export.architecture.moe import MoeSpec
from genai.export.architecture.norm import NormSpec
from genai.export.architecture.parameters import Shapes, norm_shapes, scoped
from genai.export.architecture.rg_lru import RgLruSpec
from genai.export.architecture.rwkv import ChannelMixSpec, TimeMixSpec
from genai.export.architecture.shared_block import SharedBlockSpec
from genai.export.architecture.short_convolution import ShortConvolutionSpec
from genai.export.architecture.state import StateSpec

__all__ = ["BesideSpec", "FeedForward", "LayerSpec", "Mixer", "NormedStreamSpec"]

Mixer = (
    AttentionSpec
    | ChannelMixSpec
    | GatedDeltaSpec
    | LatentAttentionSpec
    | LightningAttentionSpec
    | Mamba2Spec
    | MambaSpec
    | RgLruSpec
    | ShortConvolutionSpec
    | TimeMixSpec
)
"""What lets tokens see earlier ones, of any kind."""

FeedForward = DenseAndExpertsSpec | MlpSpec | MoeSpec
"""What transforms tokens one by one, of any kind."""


@dataclass(frozen=True, slots=True)
class BesideSpec:
    """A state space that reads what a layer's mixer reads, and whose output is added to the mixer's (Falcon-H1).

    Args:
        mamba: The state space.
        output_scale: Factor on its output.
        mixer_input_scale: Factor on what the mixer reads.
        mixer_output_scale: Factor on the mixer's output.
    """

    mamba: Mamba2Spec
    output_scale: float = 1.0
    mixer_input_scale: float = 1.0
    mixer_output_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class NormedStreamSpec:
    """A residual stream that goes on from what each norm of a layer makes of it, instead of past the norms (MiniMax-01).

    Args:
        mixer_factors: On the stream and on the mixer's output, before they are added.
        mlp_factors: On the stream and on the feed-forward block's output, before they are added.
    """

    mixer_factors: tuple[float, float]
    mlp_factors: tuple[float, float]


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A decoder layer: where the norms are, and whether mixer and feed-forward run one after the other.

    It may have one of both alone.

    Args:
        mixer: What lets tokens see earlier ones, if anything.
        mlp: The feed-forward block, if any.
        input_norm: Before the mixer, if any.
        mlp_norm: Before the feed-forward block, if any; a parallel layer without one reads what the mixer reads.
        mixer_output_norm: On the mixer's output before it is added, if any.
        mlp_output_norm: On the feed-forward block's output before it is added, if any.
        parallel: Mixer and feed-forward block both read the layer's input, and their sum is added.
        residual_scale: Factor on what is added to the residual stream.
        normed_stream: How the residual stream goes on from the norms, with factors of its own, if it does.
        stream_norm: On the residual stream itself after the layer, if any.
        laurel: A learned residual beside the mixer, if any.
        beside: A state space beside the mixer, if any.
        shared: A block that other layers have too, whose output the mixer reads beside the stream, if any.
        has_scalar: Whether the residual stream is multiplied by a learned scalar after the layer.
        output_scale: Factor on the residual stream after the layer.
    """

    mixer: Mixer | None
    mlp: FeedForward | None
    input_norm: NormSpec | None
    mlp_norm: NormSpec | None = None
    mixer_output_norm: NormSpec | None = None
    mlp_output_norm: NormSpec | None = None
    parallel: bool = False
    residual_scale: float = 1.0
    normed_stream: NormedStreamSpec | None = None
    stream_norm: NormSpec | None = None
    laurel: LaurelSpec | None = None
    beside: BesideSpec | None = None
    shared: SharedBlockSpec | None = None
    has_scalar: bool = False
    output_scale: float = 1.0

    def __post_init__(self) -> None:
        assert self.mixer is not None or (self.mlp is not None and self.input_norm is None)
        assert not self.parallel or (self.mixer is not None and self.mlp is not None)
        assert self.normed_stream is None or not (self.parallel or self.residual_scale != 1.0)
        assert self.stream_norm is None or (self.mlp is not None and not self.parallel)

    def states(self) -> tuple[StateSpec, ...]:
        """Return what it keeps from token to token."""
        return tuple(state for mixer in self.mixers for state in mixer.states())

    @property
    def mixers(self) -> tuple[Mixer, ...]:
        """All that lets tokens see earlier ones."""
        return self._own_mixers if self.shared is None else (*self._own_mixers, self.shared.attention)

    @property
    def _own_mixers(self) -> tuple[Mixer, ...]:
        both = (self.mixer, None if self.beside is None else self.beside.mamba)
        return tuple(mixer for mixer in both if mixer is not None)

    @property
    def mixer_factors(self) -> tuple[float, float]:
        """The factors on the residual stream and on the mixer's output, before they are added."""
        return (1.0, self.residual_scale) if self.normed_stream is None else self.normed_stream.mixer_factors

    @property
    def mlp_factors(self) -> tuple[float, float]:
        """The factors on the residual stream and on the feed-forward block's output, before they are added."""
        return (1.0, self.residual_scale) if self.normed_stream is None else self.normed_stream.mlp_factors

    def limited_to(self, max_positions: int) -> LayerSpec:
        """Return the layer for sequences of at most this length, without what only longer ones need."""
        return replace(
            self,
            mixer=self.mixer and self.mixer.limited_to(max_positions),
            shared=self.shared and self.shared.limited_to(max_positions),
        )

    def parameters(self, hidden_size: int) -> Shapes:
        """Return the shapes of its parameters, by their names within the layer."""
        scalar: Shapes = {"scalar": (1,)} if self.has_scalar else {}
        return (
            norm_shapes("input_norm", self.input_norm, hidden_size)
            | {name: shape for each in self._own_mixers for name, shape in _scoped(each, hidden_size).items()}
            | norm_shapes("mixer_output_norm", self.mixer_output_norm, hidden_size)
            | norm_shapes("mlp_norm", self.mlp_norm, hidden_size)
            | ({} if self.mlp is None else _scoped(self.mlp, hidden_size))
            | norm_shapes("mlp_output_norm", self.mlp_output_norm, hidden_size)
            | norm_shapes("stream_norm", self.stream_norm, hidden_size)
            | (self.laurel.parameters(hidden_size) if self.laurel is not None else {})
            | (self.shared.layer_parameters(hidden_size) if self.shared is not None else {})
            | scalar
        )


def _scoped(part: Mixer | FeedForward, hidden_size: int) -> Shapes:
    return scoped(part.scope, part.parameters(hidden_size))
