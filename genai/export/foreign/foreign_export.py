"""An export by another exporter, up to a graph that can be written: run it, bring its graph into shape, describe it."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from genai.errors import ExportError, ModelFolderError, UnsupportedModelError
from genai.export.build.precision import Precision
from genai.export.foreign.canonical import CacheShape, make_canonical
from genai.export.foreign.finished_graph import FinishedGraph, finish_graph
from genai.export.foreign.older_config import link_older_checkpoint
from genai.export.foreign.optimum_environment import OptimumEnvironment
from genai.export.foreign.passes import PassReport, apply_passes
from genai.export.foreign.transformers_tools import why_no_transformers
from genai.export.foreign.worker import run_worker
from genai.export.write.graph_writer import MODEL_FILE
from genai.folder import DecoderConfig
from genai.folder.graph_files import GraphFile
from genai.folder.hf_config import decoder_from_hf_config
from genai.graph.names import parse_past
from genai.graph.operators import GROUP_QUERY_ATTENTION

__all__ = ["TITLES", "ForeignGraph", "export_with_optimum", "export_with_transformers"]

TITLES: Mapping[str, str] = {"transformers": "transformers' exporter", "optimum": "Optimum's exporter"}
"""What messages call each exporter."""

_PROGRAM = Path(__file__).with_name("exporter_program.py")
_DTYPES = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
}


@dataclass(frozen=True, slots=True)
class ForeignGraph:
    """A graph that another exporter made, ready to be written.

    Args:
        graph: The graph; it reads its weights from files that go when the block of its making ends.
        decoder: What the graph and the config say of the decoder; its token ids are config.json's.
        versions: Versions of the tools that made it, by name.
        notes: What the manifest says of the export: the largest deviation from PyTorch, what passes did.
    """

    graph: FinishedGraph
    decoder: DecoderConfig
    versions: Mapping[str, str]
    notes: Mapping[str, Any]


@contextlib.contextmanager
def export_with_transformers(
    checkpoint: Path, config: Mapping[str, Any], *, precision: Precision, beside: Path
) -> Iterator[ForeignGraph]:
    """Yield the graph that transformers' own exporter makes of a checkpoint.

    Args:
        checkpoint: The checkpoint's folder.
        config: The content of its config.json.
        precision: Types of activations and weights.
        beside: The export's target; temporary files lie next to it.

    Raises:
        UnsupportedModelError: The exporter cannot make a graph of this model that generation can use.
        ExportError: The exporter is not installed, or died.
    """
    if (lack := why_no_transformers(config)) is not None:
        raise ExportError(f"transformers' exporter cannot run: {lack}")
    with _scratch(beside) as scratch:
        # Its own folder must not be searched for modules.
        interpreter = (sys.executable, "-P")
        yield _export("transformers", interpreter, checkpoint, precision, scratch)


@contextlib.contextmanager
def export_with_optimum(
    checkpoint: Path,
    config: Mapping[str, Any],
    *,
    precision: Precision,
    beside: Path,
    environment: OptimumEnvironment,
    confirm: Callable[[str], bool] | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[ForeignGraph]:
    """Yield the graph that Optimum's exporter makes of a checkpoint, in an environment of its own.

    Args:
        checkpoint: The checkpoint's folder.
        config: The content of its config.json.
        precision: Types of activations and weights.
        beside: The export's target; temporary files lie next to it.
        environment: Where Optimum is or would be installed.
        confirm: Asked before anything is installed; without it nothing is.
        note: Told what takes long.

    Raises:
        UnsupportedModelError: The exporter cannot make a graph of this model that generation can use.
        ExportError: The exporter is not installed, or died.
    """
    with _scratch(beside) as scratch:
        older = scratch / "checkpoint"
        older.mkdir()
        link_older_checkpoint(checkpoint, config, older)
        interpreter = environment.prepare(confirm=confirm, note=note)
        yield _export("optimum", (str(interpreter), "-I"), older, precision, scratch)


def _export(
    exporter: str, interpreter: tuple[str, ...], checkpoint: Path, precision: Precision, scratch: Path
) -> ForeignGraph:
    output = scratch / "graph"
    output.mkdir()
    job = {
        "exporter": exporter,
        "checkpoint": str(checkpoint.resolve()),
        "output": str(output),
        "dtype": _DTYPES[precision.float_type],
    }
    facts = run_worker(interpreter, _PROGRAM, job, folder=scratch, exporter=TITLES[exporter])
    model = ir.load(output / "model.onnx")
    cache = make_canonical(model)
    report = apply_passes(model)
    decoder = _describe(facts, cache, checkpoint, shares_cache=_shares_cache(model.graph))
    return ForeignGraph(
        graph=finish_graph(model, precision.scheme),
        decoder=decoder,
        versions=facts["versions"],
        notes=_notes(facts, report),
    )


def _describe(
    facts: Mapping[str, Any], cache: CacheShape, checkpoint: Path, *, shares_cache: bool
) -> DecoderConfig:
    """Return what genai_config.json will say; the graph's own shapes go before the config's numbers."""
    graph = GraphFile(MODEL_FILE, "fp32")
    try:
        decoder = decoder_from_hf_config(facts["config"], graph=graph, folder=checkpoint)
    except ModelFolderError as error:
        raise UnsupportedModelError(str(error)) from error
    return dataclasses.replace(
        decoder,
        model_type="decoder",  # onnxruntime-genai's name for what it has no other for
        vocab_size=facts["vocab_size"],
        num_layers=cache.num_layers,
        num_kv_heads=cache.num_kv_heads,
        head_dim=cache.head_dim,
        search={} if shares_cache else {"past_present_share_buffer": False},
    )


def _shares_cache(graph: ir.Graph) -> bool:
    """Whether past and present may be one buffer: every past goes into an attention that writes it in place."""
    pasts = [value for value in graph.inputs if parse_past(value.name) is not None]
    return all(
        GROUP_QUERY_ATTENTION.is_type_of(node.domain, node.op_type)
        for value in pasts
        for node in value.consumers()
    )


def _notes(facts: Mapping[str, Any], report: PassReport) -> dict[str, Any]:
    return {
        "largest_deviation": facts["deviation"],
        "passes": dict(report.changes),
        "refused_passes": dict(report.refusals),
    }


@contextlib.contextmanager
def _scratch(beside: Path) -> Iterator[Path]:
    """Yield a folder next to a target, under the name that leftovers of killed exports have."""
    try:
        beside.absolute().parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{beside.name}.partial-", dir=beside.absolute().parent))
    except OSError as error:
        raise ExportError(f"cannot write beside {beside}: {error.strerror}") from error
    try:
        yield scratch
    finally:
        gc.collect()  # mapped weights must be let go of before their files can be removed on Windows
        shutil.rmtree(scratch, ignore_errors=True)
