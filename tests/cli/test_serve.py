"""`genai serve`: what it is told before it serves. How it serves, tests/server tells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from genai import Generator
from genai.cli.app import run_app
from genai.cli.serve import KEY_VARIABLE, _base_url, _keys, _named, _warn
from genai.errors import OptionError
from genai.server import LoadLimits, ServedModels, listen


def test_models_are_named_by_themselves_or_as_asked(tmp_path: Path) -> None:
    for folder in ("a=b", "a b"):
        (tmp_path / folder).mkdir()
    assert _named(["phi", "chat=owner/name@main"]) == {"phi": "phi", "chat": "owner/name@main"}
    assert _named([str(tmp_path / "a=b")]) == {"a=b": str(tmp_path / "a=b")}
    for wrong in (
        ["phi", "phi"],
        ["=phi"],
        ["phi="],
        ["a b=phi"],
        ["a\t=phi"],
        [" =phi"],
        [str(tmp_path / "a b")],
    ):
        with pytest.raises(OptionError, match="NAME=MODEL"):
            _named(wrong)


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["serve"], "genai.server", "serve"),
        (["serve", "--traces"], "genai.server.traces", "otel"),
        (["serve", "--ray"], "genai.cluster.connection", "ray"),
    ],
)
def test_a_package_that_is_lacking_is_told_with_the_extra_that_brings_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    package: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert run_app([*arguments, "--port", "0"]) != 0
    told = capsys.readouterr().err
    assert f'-e ".[{extra}]"' in told
    assert f'"genai[{extra}]"' not in told  # which is another project


def test_keys_come_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _keys(None) == ()
    path = tmp_path / "keys"
    path.write_text("# ours\none\n\n two \n  # more\n", encoding="utf-8")
    monkeypatch.setenv(KEY_VARIABLE, "three")
    assert set(_keys(path)) == {"one", "two", "three"}
    monkeypatch.delenv(KEY_VARIABLE)
    path.write_text("# nobody\n\n", encoding="utf-8")
    with pytest.raises(OptionError, match="has no key"):
        _keys(path)
    with pytest.raises(OptionError, match="cannot be read"):
        _keys(tmp_path / "none")


def test_warnings_say_that_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    _warn(is_open=True, logs_texts=False)
    assert capsys.readouterr().err.startswith("warning: others on the network")


def test_the_address_can_be_opened() -> None:
    assert [_base_url(host, 80) for host in ("0.0.0.0", "::", "192.0.2.1", "2001:db8::1")] == [
        "http://127.0.0.1:80",
        "http://[::1]:80",
        "http://192.0.2.1:80",
        "http://[2001:db8::1]:80",
    ]


def test_models_that_alone_take_more_are_known() -> None:
    def load() -> Generator:
        raise AssertionError("nobody asked for it")

    served = ServedModels(
        {"large": load, "small": load},
        sizes={"large": 2000, "small": 1000},
        limits=LoadLimits(max_bytes=1000),
    )
    assert served.too_large == {"large": 2000}


def test_a_limit_for_each_key_needs_keys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert run_app(["serve", "--port", "0", "--max-requests-per-key", "2"]) == 2
    assert "--max-requests-per-key needs keys" in capsys.readouterr().err


def test_what_cannot_be_served_is_told_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert run_app(["serve", "--port", port]) == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err
    assert run_app(["serve", "--port", "0", "no-such-model"]) == 1
    assert "no-such-model" in capsys.readouterr().err
