from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genai.errors import ModelFolderError, OptionError, ProviderError
from genai.folder import ModelFolder
from genai.runtime import Decoder, provider_statuses
from genai.runtime.providers import choose_provider
from tests.spans import decode, prefill, score

Folders = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def folder(model_folder: Folders) -> ModelFolder:
    return ModelFolder.load(model_folder("llama")[1])


def test_ragged_decode_equals_scoring_each_row_whole(folder: ModelFolder) -> None:
    decoder = Decoder(folder)
    rows = [[5, 6, 7, 8, 9], [11], [3, 1, 4, 1, 5, 9, 2, 6]]
    slots = [decoder.cache.acquire([i]) for i in range(3)]
    for slot, row in zip(slots, rows, strict=True):
        prefill(decoder, slot, row[:-1])
    logits = decode(decoder, [row[-1] for row in rows]).copy()
    for row, ours in zip(rows, logits, strict=True):
        spare = decoder.cache.acquire([0])
        whole = score(decoder, spare, row)
        np.testing.assert_allclose(ours, whole[-1], atol=2e-5)
        decoder.cache.release(spare)


def test_nothing_is_bound_again_while_the_shape_stays(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(folder)
    slot = decoder.cache.acquire([1])
    prefill(decoder, slot, [1, 2])
    decode(decoder, [3])
    monkeypatch.setattr(decoder._session, "bind", lambda: pytest.fail("bound again"))
    monkeypatch.setattr(decoder._session.device, "allocate", lambda *_: pytest.fail("allocated"))
    for token in range(20):
        decode(decoder, [token])


def test_a_provider_that_copies_at_bind_is_bound_for_every_run(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(folder)
    provider = dataclasses.replace(decoder._session.provider, memory="fed")
    monkeypatch.setattr(decoder._session, "provider", provider)
    bind, made = decoder._session.bind, []
    monkeypatch.setattr(decoder._session, "bind", lambda **how: made.append(bind(**how)) or made[-1])
    slot = decoder.cache.acquire([1])
    expected = Decoder(folder)
    twin = expected.cache.acquire([1])
    assert slot is not None
    assert twin is not None
    for token in range(3, 9):
        np.testing.assert_array_equal(decode(decoder, [token]), decode(expected, [token]))
    assert len(made) == 6


def test_a_provider_that_continues_no_prompts_runs_them_from_their_beginning(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Decoder(folder)
    twin = expected.cache.acquire([1])
    decoder = Decoder(folder)
    monkeypatch.setattr(decoder, "_restarts_prompts", True)
    append, runs = decoder._append, []
    monkeypatch.setattr(
        decoder, "_append", lambda slots, rows, **how: runs.append(rows) or append(slots, rows, **how)
    )
    slot = decoder.cache.acquire([1])
    assert slot is not None
    assert twin is not None
    for each, own in ((decoder, slot), (expected, twin)):
        prefill(each, own, [5, 6, 7])
        prefill(each, own, [8, 9])
    assert runs == [[[5, 6, 7]], [[5, 6, 7, 8, 9]]]
    np.testing.assert_allclose(decode(decoder, [3]), decode(expected, [3]), atol=1e-5)
    np.testing.assert_allclose(score(decoder, slot, [4, 5, 6]), score(expected, twin, [4, 5, 6]), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_context": 0}, "max_context must be an integer, at least 1"),
        ({"max_context": True}, "max_context must be an integer"),
        ({"max_batch": 1.5}, "max_batch must be an integer"),
        ({"max_context": 10**9}, "the model's context length"),
        ({"max_batch": 0}, "max_batch must be an integer, at least 1"),
        ({"kv_cache_bytes": 3}, "not even one token"),
        ({"kv_cache_bytes": "1GB"}, "must be a number of bytes, not '1GB'"),
        ({"num_threads": 0}, "num_threads must be at least 1"),
        ({"num_threads": "2"}, "num_threads must be at least 1 and at most 1024, not '2'"),
        ({"num_threads": True}, "num_threads must be at least 1"),
        ({"provider": "cdua"}, 'Did you mean "cuda"'),
    ],
)
def test_impossible_limits_are_refused(folder: ModelFolder, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Decoder(folder, **options)  # type: ignore[arg-type]


def test_a_provider_that_is_not_there_says_what_to_install(folder: ModelFolder) -> None:
    missing = next(s.provider.name for s in provider_statuses() if s.repair)
    with pytest.raises(ProviderError, match="pip install"):
        Decoder(folder, provider=missing)


def test_auto_ends_with_the_cpu() -> None:
    assert choose_provider("auto")[-1].name == "cpu"


def test_missing_weights_are_one_clear_error(folder: ModelFolder, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder.path, broken)
    (broken / "model.onnx.data").unlink()
    with pytest.raises(ModelFolderError, match=r"model\.onnx"):
        Decoder(ModelFolder.load(broken))


def test_a_graph_without_a_cache_is_refused(folder: ModelFolder, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    broken = tmp_path / "broken"
    shutil.copytree(folder.path, broken)
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("pixels", "logits")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pixels"], ["logits"])], "g", value[:1], value[1:]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10),
        broken / "model.onnx",
    )
    with pytest.raises(ModelFolderError, match="inputs not understood: pixels"):
        Decoder(ModelFolder.load(broken))


def test_telemetry_is_turned_off_at_import() -> None:
    code = (
        "import onnxruntime\n"
        "onnxruntime.disable_telemetry_events = lambda: print('off')\n"
        "import genai\n"
        "genai.Generator"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "off\n"


@pytest.mark.skipif(sys.platform == "win32", reason="HOME is where it would write")
def test_telemetry_leaves_no_files(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    environment.pop("XDG_CACHE_HOME", None)
    subprocess.run([sys.executable, "-c", "import genai; genai.Generator"], env=environment, check=True)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in str(path)]


def test_a_missing_onnxruntime_is_explained() -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "import genai\n"
        "from genai.export import export_model\n"
        "try:\n    genai.Generator\n"
        "except genai.ProviderError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install onnxruntime" in done.stdout


def test_facts_of_the_graph_win_over_a_wrong_config(folder: ModelFolder, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder.path, copy)
    config = json.loads((copy / "genai_config.json").read_text())
    config["model"]["decoder"]["num_key_value_heads"] = 77
    (copy / "genai_config.json").write_text(json.dumps(config))
    decoder = Decoder(ModelFolder.load(copy))
    assert decoder.cache.shape.tensors == Decoder(folder).cache.shape.tensors
