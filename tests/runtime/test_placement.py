"""What is said of nodes that an accelerator leaves to the CPU; sessions and records are played by fakes."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from genai import Generator
from genai.errors import ProviderError
from genai.folder import ModelFolder
from genai.runtime import Decoder, first_provider
from genai.runtime.placement import Placement, name_nodes, report_placement
from genai.runtime.placement_check import check_placement
from genai.runtime.providers import PROVIDERS, Provider

CUDA, QNN = (next(p for p in PROVIDERS if p.name == name) for name in ("cuda", "qnn"))
LEFT = Placement(
    {
        "CUDAExecutionProvider": Counter({"MatMul": 5}),
        "CPUExecutionProvider": Counter({"GroupQueryAttention": 2, "Concat": 1}),
    },
    4,
)


@pytest.fixture(scope="module")
def folder(model_folder: Callable[..., tuple[Path, Path]]) -> ModelFolder:
    return ModelFolder.load(model_folder("llama")[1])


def made_for(
    folder: ModelFolder, precision: str, provider: str = "cpu", *, activations: str = "auto"
) -> ModelFolder:
    assert folder.manifest is not None
    manifest = dataclasses.replace(
        folder.manifest,
        source="owner/name",
        precision=precision,
        settings={"provider": provider, "activations": activations},
    )
    return dataclasses.replace(folder, manifest=manifest)


def report(folder: ModelFolder, caplog: pytest.LogCaptureFixture, provider: Provider = CUDA) -> str:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "genai.runtime"):
        report_placement(LEFT, provider, folder, strict=False)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    return record.getMessage()


def test_one_line_counts_by_operator_and_gives_the_command(
    folder: ModelFolder, caplog: pytest.LogCaptureFixture
) -> None:
    line = report(made_for(folder, "int4"), caplog)
    assert "leaves 3 of 8 nodes" in line
    assert "(2 GroupQueryAttention, 1 Concat)" in line
    assert line.endswith("genai export owner/name -o DIR --provider cuda")
    assert report(made_for(folder, "int8"), caplog).endswith("--provider cuda --precision int8")
    for provider in ("cpu", "cuda"):
        line = report(made_for(folder, "fp32", provider), caplog)
        assert line.endswith("--provider cuda --precision fp16")
    line = report(made_for(folder, "int4", "cuda", activations="fp32"), caplog)
    assert line.endswith("-o DIR --provider cuda")


def test_what_no_export_repairs_is_said(folder: ModelFolder, caplog: pytest.LogCaptureFixture) -> None:
    assert "in fp16, although the folder was made for cuda" in report(
        made_for(folder, "fp16", "cuda"), caplog
    )
    assert "no export for qnn" in report(folder, caplog, QNN)
    foreign = dataclasses.replace(folder, manifest=None)
    assert "genai export CHECKPOINT -o DIR --provider cuda" in report(foreign, caplog)


def test_strict_makes_it_an_error(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProviderError, match="leaves 3 of 8 nodes"):
        report_placement(LEFT, CUDA, folder, strict=True)
    Decoder(folder, strict=True)


def test_strict_takes_the_cpu_for_no_accelerator_that_is_there(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cpu = next(p for p in PROVIDERS if p.name == "cpu")
    opened = first_provider.open_session

    def choose(name: str, *, library: object = None) -> list[Provider]:
        return {"auto": [CUDA, cpu], "cuda": [CUDA], "cpu": [cpu]}[name]

    def open_session(model: bytes, provider: Provider, *arguments: Any, **options: Any) -> Any:
        if provider is CUDA:
            raise ProviderError("it has no kernel for this")
        return opened(model, provider, *arguments, **options)

    monkeypatch.setattr(first_provider, "open_session", open_session)
    monkeypatch.setattr("genai.runtime.providers.choice.choose_provider", choose)
    monkeypatch.setattr("genai.runtime.session.choose_provider", choose)
    with caplog.at_level(logging.WARNING, "genai.runtime"), Generator(folder) as generator:
        assert generator.provider == "cpu"
    assert "runs on cpu: cuda: it has no kernel" in caplog.text
    with pytest.raises(ProviderError, match=r"model\.onnx cannot be loaded: cuda: it has no kernel"):
        Generator(folder, strict=True)
    with Generator(folder, provider="cpu", strict=True) as generator:
        assert generator.provider == "cpu"


def test_the_cpu_leaves_nothing(folder: ModelFolder) -> None:
    placement = check_placement(folder, "cpu")
    assert placement.operators["CPUExecutionProvider"]["GroupQueryAttention"] == 2
    assert not placement.left_to_cpu(next(p for p in PROVIDERS if p.name == "cpu"))


def test_nodes_that_compute_sizes_are_told_from_those_that_compute_values() -> None:
    shape = helper.make_node("Shape", ["x"], ["shape"])
    first = helper.make_node("Gather", ["shape", "zero"], ["first"])
    as_float = helper.make_node("Cast", ["first"], ["scale"], to=TensorProto.FLOAT)
    product = helper.make_node("Mul", ["x", "scale"], ["y"], name="product")
    zeros = helper.make_node("ConstantOfShape", ["shape"], ["zeros"])
    graph = helper.make_graph(
        [shape, first, as_float, product, zeros],
        "sizes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("zero", TensorProto.INT64, [], [0])],
    )
    model = helper.make_model(graph)
    assert name_nodes(model) == {"Shape_0", "Gather_1"}
    assert [node.name for node in model.graph.node][2:] == ["Cast_2", "product", "ConstantOfShape_4"]
