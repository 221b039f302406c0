"""What rounding a group of matrices does to what a decoder says in the end, measured for each group alone.

Each group is rounded while all others are exact, and what comes out of its layer runs through the layers behind it, up
to the logits; their divergence from the exact decoder's is the group's loss. The layers are run one after the other,
each over all that the layers before it made, so that one is in memory at a time. It is measured at one scheme; at
others a loss is taken to be in proportion to the error of the group's products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genai.calibration.budget import Choices, matrix_bits
from genai.calibration.layer_run import embed_tokens, layer_outputs, opened_head, run_layer
from genai.calibration.parameters import Floats, Parameters
from genai.export.architecture import DecoderSpec
from genai.export.build.precision import Precision
from genai.quantize import BlockScheme
from genai.quantize.rtn import round_to_nearest
from genai.quantize.smoothing import output_error
from genai.sampling.processors import log_softmax

__all__ = ["Sensitivity"]

_NUM_SEQUENCES, _NUM_TOKENS = 4, 128
"""512 tokens are enough: groups differ by factors."""

_TABLES = ("embedding", "head")

_ROWS = 4096  # of a vocabulary that are rounded at once


@dataclass(frozen=True, slots=True)
class _Trial:
    """A decoder of which one group is rounded.

    Args:
        modules: The group.
        parameters: The decoder's, as its head reads them.
        errors: The squared error of the group's products, or of its weights, by scheme.
        hidden: What it computes, as far as it has been run: float32 [sequences, tokens, hidden_size].
    """

    modules: tuple[str, ...]
    parameters: Parameters
    errors: Mapping[BlockScheme, float]
    hidden: Floats


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """A measurement that can be made.

    Args:
        spec: The decoder; all of its layers can be run alone.
        parameters: Its parameters.
        precision: Says which matrices stay floats.
        schemes: What a matrix of a layer may be stored in; losses are measured at the first.
        tables: What the embedding and the head may be stored in; losses are measured at the first.
        beside: A folder in which files can lie for a while.
    """

    spec: DecoderSpec
    parameters: Parameters
    precision: Precision
    schemes: Sequence[BlockScheme]
    tables: Sequence[BlockScheme]
    beside: Path

    def measure(
        self, sequences: Sequence[NDArray[np.int64]], advance: Callable[[int], None]
    ) -> list[Choices]:
        """Return the losses of the embedding, the head, and all matrices that read the same, in nats per token.

        The hidden states of 512 tokens are held for each group.

        Args:
            sequences: Token ids to measure them on, int64 [tokens] each, all as long.
            advance: Told how many layers are done.
        """
        sequences = [ids[:_NUM_TOKENS] for ids in sequences[:_NUM_SEQUENCES]]
        exact = embed_tokens(self.parameters, self.spec, sequences, beside=self.beside)
        trials = [self._try_table(modules, sequences) for modules in self._table_groups()]
        for index in range(len(self.spec.layers)):
            run = run_layer(self.parameters, self.spec, index, exact, beside=self.beside)
            trials = self._passed(trials, index)
            trials += [
                self._try_layer(modules, read.gram, index, exact)
                for read in run.inputs
                if (modules := self._rounded(read.modules))
            ]
            exact = run.outputs
            advance(index + 1)
        divergences = self._divergences(trials, exact)
        return [self._choices(trial, loss) for trial, loss in zip(trials, divergences, strict=True)]

    def _rounded(self, modules: Sequence[str]) -> tuple[str, ...]:
        return tuple(module for module in modules if self.precision.scheme_of(module) is not None)

    def _table_groups(self) -> list[tuple[str, ...]]:
        return [_TABLES] if self.spec.tied else [(name,) for name in _TABLES]

    def _try_table(self, modules: tuple[str, ...], sequences: Sequence[NDArray[np.int64]]) -> _Trial:
        name = f"{modules[0]}.weight"
        table = self.parameters[name]
        errors = dict.fromkeys(self.tables, 0.0)
        rounded = np.empty(table.shape, np.float32)
        for start in range(0, len(table), _ROWS):
            rows = np.asarray(table[start : start + _ROWS], np.float32)
            for scheme in self.tables:
                found = round_to_nearest(rows, scheme)
                errors[scheme] += float(np.square(rows - found, dtype=np.float64).sum())
                if scheme == self.tables[0]:
                    rounded[start : start + _ROWS] = found
        parameters = {**self.parameters, name: rounded}
        hidden = embed_tokens(parameters, self.spec, sequences, beside=self.beside)
        return _Trial(modules, parameters if "head" in modules else self.parameters, errors, hidden)

    def _try_layer(self, modules: tuple[str, ...], gram: Floats, index: int, exact: Floats) -> _Trial:
        errors = dict.fromkeys(self.schemes, 0.0)
        parameters = dict(self.parameters)
        for module in modules:
            weights = np.asarray(self.parameters[f"{module}.weight"][:], np.float32)
            for scheme in self.schemes:
                rounded = round_to_nearest(weights, scheme)
                errors[scheme] += output_error(weights - rounded, gram)
                if scheme == self.schemes[0]:
                    parameters[f"{module}.weight"] = rounded
        hidden = layer_outputs(parameters, self.spec, index, exact, beside=self.beside)
        return _Trial(modules, self.parameters, errors, hidden)

    def _passed(self, trials: Sequence[_Trial], index: int) -> list[_Trial]:
        """Return the trials behind a layer that is exact in all of them."""
        hidden = np.concatenate([trial.hidden for trial in trials])
        passed = layer_outputs(self.parameters, self.spec, index, hidden, beside=self.beside)
        parts = passed.reshape(len(trials), -1, *passed.shape[1:])
        return [
            _Trial(trial.modules, trial.parameters, trial.errors, part)
            for trial, part in zip(trials, parts, strict=True)
        ]

    def _divergences(self, trials: Sequence[_Trial], exact: Floats) -> list[float]:
        """Return the mean divergence of each trial's distributions from the exact ones."""
        totals = [0.0] * len(trials)
        with ExitStack() as stack:

            def opened(parameters: Parameters) -> Callable[[Floats], Floats]:
                return stack.enter_context(opened_head(parameters, self.spec, beside=self.beside))

            head = opened(self.parameters)
            heads = [
                head if each.parameters is self.parameters else opened(each.parameters) for each in trials
            ]
            for place, hidden in enumerate(exact):
                expected = log_softmax(head(hidden))
                weights = np.exp(expected)
                for index, (trial, run) in enumerate(zip(trials, heads, strict=True)):
                    difference = expected - log_softmax(run(trial.hidden[place]))
                    totals[index] += float((weights * difference).sum(dtype=np.float64))
        return [total / (exact.shape[0] * exact.shape[1]) for total in totals]

    def _choices(self, trial: _Trial, loss: float) -> Choices:
        base = next(iter(trial.errors))
        unit = max(loss, 0.0) / max(trial.errors[base], np.finfo(np.float64).tiny)
        stored = trial.modules[:1] if trial.modules[0] == "embedding" else trial.modules
        shapes = [self.parameters[f"{module}.weight"].shape for module in stored]
        return Choices(
            trial.modules,
            tuple((shape[0], shape[1]) for shape in shapes),
            {scheme: unit * error for scheme, error in trial.errors.items()},
        )


def least_bits(
    parameters: Parameters,
    precision: Precision,
    schemes: Sequence[BlockScheme],
    tables: Sequence[BlockScheme],
) -> float:
    """Return the mean bits per weight of all matrices in their smallest schemes; the arguments are those of `Sensitivity`."""
    bits = num_weights = 0
    for name, rows in parameters.items():
        module, _, kind = name.rpartition(".")
        if kind != "weight" or len(rows.shape) != 2 or precision.scheme_of(module) is None:
            continue
        shape = rows.shape[0], rows.shape[1]
        possible = tables if module in _TABLES else schemes
        bits += min(matrix_bits(shape, scheme) for scheme in possible)
        num_weights += shape[0] * shape[1]
    return bits / num_weights
