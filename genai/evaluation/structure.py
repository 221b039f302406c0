"""The checks that run nothing: graph, opset, weights, interface, tokenizer and token ids, each against the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from genai.errors import ChatTemplateError, ProviderError, TokenizerError
from genai.evaluation.graphs import FolderGraphs, nodes_of, num_bytes_of, tensors_of
from genai.evaluation.position_tables import tables_too_short
from genai.evaluation.report import Check, failed, passed, skipped
from genai.folder import DecoderConfig, ModelFolder
from genai.folder.files import OTHER_TOKENIZER_FILES, TOKENIZER_FILE
from genai.graph.names import (
    CONV_STATE,
    INPUT_IDS,
    KEY,
    LOGITS,
    RECURRENT_STATE,
    VALUE,
    LayerState,
    parse_past,
    parse_present,
)
from genai.graph.opset import MICROSOFT, ONNX_DOMAINS
from genai.text import Tokenizer

__all__ = [
    "check_graph",
    "check_interface",
    "check_opset",
    "check_token_ids",
    "check_tokenizer",
    "check_weights",
    "read_tokenizer",
]

_INTEGERS = (TensorProto.INT32, TensorProto.INT64)
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
# ONNX Runtime's own, or its own in older opsets; its optimizer and builder write them in ONNX's domain.
_RUNTIME_OPERATORS = frozenset({"LayerNormalization", "SimplifiedLayerNormalization"})
_STATES = (f".{CONV_STATE}", f".{RECURRENT_STATE}")


def check_graph(folder: ModelFolder, graphs: FolderGraphs) -> Check:
    """See that ONNX's own checker takes every graph, with the types and shapes that it infers.

    Operators that ONNX does not define, such as com.microsoft's, are passed over, and so is what ONNX Runtime defines
    under ONNX's name. External weights are `check_weights`'s matter. Another tool's graph may declare shapes of inner
    values that are not those inferred, as onnxruntime-genai's builder does: no runtime relies on them.
    """
    notes = []
    for path, model in graphs.models.items():
        copy = _as_checker_takes_it(model)
        try:
            onnx.checker.check_model(copy)
            onnx.checker.check_model(copy, full_check=True)
        except (onnx.checker.ValidationError, ValueError) as error:
            return failed("graph", f"{path.name}: ONNX's checker says: {error}")
        except onnx.shape_inference.InferenceError as error:
            if folder.manifest is not None:
                return failed("graph", f"{path.name}: ONNX's shape inference says: {error}")
            notes.append(f"; {path.name} declares shapes that are not those inferred")
    num_nodes = sum(len(model.graph.node) for model in graphs.models.values())
    return passed("graph", f"{num_nodes} nodes in {_names(graphs)}{''.join(notes)}", num_nodes=num_nodes)


def check_opset(graphs: FolderGraphs) -> Check:
    """See that the installed ONNX Runtime takes the IR version and the operator sets."""
    told = []
    for path, model in graphs.models.items():
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        try:
            from genai.runtime.installed import explain_opset_refusal
        except ProviderError:
            return skipped("opset", "ONNX Runtime is not installed")
        if (reason := explain_opset_refusal(model.ir_version, opsets)) is not None:
            problem = f"{path.name}: ONNX Runtime does not take it: {reason}"
            return failed("opset", f"{problem}; upgrade ONNX Runtime, or export with an older opset")
        told.append(
            f"IR {model.ir_version}, " + ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in opsets.items())
        )
    return passed("opset", "; ".join(dict.fromkeys(told)))


def check_weights(graphs: FolderGraphs) -> Check:
    """See that every external tensor lies within a file that is there, with as many bytes as its shape needs."""
    problems: list[str] = []
    num_tensors, num_bytes = 0, 0
    for path, model in graphs.models.items():
        sizes: dict[str, int] = {}
        for tensor in tensors_of(model.graph):
            num_tensors += 1
            num_bytes += num_bytes_of(tensor)
            if tensor.data_location != TensorProto.EXTERNAL:
                continue
            entry = {pair.key: pair.value for pair in tensor.external_data}
            location = entry.get("location", "")
            if location not in sizes:
                place = PurePosixPath(location)
                is_inside = bool(location) and not place.is_absolute() and ".." not in place.parts
                file = path.parent / place
                sizes[location] = file.stat().st_size if is_inside and file.is_file() else -1
                if sizes[location] < 0:
                    problems.append(f'{path.name} names the file "{location}", which is not in the folder')
            if sizes[location] >= 0:
                problems += _misplacement(tensor, entry, location, sizes[location])
    figures = {"num_tensors": num_tensors, "num_bytes": num_bytes}
    if problems:
        return failed("weights", problems, **figures)
    return passed("weights", f"{num_tensors} tensors, {num_bytes / 1e6:.1f} MB", **figures)


def check_interface(folder: ModelFolder, graphs: FolderGraphs) -> Check:
    """See that inputs and outputs are a decoder's, and are what the configuration says."""
    problems = [
        *_token_problems(folder.decoder, graphs),
        *_cache_problems(folder, graphs),
        *tables_too_short(folder, graphs),
    ]
    layers = {state.layer for state in _cache(graphs.inputs, parse_past)}
    if problems:
        return failed("interface", problems, num_layers=len(layers))
    caches = f", a cache for {len(layers)} layers" if layers else ""  # other makers may name it otherwise
    num_layers = folder.decoder.num_layers
    if caches and len(layers) < num_layers and not folder.decoder.layer_types and not _has_states(graphs):
        caches += f"; the configuration says {num_layers}, of which some may share a cache"
    return passed("interface", f"{folder.decoder.vocab_size} logits{caches}", num_layers=len(layers))


