from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from genai.config import EXPORT_VERSION, ExportSettings
from genai.errors import ExportError
from genai.folder import DecoderConfig, ModelFolder, staged_folder, write_genai_config
from genai.hub import ExportKey, Store, fingerprint, genai_home

KEY = ExportKey("owner/name", "0123456789abcdef0123", ExportSettings("int4", 32))


def write(folder: Path) -> None:
    """Write the smallest model folder that loads."""
    decoder = DecoderConfig("phi3", "model.onnx", 8, 16, 4, 1, 1, 1, 4)
    (folder / "genai_config.json").write_text(json.dumps(write_genai_config(decoder)))
    (folder / "model.onnx").touch()


def make(target: Path) -> ModelFolder:
    with staged_folder(target) as folder:
        write(folder)
    return ModelFolder.load(target)


def make_slowly(target: Path) -> ModelFolder:
    """Make it and keep count of how often that happened, beside the store."""
    with staged_folder(target) as folder:
        time.sleep(0.3)
        with (target.parents[2] / "count").open("a") as count:
            count.write("x")
        write(folder)
    return ModelFolder.load(target)


def find_or_make_slowly(home: Path) -> None:
    Store(home).find_or_make(KEY, make_slowly)


def test_an_export_is_made_once(tmp_path: Path):
    store = Store(tmp_path)
    assert store.find(KEY) is None
    folder = store.find_or_make(KEY, make)
    assert folder == store.find(KEY)
    assert folder.path == store.path(KEY)
    assert folder.path == tmp_path / "models" / "owner--name" / f"0123456789ab-int4-32-v{EXPORT_VERSION}"
    assert store.find_or_make(KEY, lambda _: pytest.fail("made twice")) == folder


def test_an_export_of_an_earlier_version_is_made_again(tmp_path: Path):
    """A fix in the exporter raises the version; what was made before is listed and can be removed."""
    store = Store(tmp_path)
    old = dataclasses.replace(KEY, version=EXPORT_VERSION - 1)
    unversioned = store.path(KEY).with_name("0123456789ab-int4-32")  # before the name had a version
    store.find_or_make(old, make)
    make(unversioned)
    assert store.find(KEY) is None
    new = store.find_or_make(KEY, make)
    exports = store.exports()
    assert [export.path for export in exports] == [unversioned, store.path(old), new.path]
    assert {export.precision for export in exports} == {"int4"}
    for export in exports[:2]:
        store.remove(export)
    assert [export.path for export in store.exports()] == [new.path]


