from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.errors import ModelFolderError, OptionError
from genai.folder.graph_files import check_is_decoder, choose_graph, companions_of, find_graphs

SUFFIXES = {
    "": "fp32",
    "_fp16": "fp16",
    "_q4": "q4",
    "_q4f16": "q4f16",
    "_int8": "int8",
    "_uint8": "uint8",
    "_quantized": "q8",
    "_bnb4": "bnb4",
}
EVERY = [f"onnx/model{suffix}.onnx" for suffix in SUFFIXES]


def chosen(names: list[str], **options: str) -> str:
    return choose_graph(find_graphs(names), source="owner/name", **options).path


def test_every_variant_by_the_name_that_transformers_js_gives_it() -> None:
    for suffix, variant in SUFFIXES.items():
        assert chosen(EVERY, variant=variant) == f"onnx/model{suffix}.onnx"
    assert chosen(EVERY, variant="quantized") == "onnx/model_quantized.onnx"


@pytest.mark.parametrize(
    ("present", "on_cpu", "on_gpu"),
    [
        (list(SUFFIXES), "_q4", "_q4f16"),
        (["", "_fp16", "_int8", "_quantized"], "_quantized", "_fp16"),
        (["", "_fp16", "_uint8", "_int8"], "_int8", "_fp16"),
        (["", "_fp16", "_q4f16", "_bnb4"], "", "_q4f16"),
        (["_fp16", "_q4f16", "_O3"], "_O3", "_q4f16"),
        (["_fp16", "_q4f16"], "_q4f16", "_q4f16"),
        (["_fp16"], "_fp16", "_fp16"),
        (["", "_q4", "_quantized"], "_q4", "_q4"),
    ],
)
def test_the_default_suits_the_provider(present: list[str], on_cpu: str, on_gpu: str) -> None:
    names = [f"onnx/model{suffix}.onnx" for suffix in present]
    assert chosen(names) == chosen(names, provider="openvino") == f"onnx/model{on_cpu}.onnx"
    assert chosen(names, provider="CUDA") == chosen(names, provider="directml") == f"onnx/model{on_gpu}.onnx"


def test_an_absent_variant_names_those_that_there_are() -> None:
    with pytest.raises(
        OptionError, match=r'owner/name has no variant "q4f61"; it has fp32, q4f16\. Did you mean "q4f16"'
    ):
        chosen(["onnx/model.onnx", "onnx/model_q4f16.onnx"], variant="q4f61")


def test_which_of_several_graphs_of_a_variant() -> None:
    merged, with_past, alone = (
        "decoder_model_merged.onnx",
        "decoder_with_past_model.onnx",
        "decoder_model.onnx",
    )
    assert chosen([merged, with_past, alone]) == merged
    assert chosen([with_past, alone]) == with_past
    assert chosen([merged, "model.onnx", "onnx/model.onnx"]) == "model.onnx"
    assert find_graphs([alone, "model.onnx.data", "sub/model.onnx", "model-q4.onnx", "my_model.onnx"]) == ()


@given(st.sets(st.sampled_from(sorted(SUFFIXES)), min_size=1), st.sampled_from(["cpu", "cuda"]))
def test_half_precision_runs_on_a_processor_only_where_nothing_else_is(
    present: set[str], provider: str
) -> None:
    path = chosen([f"onnx/model{suffix}.onnx" for suffix in present], provider=provider)
    if provider == "cpu" and present - {"_fp16", "_q4f16"}:
        assert not path.endswith("16.onnx")
    assert path in {f"onnx/model{suffix}.onnx" for suffix in present}


def test_weights_go_with_their_graph() -> None:
    names = [
        *EVERY,
        *(
            "onnx/model.onnx_data",
            "onnx/model_q4.onnx_data",
            "onnx/model_q4.onnx_data_1",
            "onnx/model_q4f16.onnx_data",
        ),
        *(
            "onnx/model_q4.onnx_data_10",
            "model_q4.onnx_data",
            "onnx/sub/model_q4.onnx_data",
            "onnx/model_int8.onnx.data",
        ),
    ]
    graphs = {graph.variant: companions_of(graph, names) for graph in find_graphs(names)}
    assert graphs["q4"] == [
        "onnx/model_q4.onnx_data",
        "onnx/model_q4.onnx_data_1",
        "onnx/model_q4.onnx_data_10",
    ]
    assert graphs["int8"] == ["onnx/model_int8.onnx.data"]
    assert graphs["q4f16"] == ["onnx/model_q4f16.onnx_data"]
    assert graphs["fp16"] == []


def test_weights_in_a_file_per_tensor() -> None:
    tensors = ["model.layers.0.mlp.weight", "onnx__MatMul_77"]
    others = ["config.json", "model.safetensors", "README.md", "decoder_model_merged.onnx_data", "vocab.txt"]
    (graph,) = find_graphs(["model.onnx"])
    assert companions_of(graph, ["model.onnx", *tensors, *others]) == tensors


@pytest.mark.parametrize("part", ["encoder_model", "embed_tokens_q4", "vision_encoder_fp16"])
def test_a_model_of_several_parts_is_refused(part: str) -> None:
    with pytest.raises(ModelFolderError, match=rf"x is more than a text decoder \(it has {part}\)"):
        check_is_decoder([f"onnx/{part}.onnx", "onnx/decoder_model_merged.onnx"], source="x")
    check_is_decoder(["onnx/model.onnx", "onnx/encoder_model.json"], source="x")
