"""An export by transformers' exporter, up to a draft that can be written: run it, bring its graph into shape, describe it."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from genai.errors import ExportError, ModelFolderError, UnsupportedModelError
from genai.export.build.precision import Precision
from genai.export.foreign.canonical import ForeignCache, make_canonical
from genai.export.foreign.exporter_process import EXPORTER, run_exporter
from genai.export.foreign.finished_graph import finish_graph
from genai.export.foreign.passes import PassReport, apply_passes
from genai.export.foreign.transformers_tools import why_no_transformers
from genai.export.write.draft import Draft, check_context
from genai.export.write.folder_files import token_settings
from genai.export.write.graph_writer import MODEL_FILE
from genai.folder import DecoderConfig
from genai.folder.graph_files import GraphFile
from genai.folder.hf_config import decoder_from_hf_config
from genai.graph.names import parse_past
from genai.graph.operators import GROUP_QUERY_ATTENTION

__all__ = ["check_foreign", "draft_foreign"]

_LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_MAX_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""Keys of config.json for the longest sequence, the first that counts first."""

_DTYPES = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
}


def check_foreign(
    config: Mapping[str, Any], *, why_not_native: str | None, max_context: int | None = None
) -> None:
    """See that transformers' exporter can be tried on a model, as far as its config.json tells.

    Args:
        config: The content of config.json.
        why_not_native: Why the native exporter does not take it; `None` if transformers' was asked for.
        max_context: Longest sequence the folder is made for; the model's own limit if not given.

    Raises:
        UnsupportedModelError: The model is no decoder, or neither exporter takes it.
        ExportError: The exporter that was asked for cannot run.
        OptionError: The context is longer than config.json allows; where that names no limit, it turns out later.
    """
    _check_is_decoder(config)
    longest = _longest_in(config)
    if max_context is not None and longest is not None:
        check_context(max_context, longest)
    if (lack := why_no_transformers(config)) is None:
        return
    if why_not_native is None:
        raise ExportError(f"{EXPORTER} cannot run: {lack}")
    raise UnsupportedModelError(f"{_first_sentence(why_not_native)}; {EXPORTER} cannot run: {lack}")


@contextlib.contextmanager
def draft_foreign(
    checkpoint: Path,
    config: Mapping[str, Any],
    *,
    why_not_native: str | None,
    precision: Precision,
    beside: Path,
    max_context: int | None,
    note: Callable[[str], None] | None,
) -> Iterator[Draft]:
    """Yield the draft that transformers' exporter makes of a checkpoint; its weights lie in files that go afterwards.

    Args:
        checkpoint: The checkpoint's folder, with a model that `check_foreign` lets pass.
        config: The content of its config.json.
        why_not_native: Why the native exporter does not take it; `None` if transformers' was asked for.
        precision: Types of activations and weights.
        beside: The export's target; temporary files lie next to it.
        max_context: Longest sequence the folder is made for; the model's own limit if not given.
        note: Told that this exporter is used, and why.

    Raises:
        UnsupportedModelError: The exporter cannot make a graph of this model that generation can use.
        ExportError: The exporter died.
        OptionError: The context is longer than the model's.
    """
    reason = None if why_not_native is None else _first_sentence(why_not_native)
    if note is not None:
        note(f"Exporting with {EXPORTER}{', as asked' if reason is None else f': {reason}'}")
    with _scratch(beside) as scratch:
        try:
            draft = _export(checkpoint, precision, scratch)
        except UnsupportedModelError as error:
            if reason is None:
                raise
            raise UnsupportedModelError(f"{reason}; {error}") from error
        decoder = dataclasses.replace(
            _limit_context(draft.decoder, max_context), **_tokens(checkpoint, config, draft.decoder)
        )
        yield dataclasses.replace(
            draft, decoder=decoder, notes={"reason": reason or "asked for", **draft.notes}
        )


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


def _longest_in(config: Mapping[str, Any]) -> int | None:
    """Return the longest sequence that config.json names for the decoder; `None` if it names none."""
    text = config.get("text_config")
    text = {**config, **text} if isinstance(text, Mapping) else config
    lengths = [text.get(key) for key in _MAX_LENGTHS if text.get(key) is not None]
    return lengths[0] if lengths and type(lengths[0]) is int and lengths[0] > 0 else None


def _first_sentence(reason: str) -> str:
    return reason.split(". ")[0].rstrip(".")


def _export(checkpoint: Path, precision: Precision, scratch: Path) -> Draft:
    """Return the draft as the graph and the exporter tell of it, for sequences as long as the model's own limit."""
    output = scratch / "graph"
    output.mkdir()
    job = {
        "checkpoint": str(checkpoint.resolve()),
        "output": str(output),
        "dtype": _DTYPES[precision.float_type],
    }
    facts = run_exporter(job, folder=scratch)
    model = ir.load(output / "model.onnx")
    cache = make_canonical(model)
    report = apply_passes(model)
    decoder = _describe(facts, cache, checkpoint, shares_cache=_shares_cache(model.graph))
    graph = finish_graph(model, precision)
    return Draft(
        graph=graph,
        quantization=precision.limited_to(graph.modules).to_json(),
        decoder=decoder,
        opset=graph.opsets,
        exporter="transformers",
        notes=_notes(facts, report),
        versions=facts["versions"],
    )


def _describe(
    facts: Mapping[str, Any], cache: ForeignCache, checkpoint: Path, *, shares_cache: bool
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