def test_two_threads_make_it_once(tmp_path: Path):
    waits: list[str] = []

    def run() -> None:
        Store(tmp_path).find_or_make(KEY, make_slowly, on_wait=lambda: waits.append("wait"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "count").read_text() == "x"
    assert waits == ["wait"]


def test_two_processes_make_it_once(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=find_or_make_slowly, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "count").read_text() == "x"


KILLED = """
import sys, time
from pathlib import Path
from genai.folder import staged_folder
from genai.config import ExportSettings
from genai.hub import ExportKey, Store

def make(target):
    with staged_folder(target) as folder:
        (folder / "genai_config.json").write_text("{}")
        print("started", flush=True)
        time.sleep(60)

Store(Path(sys.argv[1])).find_or_make(ExportKey("owner/name", "0123456789abcdef0123", ExportSettings("int4", 32)), make)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_export_leaves_nothing_whole_and_is_cleaned_up(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGKILL)
    store = Store(tmp_path)
    folder = store.path(KEY).parent
    assert [path.name.startswith(f".{KEY.name}.partial-") for path in folder.iterdir()] == [True]
    assert store.find(KEY) is None
    assert store.exports() == ()
    store.find_or_make(KEY, make)
    assert [path.name for path in folder.iterdir()] == [KEY.name]


def test_a_failed_export_leaves_nothing(tmp_path: Path):
    def fail(target: Path) -> ModelFolder:
        with staged_folder(target) as folder:
            (folder / "genai_config.json").write_text("{}")
            raise ExportError("no")

    store = Store(tmp_path)
    with pytest.raises(ExportError, match="no"):
        store.find_or_make(KEY, fail)
    assert list(store.path(KEY).parent.iterdir()) == []
    assert store.find_or_make(KEY, make).path.is_dir()


def test_keys_tell_exports_apart():
    store = Store(Path("/store"))
    keys = [
        KEY,
        ExportKey(KEY.source, KEY.revision, ExportSettings("int4", 128)),
        ExportKey(KEY.source, KEY.revision, ExportSettings("int4", 32, max_context=64)),
        ExportKey(KEY.source, KEY.revision, ExportSettings("int4", 32, via="native")),
        ExportKey(KEY.source, KEY.revision, ExportSettings("int4", 32), version=EXPORT_VERSION + 1),
        ExportKey(KEY.source, KEY.revision, ExportSettings("fp32", 32)),
        ExportKey(KEY.source, "f" * 40, ExportSettings("int4", 32)),
        ExportKey("owner/name:sub", KEY.revision, ExportSettings("int4", 32)),
        ExportKey("owner/name:sub/int4", KEY.revision, ExportSettings("int4", 32)),
        ExportKey("owner/name:sub--int4", KEY.revision, ExportSettings("int4", 32)),
        ExportKey("/checkpoints/name", KEY.revision, ExportSettings("int4", 32)),
    ]
    assert len({store.path(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("revision", ["../../../x", "/etc", "refs/pr/1", ".."])
def test_no_revision_leads_out_of_its_sources_folder(revision: str):
    store = Store(Path("/store"))
    path = store.path(ExportKey(KEY.source, revision, ExportSettings("int4", 32)))
    assert path.parent == store.path(KEY).parent
    assert path.name not in ("", ".", "..")


def test_listing_and_removal(tmp_path: Path):
    store = Store(tmp_path)
    store.find_or_make(KEY, make)
    store.find_or_make(ExportKey("owner/other", "f" * 40, ExportSettings("fp32", 32)), make)
    first, second = store.exports()
    assert (first.source, first.revision, first.precision) == ("owner/name", "0123456789ab", "int4")
    assert (second.source, second.precision, second.manifest) == ("owner/other", "fp32", None)
    assert first.size_bytes == (first.path / "genai_config.json").stat().st_size > 0
    store.remove(first)
    assert store.exports() == (second,)
    assert list(first.path.parent.iterdir()) == []
    with pytest.raises(ExportError, match="cannot be removed"):
        store.remove(first)


def test_commits_are_remembered(tmp_path: Path):
    store = Store(tmp_path)
    assert store.commit("owner/name", "refs/pr/1") is None
    store.remember_commit("owner/name", "refs/pr/1", "a" * 40)
    store.remember_commit("owner/name", "refs/pr/1", "b" * 40)
    assert store.commit("owner/name", "refs/pr/1") == "b" * 40
    assert store.commit("owner/name", "main") is None


def test_a_store_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file")
    with pytest.raises(ExportError, match=r"GENAI_HOME"):
        store.find_or_make(KEY, make)
    with pytest.raises(ExportError, match=r"GENAI_HOME"):
        store.remember_commit("owner/name", "main", "a" * 40)


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GENAI_HOME", str(tmp_path))
    assert genai_home() == tmp_path
    monkeypatch.delenv("GENAI_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for platform, expected in [
        ("linux", "xdg/genai"), ("darwin", "Library/Caches/genai"), ("win32", "local/genai/Cache"),
    ]:  # fmt: skip
        monkeypatch.setattr(sys, "platform", platform)
        assert genai_home() == tmp_path / expected


def test_a_fingerprint_changes_with_the_files(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    first = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == first
    os.utime(tmp_path / "model.safetensors", ns=(1, 1))
    second = fingerprint(tmp_path)
    (tmp_path / "config.json").touch()
    assert len({first, second, fingerprint(tmp_path)}) == 3
