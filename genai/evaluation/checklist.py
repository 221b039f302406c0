"""The checks of one folder while they are made: in which order, and which of them a failed one makes pointless."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from genai._version import __version__
from genai.config import RunOptions
from genai.errors import CheckpointError, GenaiError, ModelFolderError, ProviderError
from genai.evaluation.checksums import check_checksums
from genai.evaluation.graphs import FolderGraphs, read_graphs
from genai.evaluation.prompts import make_prompts
from genai.evaluation.report import Check, Report, Status, failed, passed, skipped
from genai.evaluation.structure import (
    check_graph,
    check_interface,
    check_opset,
    check_token_ids,
    check_tokenizer,
    check_weights,
    read_tokenizer,
)
from genai.evaluation.tolerance import ROUNDED_SELF_TOLERANCE, SELF_TOLERANCES, TOLERANCES, Tolerance
from genai.folder import ModelFolder
from genai.hub import LocalCheckpoint, Progress

if TYPE_CHECKING:
    from genai.evaluation.continuation import Continuation
    from genai.generator import Generator

__all__ = ["Checklist", "provider_that_runs"]

MAX_PROMPT_TOKENS = 64

# Parts of genai that need ONNX Runtime, torch or transformers are imported where they are used: whatever else there is
# to check is checked without them.


@dataclass(slots=True)
class Checklist:
    """What was found of a folder so far, and what later checks need of it.

    Args:
        path: The folder.
        progress: Told of every stage.
        options: What to run it on.
        variant: Which of several ONNX files to check; None is the one that suits the provider.
        precision: What the folder is judged as; None until its graphs were read.
    """

    path: Path
    progress: Progress | None = None
    options: RunOptions = field(default_factory=RunOptions)
    variant: str | None = None
    precision: str | None = field(default=None, init=False)
    _folder: ModelFolder | None = field(default=None, init=False)
    _graphs: FolderGraphs | None = field(default=None, init=False)
    _checks: list[Check] = field(default_factory=list, init=False)
    _ran_on: str | None = field(default=None, init=False)
    _against: LocalCheckpoint | None = field(default=None, init=False)
    _versions: dict[str, str] = field(default_factory=lambda: {"genai": __version__}, init=False)

    @property
    def options_of_one_graph(self) -> RunOptions:
        """The options, unless they say otherwise with one graph for all: the checks compare what one arithmetic computes."""
        is_chosen = self.options.get("optimize_for", "auto") != "auto"
        return self.options if is_chosen else {**self.options, "optimize_for": "memory"}

    def report(self) -> Report:
        """Return what was found."""
        against = self._against
        return Report(
            path=self.path,
            checks=tuple(self._checks),
            precision=self.precision,
            provider=self._ran_on,
            against={"source": against.source, "revision": against.revision} if against else None,
            versions=dict(self._versions),
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def skip(self, *names: str, reason: str) -> None:
        """Note that checks are not made."""
        self._checks += [skipped(name, reason) for name in names]

    def check_structure(self) -> None:
        """Make the checks that run nothing."""
        self._report_stage("Checking files")
        try:
            self._folder = folder = ModelFolder.load(
                self.path, variant=self.variant, provider=provider_that_runs(self.options)
            )
        except ModelFolderError as error:
            self._checks.append(failed("config", str(error)))
            self._checks.append(check_checksums(self.path))
            names = ("graph", "opset", "weights", "interface", "tokenizer", "token_ids")
            self.skip(*names, reason="the configuration cannot be read")
            return
        decoder = folder.decoder
        shape = f"{decoder.num_layers} layers, vocabulary of {decoder.vocab_size}, context of {decoder.context_length}"
        self._checks += [passed("config", f"{decoder.model_type}, {shape}"), check_checksums(self.path)]
        try:
            self._graphs = graphs = read_graphs(folder)
        except ModelFolderError as error:
            self._checks.append(failed("graph", str(error)))
            self.skip("opset", "weights", "interface", reason="the graph cannot be read")
        else:
            self.precision = _precision(folder, graphs)
            self._checks += [check_graph(folder, graphs), check_opset(graphs), check_weights(graphs)]
            self._checks.append(check_interface(folder, graphs))
        self._checks += [check_tokenizer(folder), check_token_ids(folder)]

    def load(self) -> Generator | None:
        """Return the folder as a Generator; None if it cannot be had, which the check "load" explains."""
        # What ONNX's checker or the configuration finds fault with may run all the same; without these nothing can.
        needed = ("config", "opset", "weights") if self.precision is not None else ("config", "graph")
        broken = [name for name in needed if self._status(name) == "failed"]
        if broken:
            self.skip("load", reason=f"not tried, since {' and '.join(broken)} failed")
            return None
        self._report_stage("Loading the model")
        try:
            from genai.generator import Generator
            from genai.runtime.installed import runtime_version
        except ProviderError as error:
            self.skip("load", reason=str(error))
            return None
        self._versions["onnxruntime"] = runtime_version()
        assert self._folder is not None  # or "config" had failed
        try:
            generator = Generator(self._folder, **self.options_of_one_graph)
        except (ModelFolderError, ProviderError) as error:
            # A folder for a GPU is not broken because this machine has none.
            is_for_others = _computes_in_half(self._folder) and "NOT_IMPLEMENTED" in str(error)
            self._checks.append((skipped if is_for_others else failed)("load", str(error)))
            return None
        self._ran_on = generator.provider
        self._checks.append(passed("load", f"{self.precision} on {generator.provider}"))
        return generator

    def check_run(self, generator: Generator) -> None:
        """See that a prompt has finite logits."""
        from genai.evaluation.consistency import check_run

        self._report_stage("Running a prompt")
        self._checks.append(check_run(generator, self._prompts(generator)[0]))

    def check_consistency(self, generator: Generator) -> None:
        """See that neither the cache nor a batch changes what comes out."""
        from genai.evaluation.consistency import check_batched, check_cached

        if self._status("run") != "ok":
            self.skip("cached", "batched", reason="the folder does not run")
            return
        self._report_stage("Running prompts in a batch and alone")
        first, *others = self._prompts(generator)
        assert self._graphs is not None  # or nothing had run
        exact = None if self._graphs.rounds_activations else SELF_TOLERANCES.get(self._graphs.cache_precision)
        tolerance = exact or ROUNDED_SELF_TOLERANCE
        self._checks.append(check_cached(generator, first, tolerance))
        self._checks.append(check_batched(generator, others, tolerance))

    def check_exact(self) -> None:
        """See the same more closely where activations are rounded: with a copy of the folder that does not round them."""
        from genai.evaluation.consistency import check_exact
        from genai.evaluation.float_activations import float_activations
        from genai.generator import Generator

        if self._graphs is None or not self._graphs.rounds_activations or self._status("run") != "ok":
            return
        tolerance = SELF_TOLERANCES.get(self._graphs.cache_precision)
        if tolerance is None or self._graphs.multiplies_integers:
            self.skip(
                "exact", reason="the graph multiplies integers or keeps its cache in codes, which round too"
            )
            return
        self._report_stage("Running prompts with float activations")
        assert self._folder is not None  # or nothing had run
        try:
            with (
                float_activations(self._folder, self._graphs) as folder,
                Generator(folder, **self.options_of_one_graph) as generator,
            ):
                self._checks.append(check_exact(generator, self._prompts(generator), tolerance))
        except (OSError, GenaiError) as error:
            self.skip("exact", reason=f"no copy with float activations can be run here: {error}")

    def continue_prompts(self, generator: Generator, num_tokens: int) -> list[Continuation]:
        """Return the folder's greedy continuations for `check_parity`; none if it does not run, or has no room."""
        from genai.evaluation.continuation import continue_prompt

        if self._status("run") != "ok" or generator.context_length < 2:
            return []
        self._report_stage("Continuing prompts")
        return [continue_prompt(generator, prompt, num_tokens) for prompt in self._prompts(generator)]

    def check_parity(
        self,
        checkpoint: LocalCheckpoint,
        continuations: list[Continuation],
        tolerance: Tolerance,
        *,
        num_requested: int,
    ) -> None:
        """Compare with the checkpoint in transformers; `num_requested` tokens were asked of `continue_prompts`."""
        from genai.evaluation.parity import check_parity, check_same_tokens, measure_difference
        from genai.evaluation.reference import Reference

        self._against = checkpoint
        tokenizer = read_tokenizer(self._folder) if self._folder else None
        self._checks.append(check_same_tokens(tokenizer, checkpoint.path))
        if not continuations:
            # What was asked for and could not be done is a failure, even if the folder is not to blame.
            self._checks.append(failed("parity", "not compared, since the folder generates nothing here"))
            return
        self._report_stage("Loading the checkpoint in transformers")
        try:
            reference = Reference(checkpoint.path)
            self._versions |= reference.versions
            self._report_stage("Comparing with transformers")
            margin = 2 * tolerance.max_error if tolerance.max_error is not None else 0.0
            difference = measure_difference(
                continuations, reference.logits, num_requested=num_requested, tie_margin=margin
            )
        except CheckpointError as error:
            self._checks.append(failed("parity", str(error)))
            return
        self._checks += check_parity(difference, tolerance)

    def _prompts(self, generator: Generator) -> list[list[int]]:
        """Return prompts that leave half of a short context free."""
        assert self._folder is not None
        return make_prompts(
            read_tokenizer(self._folder),
            vocab_size=generator.vocab_size,
            max_tokens=max(1, min(MAX_PROMPT_TOKENS, generator.context_length // 2)),
        )

    def _status(self, name: str) -> Status:
        return next((check.status for check in self._checks if check.name == name), "skipped")

    def _report_stage(self, stage: str) -> None:
        if self.progress is not None:
            self.progress(stage, 0, 0)


def provider_that_runs(options: RunOptions) -> str:
    """Return the provider that will run a folder, by which a model's name or its folder chooses among ONNX files.

    Raises:
        OptionError: There is none of this name.
        ProviderError: It is not available.
    """
    try:
        from genai.runtime.providers import preferred_provider
    except ProviderError:  # ONNX Runtime is not installed; nothing will run
        return "cpu"
    return preferred_provider(options)


def _computes_in_half(folder: ModelFolder | None) -> bool:
    """Whether a folder was made for a device that has kernels of half precision, which a CPU may lack."""
    manifest = folder.manifest if folder is not None else None
    return manifest is not None and manifest.float_type in ("fp16", "bf16")


def _precision(folder: ModelFolder, graphs: FolderGraphs) -> str:
    """Return what the folder is judged as: what its manifest says, or what its graphs hold."""
    named = folder.manifest.precision if folder.manifest else ""
    if folder.manifest is not None and folder.manifest.settings.get("bits_budget") is not None:
        named = "int4-small"
    precision = named if named in TOLERANCES else graphs.precision
    return "int8" if graphs.has_coded_cache and precision in ("fp32", "fp16", "bf16") else precision
