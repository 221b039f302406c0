"""How a session is opened on a provider that records runs; ONNX Runtime is played by a fake."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from genai.errors import ProviderError
from genai.folder import ModelFolder
from genai.graph.names import LOGITS
from genai.runtime import first_provider
from genai.runtime.first_provider import first_that_works
from genai.runtime.providers import PROVIDERS

CAPTURE = "enable_cuda_graph"
CUDA, WEBGPU = (next(p for p in PROVIDERS if p.name == name) for name in ("cuda", "webgpu"))


def decoder_graph(*operators: str) -> bytes:
    """A decoder that looks into its tokens with these operators, for nothing."""
    shape = ["batch_size", "num_logits", 5]
    graph = helper.make_graph(
        [
            *(helper.make_node(name, ["hidden"], [f"unused.{name}"]) for name in operators),
            helper.make_node("Identity", ["hidden"], [LOGITS]),
        ],
        "decoder",
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph).SerializeToString()


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """The provider options of every session that is opened."""
    options: list[Mapping[str, str]] = []

    def open_session(*_: Any, provider_options: Mapping[str, str], **__: Any) -> object:
        options.append(provider_options)
        return object()

    monkeypatch.setattr(first_provider, "open_session", open_session)
    monkeypatch.setattr(first_provider, "free_device_bytes", lambda *_: None)
    return options


@pytest.fixture
def configured(model_folder: Callable[..., tuple[Path, Path]]) -> Callable[..., ModelFolder]:
    """A model folder whose genai_config.json has options for CUDA."""
    folder = ModelFolder.load(model_folder("llama")[1])

    def configure(**options: str) -> ModelFolder:
        decoder = dataclasses.replace(
            folder.decoder, provider_options=(("cuda", options), ("webgpu", options))
        )
        return dataclasses.replace(folder, decoder=decoder)

    return configure


@pytest.mark.parametrize(
    ("operators", "options", "expected"),
    [
        ([], {}, {CAPTURE: "1"}),
        ([], {CAPTURE: "1", "x": "y"}, {CAPTURE: "1", "x": "y"}),
        ([], {CAPTURE: "0", "x": "y"}, {"x": "y"}),
        (["NonZero"], {}, {}),
        (["NonZero"], {CAPTURE: "1", "x": "y"}, {"x": "y"}),
        (["NonZero"], {CAPTURE: "True"}, {}),
    ],
)
def test_runs_that_the_host_looks_into_are_not_recorded(
    tried: list[Mapping[str, str]],
    configured: Callable[..., ModelFolder],
    caplog: pytest.LogCaptureFixture,
    operators: list[str],
    options: dict[str, str],
    expected: dict[str, str],
) -> None:
    folder = configured(**options)
    with caplog.at_level(logging.INFO, "genai.runtime"):
        first_that_works([CUDA], folder, decoder_graph(*operators), object, 0)
    assert tried == [expected]
    said = f"genai_config.json has {CAPTURE}: the host waits for what NonZero found"
    assert (said in caplog.text) == bool(operators and options)


@pytest.mark.parametrize("options", [{}, {CAPTURE: "1"}])
def test_what_cannot_be_recorded_runs_as_it_is(
    tried: list[Mapping[str, str]],
    configured: Callable[..., ModelFolder],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, str],
) -> None:
    opened = first_provider.open_session

    def refuse_to_record(*arguments: Any, provider_options: Mapping[str, str], **others: Any) -> object:
        session = opened(*arguments, provider_options=provider_options, **others)
        if CAPTURE in provider_options:
            raise ProviderError("a node runs on the CPU")
        return session

    monkeypatch.setattr(first_provider, "open_session", refuse_to_record)
    with caplog.at_level(logging.INFO, "genai.runtime"):
        first_that_works([CUDA], configured(**options), decoder_graph(), object, 0)
    assert tried == [{CAPTURE: "1"}, {}]
    assert (f"{CAPTURE}: a node runs on the CPU" in caplog.text) == bool(options)


def test_nothing_is_recorded_where_the_caller_runs_once(
    tried: list[Mapping[str, str]], configured: Callable[..., ModelFolder]
) -> None:
    folder = configured(enable_cuda_graph="1", enableGraphCapture="1")
    for provider in (CUDA, WEBGPU):
        first_that_works([provider], folder, decoder_graph(), object, 0, may_record=False)
    assert tried == [{}, {}]


@pytest.mark.parametrize("options", [{}, {"enableGraphCapture": "1"}])
def test_a_window_is_not_recorded_on_webgpu(
    tried: list[Mapping[str, str]],
    configured: Callable[..., ModelFolder],
    caplog: pytest.LogCaptureFixture,
    options: dict[str, str],
) -> None:
    model = onnx.ModelProto.FromString(decoder_graph())
    first_that_works([WEBGPU], configured(**options), model.SerializeToString(), object, 0)
    model.graph.node[0].attribute.append(helper.make_attribute("local_window_size", 8))
    first_that_works([WEBGPU], configured(**options), model.SerializeToString(), object, 0)
    assert tried == [{"enableGraphCapture": "1"}, {}]
    assert ("would not move the attention's window" in caplog.text) == bool(options)
