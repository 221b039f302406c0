from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.errors import CheckpointError, ModelFolderError, OptionError
from genai.hub.selection import select_files

TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


def select(*names: str, **options: object):
    return select_files(names, source="owner/name", **options)


def test_a_checkpoint_without_duplicates():
    selection = select(
        ".gitattributes", "README.md", "config.json", "consolidated.safetensors", "model.fp16.safetensors",
        "model.safetensors", "original/consolidated.00.pth", "original/config.json",
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


JS = [
    *(
        "config.json",
        "generation_config.json",
        *TOKENIZER,
        "quantize_config.json",
        "README.md",
        ".gitattributes",
    ),
    *("onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_q4.onnx", "onnx/model_q4.onnx_data"),
    *(
        "onnx/model_q4.onnx_data_1",
        "onnx/model_q4f16.onnx",
        "onnx/model_fp16.onnx",
        "onnx/model_fp16.onnx_data",
    ),
]
SMALL = {"config.json", "generation_config.json", *TOKENIZER}


def test_one_variant_of_a_transformers_js_repository():
    selection = select(*JS)
    assert (selection.is_model_folder, selection.variant) == (True, "q4")
    weights = ("onnx/model_q4.onnx", "onnx/model_q4.onnx_data", "onnx/model_q4.onnx_data_1")
    assert set(selection.files) == {*SMALL, *weights}
    assert set(select(*JS, provider="cuda").files) == {*SMALL, "onnx/model_q4f16.onnx"}
    fp32 = select(*JS, variant="fp32")
    assert set(fp32.files) == {*SMALL, "onnx/model.onnx", "onnx/model.onnx_data"}
    with pytest.raises(OptionError, match='owner/name has no variant "int8"; it has fp16, fp32, q4, q4f16'):
        select(*JS, variant="int8")


def test_onnx_files_beside_safetensors_are_run_unless_an_export_is_wanted():
    names = [*JS, "model.safetensors"]
    assert select(*names).variant == "q4"
    for options in ({"prefer_checkpoint": True}, {"checkpoint": True}):
        selection = select(*names, **options)
        assert not selection.is_model_folder
        assert set(selection.files) == {*SMALL, "model.safetensors"}
    assert select(*JS, prefer_checkpoint=True).is_model_folder


def test_a_variant_where_there_is_no_choice():
    for names in (["genai_config.json", "model.onnx"], ["config.json", "model.safetensors"]):
        with pytest.raises(OptionError, match='owner/name has no variant "q4": variants are for'):
            select(*names, variant="q4")
    with pytest.raises(ModelFolderError, match="more than a text decoder"):
        select("config.json", "onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx")


def test_the_folder_onnx_alone_is_no_model():
    with pytest.raises(ModelFolderError, match="name the repository without :onnx, and choose with variant"):
        select(*JS, subfolder="onnx")


def test_onnx_files_in_a_subfolder_of_the_repository():
    selection = select(*(f"sub/{name}" for name in JS), "config.json", "onnx/model_q4.onnx", subfolder="sub")
    assert set(selection.files) <= {f"sub/{name}" for name in JS}
    assert selection.variant == "q4"


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


def test_weights_of_pytorch_where_there_are_no_safetensors():
    others = ("config.json", "training_args.bin", "optimizer.bin", "tf_model.h5")
    assert select(*others, "pytorch_model.bin").files == ("config.json", "pytorch_model.bin")
    parts = [f"pytorch_model-0000{part}-of-00002.bin" for part in (1, 2)]
    index = "pytorch_model.bin.index.json"
    assert select(*others, *parts, index).files == ("config.json", index, *parts)
    assert select(*others, *parts, index, "model.safetensors").files == ("config.json", "model.safetensors")
    with pytest.raises(CheckpointError, match="parts of the bin are missing: 2 of 2"):
        select(*others, parts[0], index)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (
            ["config.json", "tf_model.h5"],
            CheckpointError,
            r"no safetensors, only tf_model\.h5; .*save_pre",
        ),
        (["config.json"], CheckpointError, "no weights at all"),
        (["README.md"], ModelFolderError, "holds no language model"),
        (
            ["x.gguf", "y.gguf"],
            ModelFolderError,
            "2 GGUF files; name one of them: owner/name:x.gguf, owner/name:y",
        ),
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


def test_a_gguf_file_that_is_named_or_alone():
    names = ["config.json", "README.md", "mmproj-x.gguf", "x-Q4_K_M.gguf"]
    alone = select_files(names, source="owner/name")
    assert (alone.files, alone.gguf_file, alone.is_model_folder) == (
        ("x-Q4_K_M.gguf",),
        "x-Q4_K_M.gguf",
        False,
    )
    named = select_files([*names, "q8/y.gguf"], source="owner/name:q8/y.gguf", subfolder="q8/y.gguf")
    assert named.files == ("q8/y.gguf",)
    assert select_files([*names, "model.safetensors"], source="owner/name").gguf_file is None
    with pytest.raises(ModelFolderError, match=r'owner/name has no file "z.gguf"; there are x-Q4_K_M.gguf'):
        select_files(names, source="owner/name:z.gguf", subfolder="z.gguf")


def test_all_parts_of_a_gguf_file():
    parts = ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"]
    for subfolder in (None, *parts):
        assert select_files(parts, source="owner/name", subfolder=subfolder).files == tuple(parts)
    with pytest.raises(ModelFolderError, match="x-00002-of-00002"):
        select_files(parts[:1], source="owner/name")


def test_a_model_folder_comes_with_its_adapters() -> None:
    names = [
        "genai_config.json",
        "model.onnx",
        "adapters/sql.safetensors",
        "adapters/notes.txt",
        "x.safetensors",
    ]
    found = select_files(names, source="owner/name")
    assert set(found.files) == {"genai_config.json", "model.onnx", "adapters/sql.safetensors"}
