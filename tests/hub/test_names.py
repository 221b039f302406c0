from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genai.errors import GenaiError, ModelNotFoundError, OptionError
from genai.hub import HubModel, LocalModel, resolve


def test_an_existing_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("owner/name")
    folder.mkdir(parents=True)
    assert resolve("owner/name") == LocalModel(folder)
    assert resolve(folder) == LocalModel(folder)
    assert resolve(tmp_path) == LocalModel(tmp_path)


def test_a_folder_hides_an_alias_only_if_it_holds_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("phi").mkdir()
    assert isinstance(resolve("phi"), HubModel)
    Path("phi/genai_config.json").write_text("{}")
    assert resolve("phi") == LocalModel(Path("phi"))


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert resolve("~/model") == LocalModel(tmp_path / "model")


def test_an_alias_stands_for_its_preset():
    model = resolve("phi")
    assert isinstance(model, HubModel)
    assert (model.repo, model.revision, model.subfolder) == ("microsoft/Phi-4-mini-instruct", "main", None)
    assert model.preset is not None
    assert resolve("phi@v2").revision == "v2"
    assert resolve("phi", revision="v2").revision == "v2"
    assert resolve("qwen:1.7b").repo == "Qwen/Qwen3-1.7B"


def test_the_demo_model_is_in_the_package():
    model = resolve("demo")
    assert isinstance(model, LocalModel)
    assert model.path.name == "demo_model"
    with pytest.raises(OptionError, match="comes with the package"):
        resolve("demo", revision="main")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("owner/name", HubModel("owner/name")),
        ("owner/name@refs/pr/1", HubModel("owner/name", "refs/pr/1")),
        ("owner/name:onnx", HubModel("owner/name", "main", "onnx")),
        ("owner/na.me-1_b@v1:cpu/int4/", HubModel("owner/na.me-1_b", "v1", "cpu/int4")),
    ],
)
def test_hub_ids(name: str, expected: HubModel):
    assert resolve(name) == expected


def test_a_hub_id_of_a_preset_has_its_settings():
    assert resolve("microsoft/Phi-4-mini-instruct@abc") == resolve("phi@abc")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("phy", 'no such path, no such alias, .*owner/name.* Did you mean "phi"'),
        ("zzzzzz", "`genai models list` shows"),
        ("", '"" is no model'),
        ("a/b/c", "is no model"),
        ("owner/name:../other", "is no model"),
        ("https://huggingface.co/a/b", "is no model"),
        ("./missing", "there is no folder .*missing"),
        ("missing/", "there is no folder .*missing"),
        (Path("phi"), "there is no folder .*phi"),
        (Path("owner/name"), "there is no folder .*owner/name"),
    ],
)
def test_what_is_nothing_is_said_to_be(
    name: str | Path, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match=message):
        resolve(name)


def test_two_revisions_are_refused(tmp_path: Path):
    with pytest.raises(OptionError, match='names "a", and revision is "b"'):
        resolve("owner/name@a", revision="b")
    assert resolve("owner/name@a", revision="a").revision == "a"
    with pytest.raises(OptionError, match="on this machine"):
        resolve(tmp_path, revision="main")


@given(st.text(max_size=40))
@example("~\0")
def test_any_text_resolves_or_is_refused_clearly(text: str):
    with contextlib.suppress(GenaiError):
        assert isinstance(resolve(text), (HubModel, LocalModel))
