"""A program of its own: export a checkpoint with transformers' exporter and check the graph.

`python exporter_program.py JOB`, where JOB is a JSON file with "checkpoint", "output" (an empty folder), "dtype"
(PyTorch's name) and "result" (a file to write). The graph is compared with PyTorch before it is handed over, since a
trace can silently hold for the traced lengths only.

It runs in a process of its own because PyTorch's exporter prints, warns and patches globals, and because its memory is
then returned. It imports nothing of genai. What becomes of the graph is decided by who started it.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.cache_utils import DynamicCache

# Lengths of the traced sample. They differ, and none is 0 or 1, which the tracer would take for constants.
BATCH, PAST, SEQUENCE = 3, 7, 5
# What the finished graph is compared at: (rows, past, new tokens); rows after the first begin with padding.
CHECKS = ((1, 0, 6), (1, 6, 1), (2, 5, 3), (3, 0, 4), (2, 8, 1), (1, 0, 1))
# Largest difference of a logit, relative to the largest logit. bfloat16 has no kernels on a CPU to compare with.
TOLERANCES = {"float32": 1e-3, "float16": 3e-2}
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
SIZES = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "max_position_embeddings")
TOKEN_INPUTS = ("input_ids", "attention_mask", "position_ids")
CACHE_ARGUMENTS = ("cache", "past_key_values")
"""What a decoder's forward pass calls its cache: since transformers 5.24, and before."""
TOOLS = ("torch", "transformers", "onnxscript")


COLOURS = re.compile(r"\x1b\[[0-9;]*m")
ADVICE = re.compile(r" *(This is step \d|Next steps:|For more information).*", re.DOTALL)


class UnsupportedError(Exception):
    """The exporter cannot make a graph that generation can use."""


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs of one sequence in each row, [rows, past + new], and PyTorch's logits of the new tokens."""

    inputs: Mapping[str, torch.Tensor]
    past: int
    logits: torch.Tensor


def main(job_file: str) -> None:
    """Do the job and write its result, or why it failed."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    result: dict[str, Any]
    try:
        result = export(Path(job["checkpoint"]), Path(job["output"]), job["dtype"])
    except (MemoryError, OSError):
        raise  # no fault of the model: the exit status tells
    except Exception as error:  # noqa: BLE001 (whatever goes wrong is the answer)
        traceback.print_exc()
        is_told = isinstance(error, UnsupportedError)
        result = {"error": str(error) if is_told else f"PyTorch failed on it ({one_line(error)})"}
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


def export(checkpoint: Path, output: Path, dtype: str) -> dict[str, Any]:
    """Write model.onnx and its weights, and return what is known of them."""
    model = load(checkpoint, dtype)
    cases = [run_reference(model, *lengths) for lengths in CHECKS]
    facts = {
        "vocab_size": cases[0].logits.shape[-1],
        "config": describe(model.config),
        "versions": {name: metadata.version(name) for name in TOOLS},
    }
    write_graph(model, output / "model.onnx")
    del model
    gc.collect()  # before the same weights are loaded again
    return facts | {"deviation": compare(output / "model.onnx", cases, dtype)}


def describe(config: Any) -> dict[str, Any]:
    """Return a config with the defaults that config.json leaves out, its sizes under the usual names as well."""
    values: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    text = config.get_text_config(decoder=True)
    found = {name: getattr(text, name, None) for name in SIZES}
    return {**values, **{name: size for name, size in found.items() if isinstance(size, int)}}


def load(checkpoint: Path, dtype: str) -> Any:
    """Load the checkpoint as a decoder that takes a mask and a cache.

    Raises:
        UnsupportedError: It is none.
    """
    auto: Any = transformers.AutoModelForCausalLM
    model, report = auto.from_pretrained(
        checkpoint,
        dtype=getattr(torch, dtype),
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    model.eval()
    if missing := sorted(report["missing_keys"]):
        raise UnsupportedError(f"the checkpoint lacks {len(missing)} of its weights, such as {missing[0]}")
    if unexpected := sorted(report["unexpected_keys"]):
        raise UnsupportedError(
            f"the checkpoint has {len(unexpected)} tensors that the model does not use, such as {unexpected[0]}; "
            "exporting without them would give a different model"
        )
    if model.config.is_encoder_decoder:
        raise UnsupportedError("it is an encoder-decoder, not a decoder")
    cache_argument(model)
    config = model.config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    parts = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    changing = {str(part.get("rope_type")) for part in parts}.intersection(LENGTH_DEPENDENT_ROPE)
    if changing:
        raise UnsupportedError(
            f"its rotary frequencies depend on the length ({', '.join(sorted(changing))}), which a trace fixes"
        )
    return model


def cache_argument(model: Any) -> str:
    """Return what the forward pass calls the cache that it takes and returns.

    Raises:
        UnsupportedError: It takes none, or no mask.
    """
    parameters = inspect.signature(model.forward).parameters
    known = [name for name in CACHE_ARGUMENTS if name in parameters]
    if known and "attention_mask" in parameters:
        return known[0]
    raise UnsupportedError(
        f"the forward pass of {type(model).__name__} in transformers {transformers.__version__} takes "
        f"{', '.join(parameters)}; expected attention_mask and {' or '.join(CACHE_ARGUMENTS)} among them"
    )


def sample_inputs(model: Any, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Return token ids, mask and, where the model takes them, positions; rows begin with 0, 1, 2, ... of padding.

    A mask of ones would be dropped by transformers' exporter.
    """
    generator = torch.Generator().manual_seed(batch + 10 * length)
    vocab_size = min(model.get_input_embeddings().weight.shape[0], 1000)
    token_ids = torch.randint(min(5, vocab_size - 1), vocab_size, (batch, length), generator=generator)
    mask = torch.ones(batch, length, dtype=torch.int64)
    for row in range(batch):
        mask[row, : min(row, length - 1)] = 0
    inputs = {"input_ids": token_ids, "attention_mask": mask}
    if "position_ids" in inspect.signature(model.forward).parameters:
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    return inputs


