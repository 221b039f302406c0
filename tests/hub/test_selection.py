from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.errors import CheckpointError, ModelFolderError
from genai.hub.selection import select_files

TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


def select(*names: str, **options: object):
    return select_files(names, source="owner/name", **options)


def test_a_checkpoint_without_duplicates():
    selection = select(
        ".gitattributes", "README.md", "config.json", "consolidated.safetensors", "model.fp16.safetensors",
        "model.safetensors", "onnx/model.onnx", "original/consolidated.00.pth", "original/config.json",
        "pytorch_model.bin", "rust_model.ot", *TOKENIZER,
    )  # fmt: skip
    assert set(selection.files) == {"config.json", "model.safetensors", *TOKENIZER}
    assert not selection.is_model_folder


def test_shards_and_their_index():
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    selection = select("config.json", "model.safetensors.index.json", "consolidated.safetensors", *shards)
    assert set(selection.files) == {"config.json", "model.safetensors.index.json", *shards}


def test_missing_shards():
    with pytest.raises(CheckpointError, match="owner/name: parts of the safetensors are missing: 2 of 3"):
        select("config.json", "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors")


def test_unusual_names_of_weights():
    assert (
        "weights.safetensors"
        in select("config.json", "weights.safetensors", "adapter_model.safetensors").files
    )


def test_a_model_folder_runs_as_it_is():
    names = ["genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "README.md"]
    others = ["model.safetensors", "model.gguf", "original/model.onnx"]
    selection = select(*names, *others, "config.json")
    assert selection.is_model_folder
    assert set(selection.files) == {*names, "config.json"} - {"README.md"}


@pytest.mark.parametrize("folder", ["", "sub/"])
def test_named_chat_templates_come_along(folder: str):
    names = [f"{folder}{name}" for name in ("additional_chat_templates/tool_use.jinja", "config.json")]
    weights = f"{folder}model.safetensors"
    subfolder = folder.strip("/") or None
    others = ["other/additional_chat_templates/rag.jinja", f"{folder}additional_chat_templates/x.py"]
    assert set(select(*names, *others, weights, subfolder=subfolder).files) == {*names, weights}
    model = [f"{folder}genai_config.json", f"{folder}model.onnx"]
    assert set(select(*names, *others, *model, subfolder=subfolder).files) == {*names, *model}


def test_a_model_folder_in_a_subfolder():
    names = [
        "cpu/int4/genai_config.json",
        "cpu/int4/model.onnx",
        "cuda/model.onnx",
        "config.json",
        "README.md",
    ]
    selection = select(*names, subfolder="cpu/int4")
    assert selection.files == ("cpu/int4/genai_config.json", "cpu/int4/model.onnx")
    with pytest.raises(ModelFolderError, match='no such folder: the folder "cpu/int8" of owner/name'):
        select(*names, subfolder="cpu/int8")


def test_the_checkpoint_is_chosen_for_an_export():
    names = ["genai_config.json", "model.onnx", "model.safetensors", "config.json"]
    assert select(*names, checkpoint=True).files == ("config.json", "model.safetensors")
    with pytest.raises(ModelFolderError, match="not a checkpoint to export"):
        select("genai_config.json", "model.onnx", checkpoint=True)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (
            ["config.json", "pytorch_model.bin"],
            CheckpointError,
            "no safetensors, only pytorch_model.bin; .*save_pre",
        ),
        (["config.json"], CheckpointError, "no weights at all"),
        (["README.md"], ModelFolderError, "holds no language model"),
        (["x.gguf"], ModelFolderError, "GGUF"),
        (["cpu/genai_config.json", "README.md"], ModelFolderError, "model folders at :cpu"),
    ],
)
def test_nothing_to_run(names: list[str], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        select(*names)


@given(
    st.lists(st.sampled_from(["a.bin", "b.txt", "x/model.safetensors", "x/config.json", ".x", "model.pt"]))
)
def test_nothing_outside_the_folder_is_ever_chosen(extra: list[str]):
    chosen = select("config.json", "model.safetensors", *extra).files
    assert set(chosen) == {"config.json", "model.safetensors"}
