from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from genai.errors import CheckpointError, ModelFolderError, ModelNotFoundError
from genai.hub import HubModel, fetch, find_snapshot, resolve_checkpoint
from tests.hub_server import GOOD_TOKEN, HubServer, point_at, serve

MODEL = HubModel("owner/name")


def download(model: HubModel = MODEL, **options: object) -> Path:
    snapshot = find_snapshot(model, **options)
    return fetch(snapshot, offline=bool(options.get("offline")))


@pytest.fixture
def commit(hub: HubServer, checkpoint_files: dict[str, bytes | str]) -> str:
    return hub.add("owner/name", checkpoint_files)


def test_only_what_is_needed_is_fetched(hub: HubServer, commit: str):
    path = download()
    assert {file.name for file in path.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (path / "model.safetensors").read_bytes() == b"weights" * 1000
    assert path.name == commit
    assert hub.downloads().keys() == {"config.json", "tokenizer.json", "model.safetensors"}


def test_nothing_but_the_config_is_fetched_before_it_is_decided(hub: HubServer, commit: str):
    snapshot = find_snapshot(MODEL)
    assert hub.downloads().keys() == {"config.json"}
    assert (snapshot.path / "config.json").is_file()
    assert set(snapshot.missing) == {"tokenizer.json", "model.safetensors"}
    assert snapshot.commit == commit


def test_nothing_is_fetched_twice(hub: HubServer, commit: str):
    first = download()
    before = hub.downloads()
    assert download() == first
    assert hub.downloads() == before


def test_an_earlier_download_needs_no_request(hub: HubServer, commit: str):
    first = download()
    hub.requests.clear()
    assert download(update=False) == first
    assert hub.requests == []


def test_what_another_program_left_in_the_cache_is_completed(hub: HubServer, commit: str):
    from huggingface_hub import hf_hub_download

    for name in ("config.json", "model.safetensors"):
        hf_hub_download("owner/name", name)
    assert (download(update=False) / "tokenizer.json").is_file()
    assert hub.downloads()["model.safetensors"] == 1


def test_a_revision_is_pinned_to_its_commit(
    hub: HubServer, commit: str, checkpoint_files: dict[str, bytes | str]
):
    old = download()
    new_commit = hub.add("owner/name", {**checkpoint_files, "tokenizer.json": '{"new": 1}'})
    assert download(update=False) == old
    new = download(update=True)
    assert new.name == new_commit != commit
    assert hub.downloads()["model.safetensors"] == 1  # the same content is kept once
    assert download(HubModel("owner/name", commit)) == old


def test_other_branches(hub: HubServer, commit: str, checkpoint_files: dict[str, bytes | str]):
    other = hub.add("owner/name", {**checkpoint_files, "config.json": '{"other": 1}'}, revision="refs/pr/1")
    assert download(HubModel("owner/name", "refs/pr/1")).name == other
    assert download().name == commit


def test_offline_after_online(hub: HubServer, commit: str):
    first = download()
    hub.requests.clear()
    assert download(offline=True) == first
    assert hub.requests == []


def test_the_cache_serves_while_the_hub_is_down(hub: HubServer, commit: str):
    first = download()
    hub.fail_with = 503
    assert download(update=True) == first


def test_offline_by_environment(hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match=r"owner/name is not in the download cache .*HF_HUB_OFFLINE"):
        download()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    first = download()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert download(update=True) == first


def test_offline_without_a_download(hub: HubServer, commit: str):
    with pytest.raises(ModelNotFoundError, match="owner/name is not in the download cache"):
        download(offline=True)
    assert hub.requests == []


def test_offline_with_half_a_download(hub: HubServer, commit: str):
    find_snapshot(MODEL)
    with pytest.raises(
        ModelNotFoundError, match=r"only partly in the download cache: tokenizer.json, model.saf"
    ):
        download(offline=True)
    assert download(update=False).is_dir()  # and online the rest is fetched


def test_a_cache_of_older_tools_without_a_listing(hub: HubServer, commit: str):
    first = download()
    shutil.rmtree(first.parent.parent / "trees")
    from huggingface_hub import _tree_cache

    _tree_cache._IN_MEMORY_TREE_CACHE.clear()
    assert download(offline=True) == first
    (first / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no safetensors"):
        download(offline=True)


def test_a_broken_connection_is_resumed(hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.truncate["model.safetensors"] = 3000
    path = download()
    assert (path / "model.safetensors").read_bytes() == b"weights" * 1000
    assert hub.ranges == ["model.safetensors 3000-"]


def test_a_download_given_up_goes_on_with_the_missing_files(hub: HubServer, commit: str):
    with mock.patch("huggingface_hub.file_download.http_get", side_effect=_fail_on_weights()):
        snapshot = find_snapshot(MODEL)
        with pytest.raises(
            ModelNotFoundError, match=r"download of owner/name from .* failed: broken; try again"
        ):
            fetch(snapshot)
    assert snapshot.missing == ("model.safetensors",)
    before = hub.downloads()
    assert fetch(find_snapshot(MODEL, update=False)) == snapshot.path
    assert hub.downloads() - before == {"model.safetensors": 1}


def _fail_on_weights():
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    def get(url: str, *args: object, **kwargs: object) -> None:
        if "safetensors" in url:
            raise HfHubHTTPError.__bases__[0]("broken")
        http_get(url, *args, **kwargs)

    return get


def test_nothing_is_drawn_where_nobody_looks(hub: HubServer, commit: str, capsys: pytest.CaptureFixture[str]):
    download()
    assert capsys.readouterr() == ("", "")


def test_progress_counts_bytes(hub: HubServer, commit: str):
    calls: list[tuple[str, int, int]] = []
    snapshot = find_snapshot(MODEL)
    fetch(snapshot, progress=lambda *call: calls.append(call))
    total = 7000 + len("{}")
    assert {what for what, _, _ in calls} == {"Downloading owner/name"}
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
    assert calls[-1][1:] == (total, total)


def test_a_model_folder_in_a_subfolder(hub: HubServer):
    hub.add(
        "owner/name", {"cpu/genai_config.json": "{}", "cpu/model.onnx": b"graph", "gpu/model.onnx": b"graph"}
    )
    snapshot = find_snapshot(HubModel("owner/name", subfolder="cpu"))
    assert snapshot.selection.is_model_folder
    path = fetch(snapshot)
    assert {file.name for file in path.iterdir()} == {"genai_config.json", "model.onnx"}
    assert not (path.parent / "gpu").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (HubModel("owner/nothing"), "no repository owner/nothing at http.*, or it is private .*HF_TOKEN"),
        (HubModel("microsoft/Phi-4-mini-instruc"), 'Did you mean "microsoft/Phi-4-mini-instruct"'),
        (HubModel("owner/name", "v9"), 'owner/name has no revision "v9"'),
        (HubModel("owner/na--me"), "no valid hub id"),
    ],
)
def test_what_the_hub_does_not_have(model: HubModel, message: str, hub: HubServer, commit: str):
    with pytest.raises(ModelNotFoundError, match=message):
        download(model)


def test_a_gated_repository(
    hub: HubServer, checkpoint_files: dict[str, bytes | str], monkeypatch: pytest.MonkeyPatch
):
    hub.add("owner/gated", checkpoint_files, gated=True)
    for token in (None, "hf_bad"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(
            ModelNotFoundError, match=r"gated: accept its licence at http.*/owner/gated, .*hf auth"
        ):
            download(HubModel("owner/gated"))
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    assert download(HubModel("owner/gated")).is_dir()


def test_a_repository_without_safetensors(hub: HubServer):
    hub.add("owner/old", {"config.json": "{}", "tf_model.h5": b"weights"})
    with pytest.raises(CheckpointError, match=r"owner/old has no safetensors, only tf_model\.h5"):
        download(HubModel("owner/old"))
    hub.add("owner/data", {"README.md": "a data set"})
    with pytest.raises(ModelFolderError, match="owner/data holds no language model"):
        download(HubModel("owner/data"))


def test_no_network(hub: HubServer, monkeypatch: pytest.MonkeyPatch):
    point_at(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(
        ModelNotFoundError, match=r"http://127.0.0.1:9 cannot be reached for owner/name .*HF_ENDPOINT"
    ):
        download()


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_hub_that_fails(status: int, hub: HubServer):
    hub.fail_with = status
    with pytest.raises(ModelNotFoundError, match=f"answered {status} for owner/name"):
        download()


def test_no_room_is_seen_before_the_download(hub: HubServer, commit: str):
    snapshot = find_snapshot(MODEL)
    before = hub.downloads()
    with (
        mock.patch("shutil.disk_usage", return_value=mock.Mock(free=5)),
        pytest.raises(ModelNotFoundError, match=r"needs 0.0 GB of disk .* free; .*HF_HOME"),
    ):
        fetch(snapshot)
    assert hub.downloads() == before


def test_no_room_within_the_download(hub: HubServer, commit: str):
    snapshot = find_snapshot(MODEL)
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        mock.patch("huggingface_hub.file_download.http_get", side_effect=full),
        pytest.raises(ModelNotFoundError, match=r"the disk of .* is full; .*HF_HOME"),
    ):
        fetch(snapshot)


def test_a_checkpoint_with_its_provenance(hub: HubServer, commit: str, tmp_path: Path):
    checkpoint = resolve_checkpoint("owner/name")
    assert (checkpoint.source, checkpoint.revision, checkpoint.path.name) == ("owner/name", commit, commit)
    local = resolve_checkpoint(checkpoint.path)
    assert (local.source, local.revision) == (str(checkpoint.path.resolve()), None)
    hub.add(
        "owner/both", {**dict.fromkeys(("config.json", "genai_config.json"), "{}"), "model.safetensors": b"w"}
    )
    assert (resolve_checkpoint("owner/both").path / "model.safetensors").read_bytes() == b"w"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"genai_config.json": "{}"}, "a model folder already"),
        ({"config.json": "{}", "pytorch_model.pth": ""}, "neither .*; it holds pytorch_model.pth"),
        ({}, "neither a model folder"),
    ],
)
def test_a_folder_that_is_no_checkpoint(files: dict[str, str], message: str, tmp_path: Path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        resolve_checkpoint(tmp_path)


def test_a_file_is_no_checkpoint(tmp_path: Path):
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelNotFoundError, match="is a file; a folder or a GGUF file is expected"):
        resolve_checkpoint(tmp_path / "model.bin")


INTERRUPTED = """
import huggingface_hub.constants
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1000
from genai.hub import HubModel, fetch, find_snapshot

snapshot = find_snapshot(HubModel("owner/name"))
fetch(snapshot, progress=lambda *call: print(*call, flush=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupt_does_not_wait_for_the_end_of_the_file(tmp_path: Path):
    with serve() as hub:
        hub.add("owner/name", {"config.json": "{}", "model.safetensors": bytes(200_000)})
        hub.slow["model.safetensors"] = 0.1
        with subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED],
            env={**os.environ, **hub.environment(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=15)  # the file itself takes 20 seconds
        assert "KeyboardInterrupt" in errors
    assert not list((tmp_path / "huggingface").rglob("*.incomplete"))