def run_reference(model: Any, batch: int, past: int, sequence: int) -> Case:
    """Return what PyTorch computes for whole sequences."""
    inputs = sample_inputs(model, batch, past + sequence)
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits
    return Case(inputs, past, logits[:, past:].float())


def write_graph(model: Any, path: Path) -> None:
    """Write the graph of one step of any length over any past.

    Raises:
        UnsupportedError: The cache holds more than keys and values.
    """
    import onnx_ir as ir
    from torch.export import Dim

    check_layers(model)
    argument = cache_argument(model)
    inputs = sample_inputs(model, BATCH, PAST + SEQUENCE)
    with torch.no_grad():
        # A cache without a config keeps every position in all layers; a window then stands in the mask.
        first = {name: tensor[:, :PAST] for name, tensor in inputs.items()}
        cache = model(**first, **{argument: DynamicCache()}, use_cache=True)[argument]
    inputs = {
        name: tensor if name == "attention_mask" else tensor[:, PAST:] for name, tensor in inputs.items()
    }
    # Only these axes vary; what is fixed stays a number.
    shapes: dict[str, Any] = {name: {0: Dim.AUTO, 1: Dim.AUTO} for name in inputs}
    shapes[argument] = [{0: Dim.AUTO, 2: Dim.AUTO} for _ in cache_tensors(cache)]
    exporters: Any = importlib.import_module("transformers.exporters")
    exported = exporters.OnnxExporter().export(
        model,
        {**inputs, argument: cache},
        config=exporters.OnnxConfig(dynamic=True, dynamic_shapes=shapes),
    )
    ir.save(exported.program, path, external_data=f"{path.name}.data")


def check_layers(model: Any) -> None:
    """See that the model keeps keys and values, and nothing else, per layer.

    Raises:
        UnsupportedError: It does not.
    """
    for layer in DynamicCache(config=model.config).layers:
        if type(layer).__name__ not in ("DynamicLayer", "DynamicSlidingWindowLayer"):
            raise UnsupportedError(
                f"it keeps a state other than keys and values ({type(layer).__name__}), which PyTorch computes by "
                "different code for a prompt and for a token; a traced graph holds one of them"
            )


