"""What is wrong with a folder is found by the check that is about it, and by no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from genai.errors import OptionError, ProviderError
from genai.evaluation import Report, check_folder, validate_folder
from genai.evaluation.graphs import read_graphs
from genai.evaluation.structure import check_graph, check_opset
from genai.folder import CONFIG_FILE, MANIFEST_FILE, ModelFolder
from tests.evaluation.folders import (
    DATA,
    MODEL,
    edit_config,
    edit_graph,
    edit_json,
    fill_with_nan,
    flip_byte,
    forget,
    rename_output,
    set_opset,
    sign,
    truncate,
)
from tests.export.test_parity import LONGROPE

Folders = Callable[..., tuple[Path, Path]]

CHECKS = [
    "config",
    "checksums",
    "graph",
    "opset",
    "weights",
    "interface",
    "tokenizer",
    "token_ids",
    "load",
    "run",
]


def outcome(report: Report) -> tuple[set[str], set[str]]:
    """Return the names of the checks that failed, and of those that were not made."""
    by_status = {
        status: {check.name for check in report.checks if check.status == status}
        for status in ("ok", "failed", "skipped")
    }
    assert report.is_ok == (not by_status["failed"])
    return by_status["failed"], by_status["skipped"]


def check(folder: Path) -> Report:
    return check_folder(folder, provider="cpu", num_threads=1)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_a_good_folder(model_folder: Folders, precision: str) -> None:
    report = check(model_folder("llama", precision=precision)[1])
    assert [c.name for c in report.checks] == CHECKS
    assert outcome(report) == (set(), set())
    assert (report.precision, report.provider, report.against) == (precision, "cpu", None)
    assert report.summary() == "10 checks passed"


def test_a_folder_for_another_machine_is_not_broken(model_folder: Folders) -> None:
    report = check(model_folder("llama", precision="bf16")[1])
    assert outcome(report) == (set(), {"load", "run"})
    assert "bf16" in next(c.detail for c in report.checks if c.name == "load")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "int4"])
def test_the_precision_of_a_folder_without_manifest(model_folder: Folders, precision: str) -> None:
    folder = ModelFolder.load(model_folder("llama", precision=precision)[1])
    assert read_graphs(folder).precision == precision


DAMAGES: dict[str, tuple[Callable[[Path], object], set[str], set[str], str]] = {
    "byte flipped": (flip_byte, {"checksums"}, set(), "changed since the export: model.onnx.data"),
    "tokenizer missing": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        {"checksums", "tokenizer"},
        set(),
        "missing: tokenizer.json",
    ),
    "weights missing": (
        lambda folder: (folder / DATA).unlink(),
        {"checksums", "weights"},
        {"load", "run"},
        'the file "model.onnx.data", which is not in the folder',
    ),
    "weights cut short": (
        lambda folder: (truncate(folder / DATA), sign(folder)),
        {"weights"},
        {"load", "run"},
        "it was cut short",
    ),
    "weights elsewhere": (
        lambda folder: edit_graph(folder, _move_weights),
        {"weights"},
        {"load", "run"},
        "which is not in the folder",
    ),
    "file added": (
        lambda folder: (folder / "model_q4.onnx").touch(),
        {"checksums"},
        set(),
        "not of the export: model_q4.onnx",
    ),
    "vocabulary": (
        lambda folder: edit_config(folder, vocab_size=400),
        {"interface"},
        set(),
        "logits has 331 columns, the configuration says vocab_size 400",
    ),
    "layers": (
        lambda folder: edit_config(folder, num_hidden_layers=3),
        {"interface"},
        set(),
        "a cache for 2 layers, the configuration says 3",
    ),
    "heads": (
        lambda folder: edit_config(folder, num_key_value_heads=4),
        {"interface"},
        set(),
        "num_kv_heads 2, the configuration says 4",
    ),
    "eos": (
        lambda folder: (
            edit_config(folder, eos_token_id=[2, 5000]),
            edit_json(folder / "generation_config.json", lambda values: values.pop("eos_token_id", None)),
            sign(folder),
        ),
        {"token_ids"},
        set(),
        "eos_token_id 5000 is not within the vocabulary of 331",
    ),
    "output renamed": (rename_output, {"interface", "load"}, {"run"}, "present.1.value is missing"),
    "opset": (lambda folder: set_opset(folder, 99), {"opset"}, {"load", "run"}, "till opset"),
    "operator": (
        lambda folder: edit_graph(folder, lambda model: setattr(model.graph.node[-1], "op_type", "Nonesuch")),
        {"graph", "load"},
        {"run"},
        "Nonesuch",
    ),
    "no ONNX": (
        lambda folder: ((folder / MODEL).write_text("{}"), sign(folder)),
        {"graph"},
        {"opset", "weights", "interface", "load", "run"},
        "ONNX model",
    ),
    "configuration": (
        lambda folder: (folder / CONFIG_FILE).write_text("{"),
        {"config", "checksums"},
        set(CHECKS) - {"config", "checksums"},
        "cannot be read as JSON",
    ),
    "configuration, and weights missing": (
        lambda folder: ((folder / CONFIG_FILE).write_text("{"), (folder / DATA).unlink()),
        {"config", "checksums"},
        set(CHECKS) - {"config", "checksums"},
        "missing: model.onnx.data; changed since the export: genai_config.json",
    ),
    "manifest": (
        lambda folder: (folder / MANIFEST_FILE).write_text("{"),
        {"config"},
        set(CHECKS) - {"config"},
        "cannot be read as JSON",
    ),
    "no context": (
        lambda folder: edit_config(folder, context_length=0),
        {"config"},
        set(CHECKS) - {"config", "checksums"},
        "model.context_length must be at least 1, not 0",
    ),
    "context": (
        lambda folder: edit_config(folder, context_length=257),
        {"interface"},
        set(),
        "context_length 257, but model.onnx has rotary tables for 256 positions",
    ),
    "too many caches": (
        lambda folder: edit_config(folder, num_hidden_layers=1),
        {"interface"},
        set(),
        "a cache for layer 1, the configuration has 1 layers",
    ),
    "tokenizer cut short": (
        lambda folder: (truncate(folder / "tokenizer.json"), sign(folder)),
        {"tokenizer"},
        set(),
        "cannot be read as a tokenizer",
    ),
    "tokenizer in another format": (
        lambda folder: (forget(folder, "tokenizer"), (folder / "vocab.json").write_text("{}"), sign(folder)),
        {"checksums", "tokenizer"},
        set(),
        "has no tokenizer.json, only vocab.json",
    ),
    "NaN": (fill_with_nan, {"run"}, set(), "NaN"),
    "another tokenizer": (
        lambda folder: (_add_ordinary_tokens(folder), sign(folder)),
        {"tokenizer"},
        set(),
        "it belongs to another model",
    ),
    "template": (
        lambda folder: ((folder / "chat_template.jinja").write_text("{% if %}"), sign(folder)),
        {"tokenizer"},
        set(),
        "template",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_fails_its_own_check(folder: Path, damage: str) -> None:
    act, expected, skipped, reason = DAMAGES[damage]
    act(folder)
    report = check(folder)
    assert outcome(report) == (expected, skipped)
    assert reason in report.summary()


def test_documents_may_come_and_go(folder: Path) -> None:
    (folder / "README.md").touch()
    (folder / ".gitattributes").touch()
    assert check(folder).is_ok


def test_added_tokens_may_lie_beyond_the_model(folder: Path) -> None:
    edit_json(
        folder / "tokenizer.json",
        lambda values: values["added_tokens"].extend(
            {**values["added_tokens"][0], "id": 291 + n, "content": f"<image_{n}>"} for n in range(60)
        ),
    )
    sign(folder)
    report = check(folder)
    assert report.is_ok
    detail = next(c.detail for c in report.checks if c.name == "tokenizer")
    assert "20 added tokens beyond the model's 331 rows" in detail


@pytest.mark.parametrize("forgotten", ["tokenizer", "tokenizer.json"])
def test_no_tokenizer(folder: Path, forgotten: str) -> None:
    """With tokenizer_config.json or without: settings alone are no tokenizer."""
    forget(folder, forgotten)
    report = check(folder)
    assert outcome(report) == (set(), {"tokenizer"})
    assert next(c.detail for c in report.checks if c.name == "tokenizer").endswith("it takes token ids only")


def test_learned_positions_that_begin_in_a_later_row(model_folder: Folders, tmp_path: Path) -> None:
    def shift(model: onnx.ModelProto) -> None:
        """Look position 0 up in row 2, as other exporters' OPT does."""
        nodes = model.graph.node
        index, look_up = next(
            (i, node)
            for i, node in enumerate(nodes)
            if "position_ids" in node.input and node.op_type == "Gather"
        )
        look_up.input[1] = "rows"
        model.graph.initializer.append(onnx.helper.make_tensor("two", onnx.TensorProto.INT64, [], [2]))
        nodes.insert(index, onnx.helper.make_node("Add", ["position_ids", "two"], ["rows"]))

    folder = Path(shutil.copytree(model_folder("gpt2")[1], tmp_path / "model"))
    edit_graph(folder, shift)
    report = check(folder)
    assert outcome(report)[0] == {"interface"}
    assert "context_length 256, but model.onnx has a table for 254 positions" in report.summary()
    edit_config(folder, context_length=254)
    assert outcome(check(folder)) == (set(), set())