def read_tokenizer(folder: ModelFolder) -> Tokenizer | None:
    """Return the folder's tokenizer, or None if it has none that can be read."""
    try:
        return Tokenizer.from_folder(folder.tokenizer_path)
    except TokenizerError:
        return None


def check_tokenizer(folder: ModelFolder) -> Check:
    """See that tokenizer and chat template can be read, and that the model has a row for every token of the vocabulary.

    Tokens that were added to the vocabulary may lie beyond the model's rows: some published text models share a
    tokenizer with a model that also sees images.
    """
    place = folder.tokenizer_path
    try:
        tokenizer = Tokenizer.from_folder(place)
        has_template = tokenizer.chat_template is not None
    except (TokenizerError, ChatTemplateError) as error:
        if _is_meant_without_tokenizer(folder):
            return skipped("tokenizer", "the folder has none: it takes token ids only")
        return failed("tokenizer", str(error))
    rows = folder.decoder.vocab_size
    last = max(tokenizer.backend.get_vocab(with_added_tokens=False).values(), default=-1)
    beyond = [i for i in tokenizer.backend.get_added_tokens_decoder() if i >= rows]
    figures = {"num_tokens": tokenizer.vocab_size, "num_beyond": len(beyond)}
    if last >= rows:
        problem = f"it has a token {last}, but the model only {rows} rows: it belongs to another model"
        return failed("tokenizer", problem, **figures)
    detail = f"{tokenizer.vocab_size} tokens" + (", chat template" if has_template else "")
    added = f"; {len(beyond)} added tokens beyond the model's {rows} rows, which it cannot take"
    return passed("tokenizer", detail + (added if beyond else ""), **figures)


def check_token_ids(folder: ModelFolder) -> Check:
    """See that the ids that begin, end and pad sequences are within the vocabulary."""
    decoder = folder.decoder
    named: list[tuple[str, int | None]] = [
        ("eos_token_id", i) for i in (*folder.eos_token_ids, *decoder.eos_token_ids)
    ]
    named += [("bos_token_id", decoder.bos_token_id), ("pad_token_id", decoder.pad_token_id)]
    wrong = dict.fromkeys(
        f"{name} {i} is not within the vocabulary of {decoder.vocab_size}"
        for name, i in named
        if i is not None and not 0 <= i < decoder.vocab_size
    )
    if wrong:
        return failed("token_ids", list(wrong))
    ends = ", ".join(map(str, folder.eos_token_ids))
    return passed("token_ids", f"ends at {ends}" if ends else "no token ends a sequence")


def _is_meant_without_tokenizer(folder: ModelFolder) -> bool:
    """Whether there is no vocabulary in any format, and none was exported; settings alone are no tokenizer."""
    exported = folder.manifest.files if folder.manifest is not None else {}
    relative = PurePosixPath(folder.decoder.tokenizer_dir)
    return not any(
        (folder.tokenizer_path / name).is_file() or (relative / name).as_posix() in exported
        for name in (TOKENIZER_FILE, *OTHER_TOKENIZER_FILES)
    )


def _as_checker_takes_it(model: ModelProto) -> ModelProto:
    """Return a copy without what ONNX's checker refuses although ONNX Runtime runs it.

    External weights become inputs: the checker wants them in files, and no symbolic links as in Hugging Face's cache.
    """
    checked = ModelProto()
    checked.CopyFrom(model)
    graph = checked.graph
    opset = next((entry.version for entry in checked.opset_import if entry.domain in ONNX_DOMAINS), 1)
    for node in nodes_of(graph):
        if node.op_type in _RUNTIME_OPERATORS and not onnx.defs.has(node.op_type, opset, node.domain):
            node.domain = MICROSOFT
    known = {value.name for value in graph.input}
    for index in reversed(range(len(graph.initializer))):
        tensor = graph.initializer[index]
        if tensor.data_location == TensorProto.EXTERNAL:
            if tensor.name not in known:
                graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
            del graph.initializer[index]
    return checked


def _misplacement(tensor: TensorProto, entry: Mapping[str, str], location: str, size: int) -> Iterator[str]:
    """Yield what is wrong with a tensor's place in its file."""
    needed = num_bytes_of(tensor)
    try:
        offset = int(entry.get("offset", 0))
        length = int(entry.get("length", 0)) or size - offset
    except ValueError:
        yield f"{tensor.name} has an offset or length in {location} that is no number"
        return
    if length != needed:
        yield f"{tensor.name} needs {needed} bytes, {location} has {length} for it"
    elif offset + length > size:
        yield f"{tensor.name} ends at byte {offset + length} of {location}, which has {size}: it was cut short"