def cache_tensors(cache: Any) -> list[torch.Tensor]:
    """Return keys and values of every layer.

    Raises:
        UnsupportedError: A layer has something else.
    """
    if type(cache) is not DynamicCache:
        raise UnsupportedError(f"it returned a cache of its own kind ({type(cache).__name__})")
    layers: list[Any] = cache.layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
    if not tensors or any(tensor is None or tensor.ndim != 4 for tensor in tensors):
        raise UnsupportedError("its cache is not one key and one value tensor of four axes per layer")
    return tensors


def compare(path: Path, cases: list[Case], dtype: str) -> float | None:
    """Return the largest difference of a logit relative to the largest logit, in ONNX Runtime against PyTorch.

    `None` where nothing can be compared: ONNX Runtime is not installed, or has no CPU kernels for the type.

    Raises:
        UnsupportedError: The graph computes something else than the model.
    """
    tolerance = TOLERANCES.get(dtype)
    try:
        import onnxruntime
    except ImportError:
        return None
    if tolerance is None:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UnsupportedError(f"ONNX Runtime refuses the graph: {one_line(error)}") from error
    return max(compare_case(session, case, tolerance) for case in cases)


def compare_case(session: Any, case: Case, tolerance: float) -> float:
    """Return how far the graph is from PyTorch when the new tokens follow the past ones in a second run.

    Raises:
        UnsupportedError: Farther than the tolerance, or it does not run.
    """
    batch, length = case.inputs["input_ids"].shape
    past = case.past
    lengths = f"{batch} rows of {length - past} tokens after {past}"
    cache = empty_cache(session, batch)
    try:
        if past:
            cache = run(session, case.inputs, cache, 0, past)[1:]
        logits = run(session, case.inputs, cache, past, length)[0]
    except Exception as error:
        raise UnsupportedError(f"the graph does not run for {lengths}: {one_line(error)}") from error
    is_token = case.inputs["attention_mask"][:, past:].bool()
    expected = case.logits[is_token]
    difference = (torch.from_numpy(logits).float()[is_token] - expected).abs().max().item()
    relative: float = difference / max(1.0, expected.abs().max().item())
    if not relative <= tolerance:
        raise UnsupportedError(
            f"the graph is wrong for {lengths}: its logits differ from PyTorch's by {difference:.3g}"
        )
    return relative


def empty_cache(session: Any, batch: int) -> list[Any]:
    """Return caches without positions, in the order of the session's inputs."""
    dtypes = {"tensor(float16)": torch.float16, "tensor(float)": torch.float32}
    caches = []
    for value in session.get_inputs():
        if value.name not in TOKEN_INPUTS:
            _, heads, _, width = value.shape
            caches.append(torch.zeros((batch, heads, 0, width), dtype=dtypes[value.type]).numpy())
    return caches


def run(session: Any, inputs: Mapping[str, torch.Tensor], cache: list[Any], start: int, stop: int) -> Any:
    """Run tokens [start, stop) over the cache of those before; return logits and the new cache, in order."""
    feeds, remaining = {}, iter(cache)
    for value in session.get_inputs():
        if value.name == "attention_mask":
            feeds[value.name] = inputs["attention_mask"][:, :stop].numpy()
        elif value.name not in TOKEN_INPUTS:
            feeds[value.name] = next(remaining)
        elif value.name == "position_ids":
            positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            feeds[value.name] = positions[:, start:stop].numpy()
        else:
            feeds[value.name] = inputs[value.name][:, start:stop].numpy()
    return session.run(None, feeds)


def one_line(error: BaseException) -> str:
    """Return the kind and the first line of the error at the bottom; PyTorch wraps it in colours and advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    told = ADVICE.sub("", COLOURS.sub("", str(error)))
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]


if __name__ == "__main__":
    main(sys.argv[1])
