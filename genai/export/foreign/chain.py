"""The choice between the exporters: the one that was asked for, else each in its turn until one takes the model."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from genai.errors import ExportError, OptionError, UnsupportedModelError, did_you_mean
from genai.export.build.precision import Precision
from genai.export.foreign.foreign_export import (
    TITLES,
    ForeignGraph,
    export_with_optimum,
    export_with_transformers,
)
from genai.export.foreign.optimum_environment import OptimumEnvironment
from genai.export.foreign.transformers_tools import why_no_transformers
from genai.export.write.draft import Draft, check_context
from genai.export.write.folder_files import token_settings
from genai.folder import DecoderConfig

__all__ = ["VIAS", "ForeignOptions", "check_via", "draft_with_others", "why_no_exporter"]

_LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")

VIAS = ("auto", "native", "transformers", "optimum")
"""What `via` may be: an exporter, or "auto" for the first in this order that takes the model."""


@dataclass(frozen=True, slots=True)
class ForeignOptions:
    """How the other exporters may be run.

    Args:
        optimum: Where Optimum is or would be installed.
        confirm: Asked before anything is installed; without it nothing is.
        note: Told which exporter is tried and why, and what takes long.
    """

    optimum: OptimumEnvironment = dataclasses.field(default_factory=OptimumEnvironment)
    confirm: Callable[[str], bool] | None = None
    note: Callable[[str], None] | None = None

    def tell(self, line: str) -> None:
        """Tell the caller, if it wants to know."""
        if self.note is not None:
            self.note(line)

    def why_not(self, exporter: str, config: Mapping[str, Any]) -> str | None:
        """Say why an exporter cannot be tried on a model and what to do; `None` if it can, or may be after a yes."""
        if exporter == "transformers":
            return why_no_transformers(config)
        if (reason := self.optimum.why_not(str(config.get("model_type")))) is not None:
            return reason
        if self.optimum.interpreter is None and self.confirm is not None:
            return None
        return self.optimum.why_missing()


def check_via(via: str) -> None:
    """See that there is such an exporter.

    Raises:
        OptionError: There is none.
    """
    if via not in VIAS:
        raise OptionError(f'via must be one of {", ".join(VIAS)}, not "{via}".{did_you_mean(via, VIAS)}')


def why_no_exporter(config: Mapping[str, Any], options: ForeignOptions, *, via: str) -> str | None:
    """Say why none of the other exporters that `via` allows can be tried on a model; `None` if one can.

    Raises:
        UnsupportedModelError: The model is no decoder.
    """
    _check_is_decoder(config)
    reasons: dict[str, str] = {}
    for name in TITLES:
        if via in ("auto", name):
            reason = options.why_not(name, config)
            if reason is None:
                return None
            reasons[name] = reason
    return _told(reasons)


@contextlib.contextmanager
def draft_with_others(
    checkpoint: Path,
    config: Mapping[str, Any],
    *,
    via: str,
    why_not_native: str | None,
    precision: Precision,
    beside: Path,
    max_context: int | None,
    options: ForeignOptions,
) -> Iterator[Draft]:
    """Yield the draft of the first of the other exporters that takes a checkpoint.

    Args:
        checkpoint: The checkpoint's folder.
        config: The content of its config.json.
        via: "transformers" or "optimum", or "auto" for one after the other.
        why_not_native: Why the native exporter does not take it, if it was asked.
        precision: Types of activations and weights.
        beside: The export's target; temporary files lie next to it.
        max_context: Longest sequence the folder is made for; the model's own limit if not given.
        options: How the exporters may be run.

    Raises:
        UnsupportedModelError: None of them takes it; the message has the reason of each.
        ExportError: The exporter that was asked for is not installed, or one died.
        OptionError: The context is longer than the model's.
    """
    _check_is_decoder(config)
    reasons = {} if why_not_native is None else {"native": why_not_native}
    for name, run in _runs(checkpoint, config, precision, beside, options).items():
        if via not in ("auto", name):
            continue
        if via == "auto" and (lack := options.why_not(name, config)) is not None:
            reasons[name] = lack
            continue
        reason = _told(reasons)
        options.tell(f"Exporting with {TITLES[name]}{f' ({reason})' if reason else ', as asked'}")
        with contextlib.ExitStack() as stack:
            try:
                made = stack.enter_context(run())
            except UnsupportedModelError as error:
                if via != "auto":
                    raise
                reasons[name] = str(error)
                continue
            except ExportError as error:
                if via != "auto" or name != "optimum" or options.optimum.why_missing() is None:
                    raise
                reasons[name] = str(error)  # the answer was no
                continue
            decoder = dataclasses.replace(
                _limit_context(made.decoder, max_context), **_tokens(checkpoint, config, made.decoder)
            )
            yield Draft(
                graph=made.graph,
                decoder=decoder,
                opset=made.graph.opsets,
                exporter=name,
                notes={"reason": reason or "asked for", **made.notes},
                versions=made.versions,
            )
            return
    raise UnsupportedModelError(f"no exporter takes it: {_told(reasons)}")


def _runs(
    checkpoint: Path, config: Mapping[str, Any], precision: Precision, beside: Path, options: ForeignOptions
) -> Mapping[str, Callable[[], AbstractContextManager[ForeignGraph]]]:
    """Return how to run each exporter, in the order in which they are tried."""
    return {
        "transformers": partial(
            export_with_transformers, checkpoint, config, precision=precision, beside=beside
        ),
        "optimum": partial(
            export_with_optimum,
            checkpoint,
            config,
            precision=precision,
            beside=beside,
            environment=options.optimum,
            confirm=options.confirm,
            note=options.note,
        ),
    }


def _check_is_decoder(config: Mapping[str, Any]) -> None:
    if config.get("is_encoder_decoder"):
        raise UnsupportedModelError(
            "it is an encoder with a decoder; genai runs models that are a decoder alone"
        )
    architecture = str(next(iter(config.get("architectures") or ()), ""))
    if architecture and not architecture.endswith(_LANGUAGE_MODELS):
        raise UnsupportedModelError(
            f'the architecture "{architecture}" is no language model; genai runs those that end in '
            f"{', '.join(_LANGUAGE_MODELS)}"
        )


def _told(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in reasons.items())


def _tokens(checkpoint: Path, config: Mapping[str, Any], decoder: DecoderConfig) -> dict[str, Any]:
    """Return the fields that generation_config.json and config.json tell; unset ids stay the family's defaults."""
    found = token_settings(checkpoint, config)
    search = {**found.pop("search"), **decoder.search}
    return {**{name: value for name, value in found.items() if value not in (None, ())}, "search": search}


def _limit_context(decoder: DecoderConfig, max_context: int | None) -> DecoderConfig:
    """Return the decoder for sequences of at most this length."""
    if max_context is None:
        return decoder
    check_context(max_context, decoder.context_length)
    return dataclasses.replace(decoder, context_length=max_context)
