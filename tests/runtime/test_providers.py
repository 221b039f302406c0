"""Which providers there are, which are taken, and what is said of the others; plug-ins are played by fakes."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genai.cli import run
from genai.cli.providers import hardware_in_words, statuses_as_json
from genai.config import PROVIDER_FORMS, provider_name
from genai.errors import OptionError, ProviderError
from genai.runtime.installed import identity_model
from genai.runtime.ort import onnxruntime
from genai.runtime.providers import (
    PROVIDERS,
    choose_provider,
    libraries,
    open_session,
    preferred_provider,
    provider_statuses,
)
from genai.runtime.providers.hardware import SOFTWARE_ADAPTER, provider_hardware
from genai.runtime.providers.opening import quiet_options


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An installed package of a plug-in for WebGPU, whose library ONNX Runtime takes."""
    library = tmp_path / "libwebgpu.so"
    library.touch()
    module = types.ModuleType("onnxruntime_ep_webgpu")
    module.get_library_path = lambda: str(library)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(libraries, "has_plugin", lambda package: package == "onnxruntime-ep-webgpu")
    monkeypatch.setattr("genai.runtime.providers.choice.has_plugin", libraries.has_plugin)
    monkeypatch.setattr("genai.runtime.providers.choice.metadata.version", lambda package: "0.4.0")
    yield library
    libraries._register.cache_clear()


def offer(
    monkeypatch: pytest.MonkeyPatch, library: Path, *names: str, kind: str = "GPU", vendor: str = "Maker"
) -> list[str]:
    """Let ONNX Runtime take the library and find devices for these providers; return what is registered."""
    registered: list[str] = []

    def device(name: str) -> Any:
        hardware = types.SimpleNamespace(type=f"OrtHardwareDeviceType.{kind}", vendor=vendor, metadata={})
        metadata = {"library_path": str(library), "version": "0.4.0"}
        return types.SimpleNamespace(ep_name=name, ep_metadata=metadata, device=hardware)

    monkeypatch.setattr(
        onnxruntime, "register_execution_provider_library", lambda name, path: registered.append(path)
    )
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: list(map(device, names if registered else ())))
    return registered


def status_of(name: str) -> Any:
    return next(status for status in provider_statuses() if status.provider.name == name)


def test_every_form_has_its_provider_and_names_are_unique() -> None:
    names = [provider.name for provider in PROVIDERS]
    assert len(set(names)) == len(names)
    assert set(PROVIDER_FORMS) <= set(names)
    assert all(p.device_name != "cpu" for p in PROVIDERS if p.memory in ("addresses", "values"))


def test_what_is_missing_comes_with_the_command_that_repairs_it() -> None:
    for status in provider_statuses():
        assert status.reason
        if not status.available and status.package is None and status.provider.system is None:
            assert status.repair is not None
            assert "pip install" in status.repair


def test_a_plugin_is_registered_once_and_taken_by_name(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered = offer(monkeypatch, plugin, "WebGpuExecutionProvider")
    assert [provider.name for provider in choose_provider("webgpu")] == ["webgpu"]
    assert choose_provider("WebGpuExecutionProvider") == choose_provider("webgpu")
    assert registered == [str(plugin)]
    status = status_of("webgpu")
    assert (status.available, status.package, status.version) == (True, "onnxruntime-ep-webgpu", "0.4.0")
    assert [(each.name, each.kind) for each in provider_hardware(status)] == [("Maker GPU", "GPU")]


@pytest.mark.parametrize(
    ("name", "kind", "vendor", "expected"),
    [
        ("WebGpuExecutionProvider", "CPU", "AMD", SOFTWARE_ADAPTER),
        ("WebGpuExecutionProvider", "GPU", "Google SwiftShader", SOFTWARE_ADAPTER),
        ("WebGpuExecutionProvider", "GPU", "Maker", "GPU"),
        ("OpenVINOExecutionProvider", "CPU", "Intel", "CPU"),
    ],
)
def test_a_gpu_that_the_cpu_plays_is_told_apart(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, vendor: str, expected: str
) -> None:
    offer(monkeypatch, plugin, name, kind=kind, vendor=vendor)
    status = next(each for each in provider_statuses(library=plugin) if each.provider.ort_name == name)
    assert [each.kind for each in provider_hardware(status)] == [expected]
    assert ("software adapter" in hardware_in_words(status)) == (expected == SOFTWARE_ADAPTER)
    (device,) = statuses_as_json([status])[0]["devices"]
    assert device["kind"] == expected


def test_a_plugin_without_a_device_says_so(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered = offer(monkeypatch, plugin)
    for _ in range(2):
        with pytest.raises(ProviderError, match=r"offers no device: .*Vulkan's loader"):
            choose_provider("webgpu")
    assert registered == [str(plugin)]  # a second time would break ONNX Runtime


def test_a_library_names_providers_that_nobody_knows(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, plugin, "ContosoAiExecutionProvider")
    (chosen,) = choose_provider("auto", library=plugin)
    assert (chosen.name, chosen.memory, chosen.has_form) == ("contosoai", "fed", False)
    assert choose_provider("contosoai", library=plugin) == [chosen]
    assert choose_provider("cpu", library=plugin)[0].name == "cpu"
    assert preferred_provider({"provider_library": plugin}) == chosen.name
    assert preferred_provider({"provider": "CPUExecutionProvider", "provider_library": plugin}) == "cpu"
    with pytest.raises(OptionError, match=r'Did you mean "contosoai"\?'):
        choose_provider("contoso", library=plugin)


def test_a_library_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="is not there"):
        choose_provider("auto", library=tmp_path / "none.so")
    other = tmp_path / "text.so"
    other.write_text("no library")
    with pytest.raises(ProviderError, match="cannot load the library"):
        choose_provider("auto", library=other)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    for name in ("openvinno", "OPENVINNO", "OpenVinnoExecutionProvider"):
        with pytest.raises(OptionError, match=r'Did you mean "openvino"\?') as caught:
            choose_provider(name)
        assert "--" not in str(caught.value)  # Python has no such options


def test_names_are_taken_in_any_case_and_as_onnxruntime_has_them() -> None:
    for provider in PROVIDERS:
        assert provider_name(provider.ort_name) == provider_name(provider.name.upper()) == provider.name
    for name in ("CPU", "Cpu", "CPUExecutionProvider", "cpuexecutionprovider"):
        assert [provider.name for provider in choose_provider(name)] == ["cpu"]
    assert choose_provider("AUTO") == choose_provider("auto")
    assert preferred_provider({}) == choose_provider("auto")[0].name
    with pytest.raises(OptionError, match="provider must be the name of one, not 3"):
        choose_provider(3)  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_refused(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, plugin, "WebGpuExecutionProvider")
    (provider,) = choose_provider("webgpu")
    with pytest.raises(OptionError, match="device_id must be less than 1"):
        open_session(identity_model(), provider, quiet_options(), device_id=1)


@pytest.mark.parametrize("name", ["ContosoAiExecutionProvider", "WebGpuExecutionProvider"])
def test_the_table_names_what_auto_takes_with_a_library(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    offer(monkeypatch, plugin, name)
    assert run(["providers", "--provider-library", str(plugin)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "(auto)" in line]
    assert run(["providers", "--provider-library", str(plugin), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    (taken,) = choose_provider("auto", library=plugin)
    assert value["auto"] == line.split()[0] == taken.name