@pytest.mark.parametrize(
    ("family", "what"), [("gpt2", "a table"), ("opt", "a table"), ("helium", "rotary tables")]
)
def test_a_context_beyond_the_table_that_positions_look_up(
    model_folder: Folders, tmp_path: Path, family: str, what: str
) -> None:
    folder = Path(shutil.copytree(model_folder(family)[1], tmp_path / "model"))
    assert outcome(check(folder)) == (set(), set())
    edit_config(folder, context_length=257)
    report = check(folder)
    assert outcome(report)[0] == {"interface"}
    assert f"context_length 257, but model.onnx has {what} for 256 positions" in report.summary()


def test_a_choice_between_rotary_tables_is_not_judged_by_their_rows(
    model_folder: Folders, tmp_path: Path
) -> None:
    exported = model_folder("phi3", rope_parameters=LONGROPE, original_max_position_embeddings=32)[1]
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    assert outcome(check(folder)) == (set(), set())
    edit_config(folder, context_length=10_000)
    assert "interface" not in outcome(check(folder))[0]
    (folder / MANIFEST_FILE).unlink()
    assert "interface" not in outcome(check(folder))[0]


@pytest.mark.parametrize("family", ["gemma3n_text", "gemma4_text"])
def test_layers_that_read_another_ones_cache(model_folder: Folders, tmp_path: Path, family: str) -> None:
    folder = Path(shutil.copytree(model_folder(family)[1], tmp_path / "model"))
    assert outcome(check(folder)) == (set(), set())
    edit_config(folder, num_hidden_layers=6)
    report = check(folder)
    assert outcome(report) == ({"interface"}, set())
    assert "a cache for 3 layers, the configuration says 6" in report.summary()


