from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from genai.errors import ModelFolderError
from genai.folder import StageConfig
from genai.runtime.ort import onnxruntime
from genai.runtime.session import DecoderSession
from genai.runtime.session_options import provider_options, session_options
from tests.runtime.test_any_graph import graph_of
from tests.runtime.test_graph_interface import CONFIG
from tests.runtime.tiny_graphs import shared_attention


def options_of(**values: Any) -> Any:
    return session_options(dataclasses.replace(CONFIG, session_options=values))


def test_what_a_folder_asks_for_is_set() -> None:
    options = options_of(
        intra_op_num_threads=3,
        enable_mem_pattern=False,
        graph_optimization_level="ORT_ENABLE_BASIC",
        **{"session.dynamic_block_base": "4", "session.intra_op.allow_spinning": False},
    )
    assert options.intra_op_num_threads == 3
    assert not options.enable_mem_pattern
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.get_session_config_entry("session.dynamic_block_base") == "4"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_folder_does_not_choose_where_files_are_written() -> None:
    options = options_of(enable_profiling="trace", log_id="x", **{"ep.context_file_path": "x"})
    assert not options.enable_profiling
    with pytest.raises(RuntimeError):
        options.get_session_config_entry("ep.context_file_path")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"custom_ops_library": "ops.so"}, r"library of operators \(ops\.so\)"),
        ({"graph_optimization_level": "ORT_ENABLE_AL"}, 'Did you mean "ORT_ENABLE_ALL"'),
        ({"intra_op_num_threads": "many"}, "intra_op_num_threads must be a number"),
        ({"intra_op_num_threads": -1}, "intra_op_num_threads"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFolderError, match=message):
        options_of(**values)


def test_a_stages_own_options_count_more() -> None:
    config = dataclasses.replace(CONFIG, session_options={"intra_op_num_threads": 3})
    stage = StageConfig("head", "head.onnx", (), (), session_options={"intra_op_num_threads": 2})
    assert session_options(config, [stage]).intra_op_num_threads == 2


def test_provider_options_are_those_of_the_provider_that_runs() -> None:
    config = dataclasses.replace(CONFIG, provider_options=(("cuda", {"enable_cuda_graph": "0"}),))
    assert provider_options(config, "cuda") == {"enable_cuda_graph": "0"}
    assert provider_options(config, "cpu") == {}


def test_the_caller_has_the_last_word_on_threads(tmp_path: Path) -> None:
    folder = graph_of(shared_attention).folder(tmp_path, session_options={"intra_op_num_threads": 2})
    session = DecoderSession(folder, provider="cpu", num_threads=1)
    assert session._session.get_session_options().intra_op_num_threads == 1
    session = DecoderSession(folder, provider="cpu")
    assert session._session.get_session_options().intra_op_num_threads == 2
