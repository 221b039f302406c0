"""The calibration of a decoder's weights: its layers run one after the other over a text, and are quantized by what they read."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genai._version import __version__
from genai.calibration.budget import Choices, check_budget, choose_schemes
from genai.calibration.corpus import CalibrationText, cut_sequences, describe
from genai.calibration.layer import quantize_layer
from genai.calibration.layer_run import embed_tokens, run_layer
from genai.calibration.parameters import Arrays, Floats, Parameters, restore
from genai.calibration.sensitivity import Sensitivity, least_bits
from genai.calibration.work_folder import WorkFolder
from genai.config import EXPORT_VERSION
from genai.errors import OptionError, UnsupportedModelError
from genai.export import Calibrated, ExportPlan, open_weights, with_stored_head
from genai.export.architecture import DecoderSpec
from genai.export.build.balance import balanced
from genai.export.build.decoder_parts import num_separable
from genai.export.build.patterns import layer_pattern, schemes_by_pattern
from genai.export.checkpoint.formats import write_text_files
from genai.hub import fingerprint
from genai.quantize import BlockScheme
from genai.text import Tokenizer

__all__ = ["Calibration"]

MAX_BITS = 4
"""Modules of more are rounded to nearest, which costs next to nothing there."""

MIN_TABLE_BITS = 4
"""Rows of a vocabulary are looked up in no less."""

_KEY_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibration that can be run.

    Args:
        plan: The export that it is for; its settings name the method.
        spec: The decoder, for sequences as long as the calibration's.
        parameters: Its parameters, balanced as they are for an export without calibration.
        text: The text.
        sequences: The text's tokens, int64 [tokens] each, all as long.
    """

    plan: ExportPlan
    spec: DecoderSpec
    parameters: Parameters
    text: CalibrationText
    sequences: Sequence[NDArray[np.int64]]

    @classmethod
    def prepare(cls, plan: ExportPlan, text: CalibrationText) -> Calibration:
        """Open what is needed, and refuse what cannot be done.

        Raises:
            OptionError: The text is too short, or not needed, or the budget of bits is less than the smallest schemes take.
            UnsupportedModelError: There is a budget of bits, and matrices that cannot be measured.
            CheckpointError: The checkpoint is incomplete or damaged.
            TokenizerError: It has no tokenizer.
        """
        if not plan.settings.needs_text:
            raise OptionError(
                "these settings need no text: choose quantize awq or gptq, a bits_budget or kv_precision int8, or export "
                "with genai.export.carry_out"
            )
        plan = with_stored_head(plan)
        decoder = plan.native
        assert decoder is not None, "or it could not have been planned"
        tokenizer = _tokenizer_of(plan.checkpoint)
        sequences = cut_sequences(text, tokenizer, context_length=decoder.spec.max_positions)
        weights = open_weights(plan, decoder)
        settings = replace(plan.settings, calibration=text.digest)
        precision = plan.precision.mixed_for(weights)
        calibration = cls(
            replace(plan, settings=settings, precision=precision),
            decoder.spec.limited_to(len(sequences[0])),
            dict(balanced(weights, decoder.spec, precision)),
            text,
            sequences,
        )
        if settings.bits_budget is not None and (left_out := calibration.left_out()):
            raise UnsupportedModelError(
                f"{plan.architecture} has matrices of which it cannot be measured how many bits they need "
                f"({', '.join(left_out)}): leave bits_budget out"
            )
        if settings.bits_budget is not None:
            schemes, tables = calibration.candidates()
            least = least_bits(calibration.parameters, precision, schemes, tables)
            check_budget(settings.bits_budget, least)
        return calibration

    def key(self, what: str) -> str:
        """Return a digest of all that one part of the outcome depends on."""
        parts = [
            what,
            fingerprint(self.plan.checkpoint),
            self.plan.merged and fingerprint(self.plan.merged.path),
            replace(self.plan.settings, bits_budget=None).name,  # the precision has what came of it
            self.plan.precision.to_json(),
            EXPORT_VERSION,
            __version__,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_KEY_DIGITS]

    @property
    def num_layers(self) -> int:
        """How many layers can be calibrated: the first ones."""
        return num_separable(self.spec)

    def candidates(self) -> tuple[Sequence[BlockScheme], Sequence[BlockScheme]]:
        """Return the schemes that a budget chooses among: for matrices of layers, and for the embedding and the head."""
        recipe = self.plan.precision.recipe
        assert recipe is not None, "a budget is one of int4"
        schemes = recipe.candidates()
        return schemes, [scheme for scheme in schemes if scheme.bits >= MIN_TABLE_BITS]

    def within_budget(self, work: WorkFolder, advance: Callable[[int], None]) -> Calibration:
        """Return this calibration with the scheme that each matrix can have within the settings' bits_budget.

        Args:
            work: Where the losses are kept, and found if they were measured before, for whatever budget.
            advance: Told how many layers have been run.
        """
        budget = self.plan.settings.bits_budget
        assert budget is not None, "or there is nothing to choose within"
        schemes, tables = self.candidates()
        kept = work.read_losses()
        if kept is None:
            precision = replace(self.plan.precision, schemes={})
            sensitivity = Sensitivity(self.spec, self.parameters, precision, schemes, tables, work.path)
            groups = sensitivity.measure(self.sequences, advance)
            work.write_losses([group.to_json(schemes) for group in groups])
        else:
            groups = [Choices.from_json(values, schemes) for values in kept]
        chosen = choose_schemes(groups, budget)
        precision = replace(self.plan.precision, schemes=self._by_pattern(chosen))
        return replace(self, plan=replace(self.plan, precision=precision))

    def run(self, work: WorkFolder, advance: Callable[[int], None]) -> None:
        """Calibrate the layers that are not done yet; `advance` is told how many are."""

        def begin() -> Floats:
            return embed_tokens(self.parameters, self.spec, self.sequences, beside=work.path)

        def quantize(index: int, hidden: Floats) -> tuple[Arrays, Floats]:
            run = run_layer(self.parameters, self.spec, index, hidden, beside=work.path)
            method = self.plan.settings.quantize
            return quantize_layer(run.inputs, self.parameters, self._scheme_of, method=method), run.outputs

        work.finish_layers(self.num_layers, begin, quantize, advance)

    def outcome(self, work: WorkFolder) -> Calibrated:
        """Return what to export once all layers are done."""
        parameters, schemes = dict(self.parameters), dict[str, BlockScheme]()
        for index in range(self.num_layers):
            arrays = work.read_layer(index)
            parameters |= restore(arrays, self.parameters, self._scheme_of)
            for name in arrays:
                path, _, kind = name.rpartition(".")
                if kind in ("codes", "factors") and (scheme := self._scheme_of(path)) is not None:
                    schemes[path] = scheme
        precision = self.plan.precision.with_schemes(self._by_pattern(schemes))
        notes = {
            "method": self.plan.settings.quantize,
            **describe(self.text, self.sequences),
            "rounded_to_nearest": self.left_out(),
        }
        return Calibrated(precision, parameters, {**self._budget_notes(), "calibration": notes})

    def uncalibrated(self) -> Calibrated:
        """Return what to export where the text does not decide on the weights."""
        return Calibrated(self.plan.precision, self.parameters, self._budget_notes())

    def _budget_notes(self) -> dict[str, object]:
        budget = self.plan.settings.bits_budget
        if budget is None:
            return {}
        return {"bits_budget": {"bits_per_weight": budget, **describe(self.text, self.sequences)}}

    def left_out(self) -> list[str]:
        """Return what of the layers is rounded to nearest because nothing can be known of its inputs."""
        left_out = [f"layers.{index}" for index in range(self.num_layers, len(self.spec.layers))]
        experts = {layer_pattern(name.rpartition(".")[0]) for name in self.parameters if ".experts." in name}
        return left_out + sorted(experts)

    def _by_pattern(self, schemes: Mapping[str, BlockScheme]) -> dict[str, BlockScheme]:
        return schemes_by_pattern(schemes, (name.rpartition(".")[0] for name in self.parameters))

    def _scheme_of(self, path: str) -> BlockScheme | None:
        scheme = self.plan.precision.scheme_of(path)
        if scheme is None or scheme.bits > MAX_BITS:
            return None
        return replace(scheme, method=self.plan.settings.quantize)


def _tokenizer_of(checkpoint: Path) -> Tokenizer:
    """Return a checkpoint's tokenizer, which may lie in a file of weights."""
    with tempfile.TemporaryDirectory() as folder:
        write_text_files(checkpoint, Path(folder))
        return Tokenizer.from_folder(folder)
