"""Decoders of a few thousand weights in every shape that a cache can have, written as ONNX text.

Every layer is causal and depends on all tokens before it, so that a cache that is mixed up, padded where it should not
be, or one position off changes the logits. `reference` runs the untouched graph over the whole sequence at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser

from genai.config import GenerationConfig
from genai.folder import DecoderConfig, GraphNames, ModelFolder

DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
}
VOCAB, WIDTH, HEADS, HEAD_DIM, KERNEL, CONTEXT = 23, 32, 2, 16, 3, 96
SWITCH_LENGTH = 8


HEAD_LINES = {
    "plain": ["logits = MatMul(HIDDEN, head)"],
    "scaled": [
        "product = MatMul(HIDDEN, head)",
        "scaled = Div(product, three_float)",
        "logits = Tanh(scaled)",
    ],
    "opaque": ["odd = Softsign(HIDDEN)", "product = MatMul(odd, head)", "logits = Softsign(product)"],
    "half opaque": ["product = MatMul(HIDDEN, head)", "logits = Softsign(product)"],
    "last": [
        "last = Gather<axis = 1>(HIDDEN, minus_one)",
        "one_row = Unsqueeze(last, axis1)",
        "logits = MatMul(one_row, head)",
    ],
    "sliced last": ["last = Slice(HIDDEN, minus1, far, axis1)", "logits = MatMul(last, head)"],
    "opaque last": [
        "last = Gather<axis = 1>(HIDDEN, minus_one)",
        "one_row = Unsqueeze(last, axis1)",
        "product = MatMul(one_row, head)",
        "logits = Softsign(product)",
    ],
    "kept": [
        "start = Neg(num_logits_to_keep)",
        "chosen = Slice(HIDDEN, start, far, axis1)",
        "logits = MatMul(chosen, head)",
    ],
}
"""How the logits come from the last hidden state; `Softsign` is nothing that an adaptation sees through."""


@dataclass
class TinyGraph:
    """A decoder: inputs and outputs by name, as ONNX text has them, and lines of nodes."""

    inputs: dict[str, str] = field(
        default_factory=lambda: {"input_ids": "int64[batch_size, sequence_length]"}
    )
    outputs: dict[str, str] = field(
        default_factory=lambda: {"logits": f"float[batch_size, sequence_length, {VOCAB}]"}
    )
    lines: list[str] = field(default_factory=list)
    weights: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    num_layers: int = 0
    hidden: str = "hidden"
    derives_positions: bool = False
    head: str = "plain"

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(7)
        for name, values in (
            ("zero", 0),
            ("minus_one", -1),
            ("minus1", [-1]),
            ("far", [2**31]),
            ("one", 1),
            ("two", 2),
            ("axis0", [0]),
            ("axis1", [1]),
            ("axis2", [2]),
            ("to_heads", [0, 0, HEADS, HEAD_DIM]),
            ("to_hidden", [0, 0, WIDTH]),
        ):
            self.weights[name] = np.array(values, np.int64)
        self.weights["three_float"] = np.array(3, np.float32)
        self.weight("embedding", VOCAB, WIDTH)
        self.lines.append("hidden = Gather(embedding, ids)")

    def weight(self, name: str, *shape: int) -> None:
        if name not in self.weights:
            self.weights[name] = self._random.normal(size=shape, scale=0.4).astype(np.float32)

    def add(self, block: Callable[[TinyGraph, int], str]) -> TinyGraph:
        """Append a layer around a block that reads the hidden state and returns the name of what it adds to it."""
        i = self.num_layers
        added = block(self, i)
        self.lines.append(f"hidden{i} = Add({self.hidden}, {added})")
        self.lines.append(f"normed{i} = Tanh(hidden{i})")
        self.hidden, self.num_layers = f"normed{i}", i + 1
        return self

    def model(self) -> onnx.ModelProto:
        ids_type = self.inputs["input_ids"].split("[")[0]
        cast = "Identity(input_ids)" if ids_type == "int64" else "Cast<to = 7>(input_ids)"
        self.weight("positions", 2 * CONTEXT, WIDTH)
        places = "position_ids" if "position_ids" in self.inputs else "cache_position"
        positions = [f"placed = Gather(positions, {places})", "first = Add(hidden, placed)"]
        if self.derives_positions:
            past_length = [
                "past_shape = Shape(past_key_values.0.key)",
                "past_length = Gather(past_shape, two)",
            ]
            if "past_sequence_length" in self.inputs:
                past_length = ["past64 = Cast<to = 7>(past_sequence_length)", "past_length = Squeeze(past64)"]
            positions = [
                *past_length,
                "ids_shape = Shape(ids)",
                "new_length = Gather<axis = 0>(ids_shape, one)",
                "end_length = Add(past_length, new_length)",
                "cache_position = Range(past_length, end_length, one)",
                *positions,
            ]
        elif places not in self.inputs:
            positions = ["first = Identity(hidden)"]
        lines = [self.lines[0], *positions, *(line.replace("(hidden,", "(first,") for line in self.lines[1:])]
        self.weight("head", WIDTH, VOCAB)
        lines += [line.replace("HIDDEN", self.hidden) for line in HEAD_LINES[self.head]]
        inputs = ", ".join(f"{kind} {name}" for name, kind in self.inputs.items())
        outputs = ", ".join(f"{kind} {name}" for name, kind in self.outputs.items())
        text = (
            '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>\n'
            f"tiny ({inputs}) => ({outputs}) {{\n" + "\n".join([f"ids = {cast}", *lines]) + "\n}"
        )
        model = parser.parse_model(
            re.sub(r"\b(past|present)\w*(\.\w+)+", lambda m: m[0].replace(".", "_DOT_"), text)
        )
        for node in model.graph.node:
            node.input[:] = [name.replace("_DOT_", ".") for name in node.input]
            node.output[:] = [name.replace("_DOT_", ".") for name in node.output]
        for value in (*model.graph.input, *model.graph.output):
            value.name = value.name.replace("_DOT_", ".")
        used = {operand for node in model.graph.node for operand in node.input} | {
            operand
            for node in model.graph.node
            for attribute in node.attribute
            for inner in attribute.g.node
            for operand in inner.input
        }
        model.graph.initializer.extend(
            numpy_helper.from_array(values, name) for name, values in self.weights.items() if name in used
        )
        return model

    def folder(self, path: Path, **config: Any) -> ModelFolder:
        """Write the graph and return the folder that the runtime is given."""
        return write_folder(path, {"model.onnx": self.model()}, **config)


def write_folder(path: Path, models: dict[str, onnx.ModelProto], **config: Any) -> ModelFolder:
    for name, model in models.items():
        onnx.save(model, path / name)
    fields: dict[str, Any] = {
        "model_type": "tiny",
        "filename": next(iter(models)),
        "vocab_size": VOCAB,
        "context_length": CONTEXT,
        "hidden_size": WIDTH,
        "num_layers": 2,
        "num_heads": HEADS,
        "num_kv_heads": HEADS,
        "head_dim": HEAD_DIM,
        "names": GraphNames(),
    }
    return ModelFolder(path, DecoderConfig(**{**fields, **config}), GenerationConfig(), None)


def project(graph: TinyGraph, i: int, *names: str) -> None:
    """Add the projections of the hidden state, [batch, sequence, width]."""
    for name in names:
        graph.weight(f"w_{name}{i}", WIDTH, WIDTH)
        graph.lines.append(f"{name}{i} = MatMul({graph.hidden}, w_{name}{i})")


def shared_attention(graph: TinyGraph, i: int) -> str:
    """GroupQueryAttention over a shared buffer, its lengths summed up from a mask."""
    graph.inputs.setdefault("attention_mask", "int64[batch_size, total_sequence_length]")
    if "lengths" not in " ".join(graph.lines):
        graph.lines += [
            "mask64 = Cast<to = 7>(attention_mask)",
            "sums = ReduceSum<keepdims = 0>(mask64, axis1)",
            "lengths64 = Sub(sums, one)",
            "lengths = Cast<to = 6>(lengths64)",
            "mask_shape = Shape(attention_mask)",
            "total64 = Gather<axis = 0>(mask_shape, one)",
            "total = Cast<to = 6>(total64)",
        ]
    project(graph, i, "q", "k", "v")
    _declare_keys_and_values(graph, i)
    graph.lines.append(
        f"o{i}, present.{i}.key, present.{i}.value = com.microsoft.GroupQueryAttention"
        f"<num_heads = {HEADS}, kv_num_heads = {HEADS}>"
        f"(q{i}, k{i}, v{i}, past_key_values.{i}.key, past_key_values.{i}.value, lengths, total)"
    )
    return f"o{i}"


def masked_attention(graph: TinyGraph, i: int) -> str:
    """The same, each layer summing up the lengths for itself, so that the graph has to be fed its mask."""
    shared_attention(graph, i)
    graph.lines[-1] = graph.lines[-1].replace("lengths, total)", f"lengths_{i}, total)")
    graph.lines[-1:-1] = [f"lengths_{i} = Cast<to = 6>(lengths64)"]
    return f"o{i}"


def eight_bit_attention(graph: TinyGraph, i: int) -> str:
    """The same, over a cache of 8-bit numbers."""
    shared_attention(graph, i)
    graph.weights["cache_scale"] = np.array([0.05], np.float32)
    for ports in (graph.inputs, graph.outputs):
        for name in ports:
            if f".{i}." in name:
                ports[name] = ports[name].replace("float", "int8")
    graph.lines[-1] = (
        graph.lines[-1]
        .replace(">(", ', k_quant_type = "PER_TENSOR", v_quant_type = "PER_TENSOR", kv_cache_bit_width = 8>(')
        .replace("total)", "total, , , , , , cache_scale, cache_scale)")
    )
    return f"o{i}"


def half_attention(graph: TinyGraph, i: int) -> str:
    """Attention that keeps its keys and values in half precision, and computes in single."""
    mixed = growing_attention(graph, i)
    for ports in (graph.inputs, graph.outputs):
        for name in ports:
            if f".{i}." in name:
                ports[name] = ports[name].replace("float", "float16")
    for letter, part in (("k", "key"), ("v", "value")):
        place = next(j for j, line in enumerate(graph.lines) if line.startswith(f"present.{i}.{part} "))
        graph.lines[place] = graph.lines[place].replace(f"{letter}h{i})", f"{letter}half{i})")
        graph.lines.insert(place, f"{letter}half{i} = Cast<to = 10>({letter}h{i})")
        graph.lines.insert(place + 2, f"{part}{i}_float = Cast<to = 1>(present.{i}.{part})")
        graph.lines[place + 3 :] = [
            line.replace(f"(present.{i}.{part})", f"({part}{i}_float)").replace(
                f", present.{i}.{part})", f", {part}{i}_float)"
            )
            for line in graph.lines[place + 3 :]
        ]
    return mixed


def growing_attention(graph: TinyGraph, i: int) -> str:
    """Attention in standard operators: the present is the past and the new positions, one behind the other."""
    _declare_keys_and_values(graph, i)
    _heads(graph, i)
    for part, letter in (("key", "k"), ("value", "v")):
        graph.lines.append(f"present.{i}.{part} = Concat<axis = 2>(past_key_values.{i}.{part}, {letter}h{i})")
    return _attend(graph, i, f"present.{i}.key", f"present.{i}.value")


def branching_attention(graph: TinyGraph, i: int) -> str:
    """Attention whose branch with a cache was traced with one token, so that it hides nothing of the new ones."""
    graph.inputs["use_cache_branch"] = "bool[1]"
    place = len(graph.lines)
    mixed = growing_attention(graph, i)
    graph.lines[place:] = [line.replace(f"And(causal{i},", f"And(seen{i},") for line in graph.lines[place:]]
    after = next(j for j, line in enumerate(graph.lines) if line.startswith(f"causal{i} "))
    graph.lines.insert(after + 1, f"seen{i} = Or(causal{i}, use_cache_branch)")
    return mixed


def rotary_attention(graph: TinyGraph, i: int) -> str:
    """GroupQueryAttention with two tables of positions, of which the mask's length chooses one."""
    first = "cosines" not in " ".join(graph.lines)
    mixed = shared_attention(graph, i)
    graph.lines[-1] = (
        graph.lines[-1].replace(">(", ", do_rotary = 1>(").replace("total)", "total, cosines, sines)")
    )
    if first:
        for name in ("cos_short", "sin_short", "cos_long", "sin_long"):
            graph.weight(name, CONTEXT, HEAD_DIM // 2)
        graph.weights["switch_length"] = np.array(SWITCH_LENGTH, np.int64)
        branches = ", ".join(
            f"{branch}_branch = {branch}_graph () => (float[n, m] c{kind}, float[n, m] s{kind}) "
            f"{{ c{kind} = Identity(cos_{kind}) s{kind} = Identity(sin_{kind}) }}"
            for branch, kind in (("then", "long"), ("else", "short"))
        )
        graph.lines[-1:-1] = [
            "is_long = Greater(total64, switch_length)",
            f"cosines, sines = If(is_long) <{branches}>",
        ]
    return mixed


def folded_attention(graph: TinyGraph, i: int) -> str:
    """Bloom's old cache: heads folded into the batch, keys with their positions last."""
    past, total = "past_sequence_length", "total_sequence_length"
    graph.inputs[f"past_key_values.{i}.key"] = f"float[rows, {HEAD_DIM}, {past}]"
    graph.inputs[f"past_key_values.{i}.value"] = f"float[rows, {past}, {HEAD_DIM}]"
    graph.outputs[f"present.{i}.key"] = f"float[rows, {HEAD_DIM}, {total}]"
    graph.outputs[f"present.{i}.value"] = f"float[rows, {total}, {HEAD_DIM}]"
    graph.weights |= {
        "fold_key": np.array([-1, HEAD_DIM, 0], np.int64),
        "unfold": np.array([-1, HEADS, 0, HEAD_DIM], np.int64),
        "fold": np.array([-1, 0, HEAD_DIM], np.int64),
        "rows4": np.array([0, HEADS, -1, HEAD_DIM], np.int64),
    }
    _heads(graph, i)
    graph.lines += [
        f"s{i} = Shape(kh{i})",
        f"seq{i} = Slice(s{i}, axis2, three, axis0)",
        f"new_rows{i} = Concat<axis = 0>(minus1, seq{i}, dim)",
        f"kf{i} = Reshape(kh{i}, new_rows{i})",
        f"kt{i} = Transpose<perm = [0, 2, 1]>(kf{i})",
        f"vf{i} = Reshape(vh{i}, new_rows{i})",
        f"present.{i}.key = Concat<axis = 2>(past_key_values.{i}.key, kt{i})",
        f"present.{i}.value = Concat<axis = 1>(past_key_values.{i}.value, vf{i})",
        f"kb{i} = Transpose<perm = [0, 2, 1]>(present.{i}.key)",
        f"all{i} = Shape(kb{i})",
        f"len{i} = Slice(all{i}, axis1, axis2, axis0)",
        f"four{i} = Concat<axis = 0>(minus1, heads, len{i}, dim)",
        f"k4{i} = Reshape(kb{i}, four{i})",
        f"v4{i} = Reshape(present.{i}.value, four{i})",
    ]
    graph.weights |= {
        "three": np.array([3], np.int64),
        "minus1": np.array([-1], np.int64),
        "heads": np.array([HEADS], np.int64),
        "dim": np.array([HEAD_DIM], np.int64),
    }
    return _attend(graph, i, f"k4{i}", f"v4{i}")


def fused_attention(graph: TinyGraph, i: int) -> str:
    """gpt_bigcode's old cache: one head's keys and values side by side in one tensor."""
    width = 2 * WIDTH
    graph.inputs[f"past_key_values.{i}"] = f"float[batch_size, past_sequence_length, {width}]"
    graph.outputs[f"present.{i}"] = f"float[batch_size, total_sequence_length, {width}]"
    project(graph, i, "q", "k", "v")
    graph.lines += [
        f"kv{i} = Concat<axis = 2>(k{i}, v{i})",
        f"present.{i} = Concat<axis = 1>(past_key_values.{i}, kv{i})",
        f"ka{i}, va{i} = Split<axis = 2, num_outputs = 2>(present.{i})",
        f"qr{i} = Reshape(q{i}, to_heads)",
        f"kr{i} = Reshape(ka{i}, to_heads)",
        f"vr{i} = Reshape(va{i}, to_heads)",
        f"qh{i} = Transpose<perm = [0, 2, 1, 3]>(qr{i})",
        f"k4{i} = Transpose<perm = [0, 2, 1, 3]>(kr{i})",
        f"v4{i} = Transpose<perm = [0, 2, 1, 3]>(vr{i})",
    ]
    return _attend(graph, i, f"k4{i}", f"v4{i}")


def stacked_attention(graph: TinyGraph, i: int) -> str:
    """GPT-2's old cache: keys and values stacked in front of the batch."""
    shape = f"{HEADS}, {{}}, {HEAD_DIM}"
    graph.inputs[f"past_{i}"] = f"float[2, batch_size, {shape.format('past_sequence_length')}]"
    graph.outputs[f"present_{i}"] = f"float[2, batch_size, {shape.format('total_sequence_length')}]"
    _heads(graph, i)
    graph.lines += [
        f"ku{i} = Unsqueeze(kh{i}, axis0)",
        f"vu{i} = Unsqueeze(vh{i}, axis0)",
        f"kv{i} = Concat<axis = 0>(ku{i}, vu{i})",
        f"present_{i} = Concat<axis = 3>(past_{i}, kv{i})",
        f"k4{i} = Gather<axis = 0>(present_{i}, zero)",
        f"v4{i} = Gather<axis = 0>(present_{i}, one)",
    ]
    return _attend(graph, i, f"k4{i}", f"v4{i}")


def convolution(graph: TinyGraph, i: int) -> str:
    """A causal convolution in standard operators, whose state is a window of inputs."""
    window = f"float[batch_size, {WIDTH}, {KERNEL - 1}]"
    graph.inputs[f"past_key_values.{i}.conv_state"] = window
    graph.outputs[f"present.{i}.conv_state"] = window
    project(graph, i, "c")
    graph.weight(f"kernel{i}", WIDTH, 1, KERNEL)
    graph.weights |= {"from_end": np.array([-(KERNEL - 1)], np.int64), "end": np.array([2**31], np.int64)}
    graph.lines += [
        f"ct{i} = Transpose<perm = [0, 2, 1]>(c{i})",
        f"window{i} = Concat<axis = 2>(past_key_values.{i}.conv_state, ct{i})",
        f"present.{i}.conv_state = Slice(window{i}, from_end, end, axis2)",
        f"conv{i} = Conv<group = {WIDTH}>(window{i}, kernel{i})",
        f"o{i} = Transpose<perm = [0, 2, 1]>(conv{i})",
    ]
    return f"o{i}"


def fused_convolution(graph: TinyGraph, i: int) -> str:
    """The same, in ONNX Runtime's own operator, named as transformers.js names it."""
    window = f"float[batch_size, {WIDTH}, {KERNEL - 1}]"
    graph.inputs[f"past_conv.{i}"] = window
    graph.outputs[f"present_conv.{i}"] = window
    project(graph, i, "c")
    graph.weight(f"kernel{i}", WIDTH, 1, KERNEL)
    graph.lines += [
        f"ct{i} = Transpose<perm = [0, 2, 1]>(c{i})",
        f"conv{i}, present_conv.{i} = com.microsoft.CausalConvWithState(ct{i}, kernel{i}, , past_conv.{i})",
        f"o{i} = Transpose<perm = [0, 2, 1]>(conv{i})",
    ]
    return f"o{i}"


def linear_attention(graph: TinyGraph, i: int) -> str:
    """A recurrence over a matrix per head."""
    state = f"float[batch_size, {HEADS}, {HEAD_DIM}, {HEAD_DIM}]"
    graph.inputs[f"past_key_values.{i}.recurrent_state"] = state
    graph.outputs[f"present.{i}.recurrent_state"] = state
    project(graph, i, "q", "k", "v", "g")
    graph.lines += [
        f"sig{i} = Sigmoid(g{i})",
        f"decay{i} = Log(sig{i})",
        f"o{i}, present.{i}.recurrent_state = com.microsoft.LinearAttention"
        f'<q_num_heads = {HEADS}, kv_num_heads = {HEADS}, update_rule = "gated">'
        f"(q{i}, k{i}, v{i}, past_key_values.{i}.recurrent_state, decay{i})",
    ]
    return f"o{i}"


class Reference:
    """The untouched graph, run over a whole sequence at once, without a past."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, ["CPUExecutionProvider"]
        )

    def __call__(self, token_ids: Sequence[int]) -> np.ndarray[Any, Any]:
        """Return the logits at every token, float32 [num_tokens, vocab]."""
        feeds = {value.name: self._feed(value, token_ids) for value in self._session.get_inputs()}
        logits: np.ndarray[Any, Any] = self._session.run(["logits"], feeds)[0]
        return logits[0].astype(np.float32)

    def greedy(self, token_ids: Sequence[int], count: int) -> list[int]:
        """Return the most likely continuation."""
        ids = list(token_ids)
        for _ in range(count):
            ids.append(int(self(ids)[-1].argmax()))
        return ids[len(token_ids) :]

    def _feed(self, value: Any, token_ids: Sequence[int]) -> np.ndarray[Any, Any]:
        dtype = DTYPES[value.type]
        length = len(token_ids)
        known: dict[str, Any] = {
            "input_ids": [token_ids],
            "attention_mask": [[1] * length],
            "position_ids": [range(length)],
            "use_cache_branch": [False],
            "cache_position": range(length),
            "num_logits_to_keep": [length],
            "past_sequence_length": [0],
        }
        if value.name in known:
            return np.array(known[value.name], dtype)
        sizes = {"batch_size": 1, "rows": HEADS}
        return np.zeros(
            [sizes.get(axis, 0) if isinstance(axis, str) else axis for axis in value.shape], dtype
        )


def _declare_keys_and_values(graph: TinyGraph, i: int) -> None:
    for part in ("key", "value"):
        graph.inputs[f"past_key_values.{i}.{part}"] = (
            f"float[batch_size, {HEADS}, past_sequence_length, {HEAD_DIM}]"
        )
        graph.outputs[f"present.{i}.{part}"] = (
            f"float[batch_size, {HEADS}, total_sequence_length, {HEAD_DIM}]"
        )


def _heads(graph: TinyGraph, i: int) -> None:
    project(graph, i, "q", "k", "v")
    for letter in "qkv":
        graph.lines += [
            f"{letter}r{i} = Reshape({letter}{i}, to_heads)",
            f"{letter}h{i} = Transpose<perm = [0, 2, 1, 3]>({letter}r{i})",
        ]


def _attend(graph: TinyGraph, i: int, keys: str, values: str) -> str:
    """Add softmax attention of qh{i} over [batch, heads, total, dim], causal and masked."""
    graph.inputs.setdefault("attention_mask", "int64[batch_size, mask_length]")
    graph.weights |= {"never": np.array(-1e9, np.float32), "always": np.array(0, np.float32)}
    graph.lines += [
        f"keys_t{i} = Transpose<perm = [0, 1, 3, 2]>({keys})",
        f"scores{i} = MatMul(qh{i}, keys_t{i})",
        f"score_shape{i} = Shape(scores{i})",
        f"queries{i} = Gather<axis = 0>(score_shape{i}, two)",
        f"three_{i} = Add(two, one)",
        f"total{i} = Gather<axis = 0>(score_shape{i}, three_{i})",
        f"past{i} = Sub(total{i}, queries{i})",
        f"column{i} = Range(zero, total{i}, one)",
        f"row{i} = Range(past{i}, total{i}, one)",
        f"row_up{i} = Unsqueeze(row{i}, axis1)",
        f"causal{i} = LessOrEqual(column{i}, row_up{i})",
        f"mask_bool{i} = Cast<to = 9>(attention_mask)",
        f"axes12_{i} = Concat<axis = 0>(axis1, axis2)",
        f"mask_up{i} = Unsqueeze(mask_bool{i}, axes12_{i})",
        f"allowed{i} = And(causal{i}, mask_up{i})",
        f"bias{i} = Where(allowed{i}, always, never)",
        f"masked{i} = Add(scores{i}, bias{i})",
        f"weights{i} = Softmax<axis = -1>(masked{i})",
        f"mixed{i} = MatMul(weights{i}, {values})",
        f"mixed_t{i} = Transpose<perm = [0, 2, 1, 3]>(mixed{i})",
        f"o{i} = Reshape(mixed_t{i}, to_hidden)",
    ]
    return f"o{i}"
