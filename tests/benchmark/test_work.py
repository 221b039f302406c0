"""What a token costs, read off graphs, is what the checkpoint's config says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from genai.benchmark.work import CacheRead, Work, work_of
from genai.evaluation.graphs import read_graphs
from genai.folder import ModelFolder
from genai.graph.operators import MATMUL_NBITS
from tests.checkpoints import load_reference, make_config
from tests.runtime.test_any_graph import KINDS, graph_of
from tests.runtime.test_stages import cut
from tests.runtime.tiny_graphs import (
    HEAD_DIM,
    HEADS,
    VOCAB,
    WIDTH,
    convolution,
    shared_attention,
    write_folder,
)

Folders = Callable[..., tuple[Path, Path]]
EXPERTS = ("num_local_experts", "n_routed_experts", "num_experts")
CHOSEN = ("num_experts_per_tok", "top_k_experts")


def work(folder: Path | ModelFolder) -> Work:
    folder = folder if isinstance(folder, ModelFolder) else ModelFolder.load(folder)
    found = work_of(read_graphs(folder), folder.decoder.stages)
    assert found is not None
    return found


def macs_of_checkpoint(path: Path) -> float:
    """Every element of a matrix is multiplied once a token; of the experts', those of the chosen ones."""
    model = load_reference(path)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    looked_up = {id(each.weight) for each in model.modules() if isinstance(each, torch.nn.Embedding)}
    chosen, experts = (
        next((getattr(model.config, name) for name in names if getattr(model.config, name, None)), 1)
        for names in (CHOSEN, EXPERTS)
    )
    total = float(head.numel()) if head is embedding else 0.0
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and id(parameter) not in looked_up:
            total += parameter.numel() * (chosen / experts if ".experts." in name else 1)
    return total


@pytest.mark.parametrize(
    "family",
    ["llama", "phi3", "gemma2", "deepseek_v2", "qwen3_moe", "mixtral", "gemma4_text", "falcon", "lfm2"],
)
def test_multiplications_are_those_of_the_checkpoint(model_folder: Folders, family: str) -> None:
    checkpoint, folder = model_folder(family)
    assert work(folder).macs == macs_of_checkpoint(checkpoint)


WHOLE_BLOCKS = {"hidden_size": 64, "intermediate_size": 128}


@pytest.mark.parametrize(("precision", "bytes_per_weight"), [("fp32", 4), ("int8", 1 + 4 / 32)])
def test_bytes_are_those_of_the_precision(
    model_folder: Folders, precision: str, bytes_per_weight: float
) -> None:
    config = make_config("llama", **WHOLE_BLOCKS)
    checkpoint, folder = model_folder("llama", precision=precision, **WHOLE_BLOCKS)
    found = work(folder)
    row = config.hidden_size
    assert found.weight_bytes == (macs_of_checkpoint(checkpoint) + row) * bytes_per_weight
    head = config.vocab_size * config.hidden_size
    if precision == "fp32":
        assert (found.int8_macs, found.head_int8_macs, found.head_float_macs) == (0, 0, head)
    else:
        assert (found.float_macs, found.head_float_macs, found.head_int8_macs) == (0, 0, head)


def test_int4_reads_what_its_nodes_hold(model_folder: Folders) -> None:
    folder = model_folder("llama", precision="int4", **WHOLE_BLOCKS)[1]
    found = work(folder)
    assert found.macs == work(model_folder("llama", **WHOLE_BLOCKS)[1]).macs
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    read = 0.0
    for node in model.graph.node:
        if node.op_type == MATMUL_NBITS.op_type:
            values = {attribute.name: attribute.i for attribute in node.attribute}
            blocks = values["N"] * values["K"] // values["block_size"]
            read += values["N"] * values["K"] * values["bits"] / 8 + 4 * blocks
            read += blocks * values["bits"] / 8 if len(node.input) > 3 else 0
    row = 64 * (1 + 4 / 64)  # of the embedding, which has 8 bits and blocks of 64
    assert found.weight_bytes == read + row


def test_the_cache_of_windows_and_states(model_folder: Folders) -> None:
    config = make_config("llama")
    row = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    assert work(model_folder("llama")[1]).cache == CacheRead({None: row})
    windowed = work(model_folder("gemma2")[1]).cache
    assert windowed is not None
    config = make_config("gemma2")
    assert windowed.windows.keys() == {None, config.sliding_window}
    past = 3 * config.sliding_window
    both = sum(windowed.windows.values())
    assert windowed.num_bytes(1) == both
    assert windowed.num_bytes(past) < past * both
    with_states = work(model_folder("lfm2")[1]).cache
    assert with_states is not None
    assert with_states.state_bytes > 0


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_of_other_makers(tmp_path: Path, kind: str) -> None:
    tiny = KINDS[kind]()
    found = work(write_folder(tmp_path, {"model.onnx": tiny.model()}, num_layers=3))
    matrices = [w.size for name, w in tiny.weights.items() if name.startswith(("w_", "kernel"))]
    assert (found.float_macs, found.head_float_macs) == (sum(matrices), VOCAB * WIDTH)
    tables = 1 + any("positions" in node.input for node in tiny.model().graph.node)
    assert found.weight_bytes == 4 * (sum(matrices) + VOCAB * WIDTH + tables * WIDTH)


def test_a_past_that_plain_operators_read_twice(tmp_path: Path) -> None:
    """Its length is taken off it as well, which reads nothing."""
    tiny = KINDS["growing, positions from the past"]()
    found = work(write_folder(tmp_path, {"model.onnx": tiny.model()}, num_layers=2))
    assert found.cache == CacheRead({None: 2 * 2 * HEADS * HEAD_DIM * 4})


@pytest.mark.parametrize("kind", ["heads in the batch", "keys and values stacked"])
def test_a_cache_that_does_not_tell_its_heads(tmp_path: Path, kind: str) -> None:
    assert work(write_folder(tmp_path, {"model.onnx": KINDS[kind]().model()}, num_layers=3)).cache is None


def test_stages(tmp_path: Path) -> None:
    tiny = graph_of(convolution, shared_attention)
    whole = work(write_folder(tmp_path, {"model.onnx": tiny.model()}, num_layers=2))
    stages = cut(tiny)
    models = {stage.filename: model for stage, model in stages}
    chosen = tuple(stage for stage, _ in stages)
    folder = write_folder(tmp_path, models, stages=chosen)
    assert work(folder) == whole
    split = (dataclasses.replace(chosen[0], run_on_token_gen=False), *chosen[1:])
    assert work_of(read_graphs(folder), split) is None


def test_weights_whose_number_the_graph_does_not_tell(tmp_path: Path) -> None:
    """Matrices that the data choose, or that a branch holds."""
    model = graph_of(shared_attention).model()
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == product.input[1])
    model.graph.initializer.append(
        helper.make_tensor("stack", TensorProto.FLOAT, (1, *weight.dims), weight.raw_data, raw=True)
    )
    product.input[1] = "chosen"
    model.graph.node.insert(0, helper.make_node("Gather", ["stack", "input_ids"], ["chosen"]))
    folder = write_folder(tmp_path, {"model.onnx": model}, num_layers=1)
    assert work_of(read_graphs(folder)) is None