def test_layers_without_a_cache_are_noted_in_another_tools_folder(folder: Path) -> None:
    edit_config(folder, num_hidden_layers=3)
    (folder / MANIFEST_FILE).unlink()
    report = check(folder)
    assert outcome(report) == (set(), {"checksums"})
    detail = next(c.detail for c in report.checks if c.name == "interface")
    assert detail.endswith("a cache for 2 layers; the configuration says 3, of which some may share a cache")


def test_a_checkpoint_is_no_model_folder(checkpoint: Path) -> None:
    report = check(checkpoint)
    assert outcome(report) == ({"config"}, set(CHECKS) - {"config"})
    assert f"`genai export {checkpoint} -o" in report.summary()


def test_unknown_keys_are_told_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_json(folder / CONFIG_FILE, lambda values: values.update(unheard_of=1))
    sign(folder)
    assert check(folder).is_ok
    assert [record.name for record in caplog.records] == ["genai.folder"]
    ModelFolder.load(folder)
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("name", "opset"), [("SimplifiedLayerNormalization", 22), ("LayerNormalization", 14)]
)
def test_operators_that_the_runtime_defines_under_onnx_name(folder: Path, name: str, opset: int) -> None:
    def change(model: onnx.ModelProto) -> None:
        x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 4]) for n in "xy")
        weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4], [1.0] * 4)
        node = onnx.helper.make_node(name, ["x", "w"], ["y"], axis=-1)
        model.graph.CopyFrom(onnx.helper.make_graph([node], "norm", [x], [y], [weight]))
        model.opset_import[0].version = opset

    edit_graph(folder, change)
    read = ModelFolder.load(folder)
    graphs = read_graphs(read)
    assert check_graph(read, graphs).status == "ok"
    assert check_opset(graphs).status == "ok"