def _token_problems(decoder: DecoderConfig, graphs: FolderGraphs) -> Iterator[str]:
    """Yield what is wrong with what goes in first and comes out last."""
    ids, logits = graphs.inputs.get(INPUT_IDS), graphs.outputs.get(LOGITS)
    if ids is None:
        yield f'there is no input "{decoder.names.input_ids}"'
    elif ids.type.tensor_type.elem_type not in _INTEGERS:
        yield f"{ids.name} must be int32 or int64, not {_type_name(ids)}"
    if logits is None:
        yield f'there is no output "{decoder.names.logits}"'
        return
    if logits.type.tensor_type.elem_type not in _FLOATS:
        yield f"{logits.name} must be a float type, not {_type_name(logits)}"
    if (width := (_shape(logits) or [None])[-1]) not in (None, decoder.vocab_size):
        yield f"{logits.name} has {width} columns, the configuration says vocab_size {decoder.vocab_size}"


def _cache_problems(folder: ModelFolder, graphs: FolderGraphs) -> Iterator[str]:
    """Yield what is wrong with the cache: what has no counterpart, and what the configuration says otherwise."""
    past, present = _cache(graphs.inputs, parse_past), _cache(graphs.outputs, parse_present)
    for state in sorted(past.keys() - present.keys()):
        yield f"{past[state].name} comes back in no output: {state.present} is missing"
    for state in sorted(present.keys() - past.keys()):
        yield f"{present[state].name} is fed to no input: {state.past} is missing"
    for state in sorted(past.keys() & present.keys()):
        yield from _pair_problems(state.part, past[state], present[state])
    decoder = folder.decoder
    layers = {state.layer for state in past}
    if layers and max(layers) >= decoder.num_layers:
        yield f"the graph has a cache for layer {max(layers)}, the configuration has {decoder.num_layers} layers"
    # Others' graphs may leave out the cache of layers of which ours always have one, or read another layer's.
    num_explained = len(layers) + _num_sharing(graphs)
    if folder.manifest is not None and not _has_states(graphs) and num_explained < decoder.num_layers:
        yield f"the graph has a cache for {len(layers)} layers, the configuration says {decoder.num_layers}"
    if folder.variant is not None:
        return  # a checkpoint's configuration, which need not name the cache's heads
    shapes = [s for state, v in past.items() if state.part in (KEY, VALUE) and len(s := _shape(v)) == 4]
    # Layers may differ, so the configuration's one number must be some layer's.
    for axis, name, expected in (
        (1, "num_kv_heads", decoder.num_kv_heads),
        (3, "head_dim", decoder.head_dim),
    ):
        found = {shape[axis] for shape in shapes} - {None}
        if found and expected not in found:
            yield f"the cache has {name} {', '.join(map(str, found))}, the configuration says {expected}"


def _pair_problems(part: str, past: ValueInfoProto, present: ValueInfoProto) -> Iterator[str]:
    """Yield how a cache that comes out differs from the one that went in; the positions' axis may."""
    if past.type.tensor_type.elem_type != present.type.tensor_type.elem_type:
        yield f"{past.name} is {_type_name(past)}, but {present.name} is {_type_name(present)}"
    before, after = _shape(past), _shape(present)
    if before and after and len(before) != len(after):
        yield f"{past.name} has {len(before)} axes, but {present.name} has {len(after)}"
        return
    if part in (KEY, VALUE) and len(before) == 4:
        before[2] = None
        for axis, (old, new) in enumerate(zip(before, after, strict=False)):
            if old is not None and new is not None and old != new:
                yield f"axis {axis} of {past.name} is {old}, but of {present.name} {new}"


def _cache(
    values: Mapping[str, ValueInfoProto], parse: Callable[[str], LayerState | None]
) -> dict[LayerState, ValueInfoProto]:
    """Return the cache among inputs or outputs."""
    return {state: value for name, value in values.items() if (state := parse(name)) is not None}


def _has_states(graphs: FolderGraphs) -> bool:
    return any(name.endswith(_STATES) for name in graphs.inputs)


def _num_sharing(graphs: FolderGraphs) -> int:
    """Count the operators that read keys that another layer's attention gives: those layers have no cache."""
    keys = {v.name for state, v in _cache(graphs.outputs, parse_present).items() if state.part == KEY}
    return sum(
        not keys.isdisjoint(node.input) for model in graphs.models.values() for node in model.graph.node
    )


def _shape(value: ValueInfoProto) -> list[int | None]:
    """Return a value's axes, None where the graph leaves one open."""
    axes = value.type.tensor_type.shape.dim
    return [axis.dim_value if axis.HasField("dim_value") else None for axis in axes]


def _type_name(value: ValueInfoProto) -> str:
    return str(TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()


def _names(graphs: FolderGraphs) -> str:
    return ", ".join(path.name for path in graphs.models)