def test_shapes_that_are_not_those_inferred(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        name = next(node.output[0] for node in model.graph.node if node.op_type == "MatMul")
        wrong = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2, 3, 4])
        kept = [value for value in model.graph.value_info if value.name != name]
        del model.graph.value_info[:]
        model.graph.value_info.extend([*kept, wrong])

    edit_graph(folder, change)
    assert "graph" in outcome(check(folder))[0]
    (folder / MANIFEST_FILE).unlink()
    read = ModelFolder.load(folder)
    assert check_graph(read, read_graphs(read)).status == "ok"


def test_links_into_a_cache(folder: Path, tmp_path: Path) -> None:
    """Hugging Face's cache is a folder of links to files with other names, which ONNX's checker refuses by path."""
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        blob = tmp_path / f"blob{number}"
        shutil.copy(file, blob)
        (linked / file.name).symlink_to(blob)
    assert outcome(check(linked)) == (set(), set())


def test_no_folder(tmp_path: Path) -> None:
    report = check(tmp_path / "nowhere")
    assert outcome(report) == ({"config"}, set(CHECKS) - {"config"})


def test_impossible_providers(folder: Path) -> None:
    with pytest.raises(OptionError, match="gpu"):
        check_folder(folder, provider="gpu")
    with pytest.raises(ProviderError, match="cuda"):
        check_folder(folder, provider="cuda")
    with pytest.raises(ProviderError, match="is not there"):
        check_folder(folder, provider_library="/none.so")


@pytest.mark.parametrize("check", [check_folder, validate_folder])
def test_what_it_runs_on_is_the_generators_choice(folder: Path, check: Callable[..., Report]) -> None:
    with pytest.raises(OptionError, match='device_id must be 0 for provider "cpu", not 1'):
        check(folder, provider="cpu", device_id=1)
    with pytest.raises(OptionError, match="strict must be True or False, not 'yes'"):
        check(folder, strict="yes")
    with pytest.raises(OptionError, match=r'unknown option "num_thread"\. Did you mean "num_threads"\?'):
        check(folder, num_thread=1)


@pytest.mark.parametrize(("missing", "num_skipped"), [("torch", 0), ("onnxruntime", 3)])
def test_what_is_not_needed_may_be_missing(folder: Path, missing: str, num_skipped: int) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None; sys.modules['transformers'] = None\n"
        "from genai.evaluation import check_folder\n"
        f"report = check_folder({str(folder)!r})\n"
        "print(report.is_ok, report.count('skipped'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == f"True {num_skipped}\n"


def _move_weights(model: object) -> None:
    for tensor in model.graph.initializer:  # type: ignore[attr-defined]
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../model/model.onnx.data"


def _add_ordinary_tokens(folder: Path) -> None:
    def change(values: dict[str, dict[str, dict[str, int]]]) -> None:
        vocabulary = values["model"]["vocab"]
        vocabulary.update({f"token{i}": i for i in range(len(vocabulary) + 10, 340)})

    edit_json(folder / "tokenizer.json", change)
