"""Prompts in 8 bits: the second graph computes what the first does, as closely as 8 bits tell it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from genai import Generator
from genai.errors import OptionError
from genai.folder import ModelFolder
from genai.model import Span
from genai.quantize import BlockScheme, dequantize_rows, quantize_rows
from genai.runtime import Decoder, batch_decoding, eight_bit_graph, eight_bit_weights, session
from genai.runtime import decoder as decoder_module
from genai.runtime.adapt import WEIGHTS_MIDDLE, cut_early, external_locations, to_eight_bit_products
from genai.runtime.adapted_graph import AdaptedGraph
from genai.runtime.batch_decoding import BatchDecoding
from genai.runtime.decoding import Decoding
from genai.runtime.eight_bit_weights import write_eight_bit_weights
from tests.spans import decode, prefill, score

Folders = Callable[..., tuple[Path, Path]]
Floats = npt.NDArray[np.float32]

INPUTS = 80
SCHEMES = [
    BlockScheme(4, 16),
    BlockScheme(4, 32, is_symmetric=False),
    BlockScheme(4, 64, is_symmetric=False),  # the last block is not full
    BlockScheme(8, 16),
    BlockScheme(8, 32),
]


class Products:
    """A graph under construction, with the weights that its products stand for."""

    def __init__(self, *, opset: int = 21) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.opset = opset
        self.random = np.random.default_rng(0)

    def multiply(
        self, x: str, output: str, *, inputs: int, outputs: int, scheme: BlockScheme, bias: bool = False
    ) -> Floats:
        """Add a MatMulNBits; return the matrix, float32 [outputs, inputs]."""
        rows = self.random.standard_normal((outputs, inputs)).astype(np.float32)
        rows[0] = 0
        made = quantize_rows(rows, scheme)
        operands = [x, f"{output}.codes", f"{output}.scales"]
        tensors: list[npt.NDArray[Any]] = [made.codes, made.scales.reshape(-1)]
        if made.zero_points is not None:
            operands.append(f"{output}.points")
            tensors.append(made.zero_points.reshape(-1))
        if bias:
            operands += [""] * (5 - len(operands)) + [f"{output}.bias"]
            tensors.append(np.full(outputs, 0.5, np.float32))
        for name, tensor in zip([name for name in operands[1:] if name], tensors, strict=True):
            self.initializers.append(numpy_helper.from_array(tensor, name))
        attributes = {"K": inputs, "N": outputs, "bits": scheme.bits, "block_size": scheme.block_size}
        self.add("MatMulNBits", operands, [output], domain="com.microsoft", accuracy_level=4, **attributes)
        return dequantize_rows(
            made.codes, made.scales, scheme, num_columns=inputs, zero_points=made.zero_points
        )

    def add(self, op_type: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op_type, inputs, outputs, **attributes))

    def model(self, output: str) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "products",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "positions", INPUTS])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.initializers,
        )
        domains = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=10)


def rows_of_all_sizes() -> Floats:
    """Rows whose magnitudes differ by far, one of them of zeros: float32 [2, 3, inputs]."""
    rows = np.random.default_rng(1).standard_normal((2, 3, INPUTS)).astype(np.float32)
    return rows * np.array([[[1e-6], [1], [1e4]], [[0], [3], [50]]], np.float32)


def run_in_eight_bits(model: ModelProto, x: Floats, folder: Path) -> tuple[Floats, list[str]]:
    """Return what the graph gives when its products are of 8 bits, and its operators."""
    matrices = to_eight_bit_products(model)
    made = write_eight_bit_weights(matrices, folder / "weights", weights=folder)
    model.graph.initializer.extend(made)
    for entry in external_locations(model.graph):
        entry.value = Path(entry.value).name
    onnx.load_external_data_for_model(model, str(folder))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0], [node.op_type for node in model.graph.node]


def assert_close_by_row(ours: Floats, expected: Floats, *, within: float) -> None:
    """See that each row is off by no more than a part of its own length."""
    assert np.isfinite(ours).all()
    errors = np.linalg.norm(ours - expected, axis=-1)
    assert (errors <= within * np.linalg.norm(expected, axis=-1)).all()


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("opset", [17, 21])
def test_a_product(scheme: BlockScheme, opset: int, tmp_path: Path) -> None:
    made = Products(opset=opset)
    matrix = made.multiply("x", "y", inputs=INPUTS, outputs=24, scheme=scheme)
    x = rows_of_all_sizes()
    ours, operators = run_in_eight_bits(made.model("y"), x, tmp_path)
    assert "MatMulNBits" not in operators
    assert_close_by_row(ours, x @ matrix.T, within=0.015)


@pytest.mark.parametrize("middle", [np.int8(0), np.uint8(128)], ids=["int8", "uint8"])
def test_weights_of_either_type_stand_for_the_same(
    middle: np.int8 | np.uint8, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eight_bit_weights, "exact_middle", lambda: middle)
    made = Products()
    rows = made.multiply("x", "y", inputs=INPUTS, outputs=24, scheme=SCHEMES[1])
    (matrix,) = to_eight_bit_products(made.model("y"))
    first, _, scales = write_eight_bit_weights([matrix], tmp_path / "weights", weights=tmp_path)
    assert first.name == WEIGHTS_MIDDLE
    codes = np.fromfile(tmp_path / "weights", middle.dtype).reshape(INPUTS, 24)
    found = (codes.astype(np.float32) - np.float32(middle)) * numpy_helper.to_array(scales)
    np.testing.assert_allclose(found.T, rows, atol=np.abs(rows).max() / 250)


def test_products_of_one_input_round_it_once_and_a_bias_is_added(tmp_path: Path) -> None:
    made = Products()
    first = made.multiply("x", "a", inputs=INPUTS, outputs=24, scheme=SCHEMES[1], bias=True)
    second = made.multiply("x", "b", inputs=INPUTS, outputs=24, scheme=SCHEMES[4])
    made.add("Add", ["a", "b"], ["y"])
    x = rows_of_all_sizes()
    ours, operators = run_in_eight_bits(made.model("y"), x, tmp_path)
    assert operators.count("QuantizeLinear") == 1
    assert_close_by_row(ours - 0.5, x @ (first + second).T, within=0.02)


@pytest.mark.parametrize("reads_up_twice", [False, True])
def test_a_gated_block(reads_up_twice: bool, tmp_path: Path) -> None:
    made = Products()
    gate_up = made.multiply("x", "gate_up", inputs=INPUTS, outputs=96, scheme=SCHEMES[1])
    made.add("Split", ["gate_up"], ["gate", "up"], axis=-1, num_outputs=2)
    made.add("Sigmoid", ["gate"], ["active"])
    made.add("Mul", ["active", "up"], ["hidden"])
    if reads_up_twice:
        made.add("Add", ["hidden", "up"], ["read"])
    down = made.multiply(
        "read" if reads_up_twice else "hidden", "y", inputs=48, outputs=24, scheme=SCHEMES[0]
    )
    x = rows_of_all_sizes()
    ours, operators = run_in_eight_bits(made.model("y"), x, tmp_path)
    assert ("Split" in operators) == reads_up_twice
    gate, up = np.split(x @ gate_up.T, 2, axis=-1)
    with np.errstate(over="ignore"):
        hidden = up / (1 + np.exp(-gate)) + (up if reads_up_twice else 0)
    # A gate of a row 1e4 times as large as others is all or nothing, and may fall to the other side.
    assert_close_by_row(ours[:, :2], (hidden @ down.T)[:, :2], within=0.04)


def test_what_is_not_known_to_be_cut_in_the_middle_is_no_gated_block(tmp_path: Path) -> None:
    """Along another axis, or into parts of other sizes."""
    x = rows_of_all_sizes()
    for sizes, axis in (([32, 16], -1), ([1, 1], 0)):
        made = Products()
        matrix = made.multiply("x", "gate_up", inputs=INPUTS, outputs=48, scheme=SCHEMES[1])
        made.initializers.append(numpy_helper.from_array(np.array(sizes), "sizes"))
        made.add("Split", ["gate_up", "sizes"], ["gate", "up"], axis=axis)
        made.add("ReduceSum", ["gate", "axes"], ["total"])
        made.initializers.append(numpy_helper.from_array(np.array([-1]), "axes"))
        made.add("Mul", ["total", "up"], ["hidden"])
        down = made.multiply("hidden", "y", inputs=sizes[1] if axis else 48, outputs=24, scheme=SCHEMES[0])
        ours, operators = run_in_eight_bits(made.model("y"), x, tmp_path)
        assert "Split" in operators
        gate, up = np.split(x @ matrix.T, [sizes[0]], axis=axis)
        expected = (gate.sum(-1, keepdims=True) * up) @ down.T
        np.testing.assert_allclose(ours, expected, atol=0.05 * np.abs(expected).max())


def test_many_rows_without_the_number_of_bits_and_with_negative_scales(tmp_path: Path) -> None:
    made = Products()
    matrix = made.multiply("x", "y", inputs=INPUTS, outputs=300, scheme=SCHEMES[0])
    assert any((numpy_helper.to_array(tensor) < 0).any() for tensor in made.initializers)
    (bits,) = (each for each in made.nodes[0].attribute if each.name == "bits")
    made.nodes[0].attribute.remove(bits)  # 4 is the default
    x = rows_of_all_sizes()
    ours, _ = run_in_eight_bits(made.model("y"), x, tmp_path)
    assert_close_by_row(ours, x @ matrix.T, within=0.015)


def test_a_matrix_that_two_products_share(tmp_path: Path) -> None:
    made = Products()
    matrix = made.multiply("x", "a", inputs=INPUTS, outputs=INPUTS, scheme=SCHEMES[1])
    again = onnx.NodeProto()
    again.CopyFrom(made.nodes[0])
    again.input[0], again.output[0] = "a", "y"
    made.nodes.append(again)
    x = rows_of_all_sizes()
    ours, _ = run_in_eight_bits(made.model("y"), x, tmp_path)
    assert_close_by_row(ours, x @ matrix.T @ matrix.T, within=0.03)


def test_products_that_ask_for_floats_stay() -> None:
    made = Products()
    made.multiply("x", "y", inputs=INPUTS, outputs=24, scheme=SCHEMES[0])
    (level,) = (each for each in made.nodes[0].attribute if each.name == "accuracy_level")
    level.i = 1
    model = made.model("y")
    assert to_eight_bit_products(model) == []
    assert [node.op_type for node in model.graph.node] == ["MatMulNBits"]


@pytest.fixture(scope="module")
def folder(model_folder: Folders) -> ModelFolder:
    return ModelFolder.load(model_folder("llama", precision="int8")[1])


def logits_after(decoder: Decoder, prompts: list[list[int]]) -> Floats:
    slots = [decoder.cache.acquire([i]) for i in range(len(prompts))]
    for slot, prompt in zip(slots, prompts, strict=True):
        prefill(decoder, slot, prompt[:-1])
    return decode(decoder, [prompt[-1] for prompt in prompts]).copy()


def test_a_decoder_reads_prompts_in_eight_bits_and_everything_else_as_before(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another kernel would round otherwise.
    monkeypatch.setattr(session, "attend_plainly", lambda *_, **__: None)
    prompts = [[5, 6, 7, 8, 9, 4, 2], [11, 3], [3, 1, 4, 1, 5, 9, 2, 6]]
    plain, decoder = Decoder(folder, optimize_for="memory"), Decoder(folder, optimize_for="speed")
    assert plain._prompts is plain._session
    assert decoder._prompts is not decoder._session
    assert decoder._prompts.facts.in_eight_bits
    expected, ours = logits_after(plain, prompts), logits_after(decoder, prompts)
    assert not np.array_equal(ours, expected)
    np.testing.assert_allclose(ours, expected, atol=0.05 * np.abs(expected).max())
    scored = [score(each, each.cache.acquire([9]), prompts[0]).copy() for each in (decoder, plain)]
    np.testing.assert_array_equal(*scored)


def test_behind_a_long_past_fewer_tokens_run_at_a_time(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(folder, optimize_for="speed")
    monkeypatch.setattr(decoder_module, "MAX_SCORE_BYTES", 4 * folder.decoder.num_heads * 16 * 32)
    monkeypatch.setattr(decoder_module, "LEAST_CHUNK", 4)
    lengths: list[int] = []
    append = Decoder._append

    def note(self: Decoder, slots: Any, rows: Any, **options: Any) -> Any:
        lengths.extend(map(len, rows))
        return append(self, slots, rows, **options)

    monkeypatch.setattr(Decoder, "_append", note)
    prompt = np.random.default_rng(0).integers(3, 50, 60).tolist()
    slot = decoder.cache.acquire([])
    prefill(decoder, slot, prompt)
    assert slot.token_ids == prompt
    assert len(lengths) > 4
    assert all(
        size <= 4 or size * past <= 16 * 32 for size, past in zip(lengths, accumulate(lengths), strict=True)
    )
    lengths.clear()
    whole = Decoder(folder, optimize_for="memory")
    assert whole.cache.acquire([]) is not None
    prefill(whole, whole.cache.slots[0], prompt)
    assert lengths == [60]


def test_auto_keeps_one_graph_where_weights_are_few_or_memory_is_short(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_two() -> bool:
        decoder = Decoder(folder)
        return decoder._prompts is not decoder._session

    assert not has_two()
    monkeypatch.setattr(eight_bit_graph, "_LEAST_BYTES", 0)
    assert has_two()
    for free in (1000, 0):
        monkeypatch.setattr(eight_bit_graph, "free_host_bytes", lambda free=free: free)
        assert not has_two()
    monkeypatch.setattr(eight_bit_graph, "free_host_bytes", lambda: None)
    assert has_two()


def test_no_room_for_the_weights_is_a_warning(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(eight_bit_weights, "write_eight_bit_weights", full)
    decoder = Decoder(folder, optimize_for="speed")
    assert decoder._prompts is decoder._session
    assert "No space left" in caplog.text


def test_the_weights_that_were_made_are_gone_when_the_model_is_there(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    decoder = Decoder(folder, optimize_for="speed")
    assert decoder._prompts is not decoder._session
    assert not list(tmp_path.iterdir())


def test_unquantized_models_have_one_graph(model_folder: Folders) -> None:
    decoder = Decoder(ModelFolder.load(model_folder("llama")[1]), optimize_for="speed")
    assert decoder._prompts is decoder._session


def test_another_goal_is_refused() -> None:
    with pytest.raises(OptionError, match='Did you mean "speed"'):
        Generator("no/such/model", optimize_for="sped")  # before anything is looked for


def test_a_batch_equals_each_of_its_prompts_alone(folder: ModelFolder) -> None:
    prompts = [[5, 6, 7, 8, 9, 4, 2], [11, 3, 7], [3, 1, 4, 1, 5, 9, 2, 6]]
    with Generator(folder, optimize_for="speed") as generator:
        together = generator.generate(token_ids=prompts, max_new_tokens=6)
    for prompt, result in zip(prompts, together, strict=True):
        with Generator(folder, optimize_for="speed") as generator:
            assert generator.generate(token_ids=prompt, max_new_tokens=6).token_ids == result.token_ids


FAMILIES = [
    "llama",
    "qwen2",
    "gemma2",
    "gemma3_text",
    "gpt_oss",
    "granitemoehybrid",
    "mixtral",
    "olmo2",
    "phi3",
]


@pytest.fixture
def always_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the graph in 8 bits be worth it for two rows and more, however long it takes."""
    monkeypatch.setattr(batch_decoding, "TRIED_ROWS", (2,))
    monkeypatch.setattr(batch_decoding, "WORTHWHILE", 0.0)


@pytest.mark.usefixtures("always_many")
@pytest.mark.parametrize("family", FAMILIES)
def test_many_rows_decode_in_eight_bits(model_folder: Folders, family: str) -> None:
    folder = ModelFolder.load(model_folder(family, precision="int4")[1])
    prompts = [[5, 6, 7, 8, 9, 4, 2], [11, 3, 7], [3, 1, 4, 1, 5, 9, 2, 6]]
    plain, decoder = Decoder(folder, optimize_for="memory"), Decoder(folder, optimize_for="speed")
    assert isinstance(decoder._decoding, BatchDecoding)
    expected, ours = logits_after(plain, prompts), logits_after(decoder, prompts)
    assert decoder._decoding._least_rows == 2
    assert np.linalg.norm(ours - expected) < 0.1 * np.linalg.norm(expected)
    assert [slot.token_ids for slot in decoder.cache.slots] == [slot.token_ids for slot in plain.cache.slots]


def test_which_graph_decodes_is_found_by_trying_and_then_stays(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"few": 3.0, "many": 1.0}
    tried: list[tuple[str, int]] = []

    def measure(run: Callable[[], object]) -> float:
        rehearsed.clear()
        run()
        ((name, count),) = rehearsed
        tried.append((name, count))
        return seconds[name] if count > 2 else 1.0

    monkeypatch.setattr(batch_decoding, "_seconds", measure)
    monkeypatch.setattr(batch_decoding, "TRIED_ROWS", (2, 4))
    decoder = Decoder(folder, optimize_for="speed")
    assert isinstance(decoder._decoding, BatchDecoding)
    rehearsed: list[tuple[str, int]] = []
    steps: list[str] = []

    def note(name: str, decoding: Decoding) -> None:
        step, rehearse = decoding.step, decoding.rehearse

        def noted_step(spans: Any, **options: Any) -> Any:
            steps.append(name)
            return step(spans, **options)

        def noted_rehearse(slots: Any) -> Any:
            rehearsed.append((name, len(slots)))
            return rehearse(slots)

        monkeypatch.setattr(decoding, "step", noted_step)
        monkeypatch.setattr(decoding, "rehearse", noted_rehearse)

    note("few", decoder._decoding._few)
    note("many", decoder._decoding._many)
    slots = [decoder.cache.acquire([index]) for index in range(4)]
    for slot in slots:
        prefill(decoder, slot, [5, 6, 7])
    spans = [Span(slot, [8], 1) for slot in slots]
    for count in (1, 2, 3, 4, 3, 4):
        decoder.run(spans[:count])
    assert tried == [("few", 2), ("many", 2), ("few", 4), ("many", 4)]
    assert steps == ["few", "few", "few", "many", "few", "many"]


@pytest.mark.parametrize("family", ["llama", "granitemoehybrid"])
def test_a_trial_appends_nothing(model_folder: Folders, family: str) -> None:
    """Nor does it change a state of fixed size."""
    folder = ModelFolder.load(model_folder(family, precision="int4")[1])
    prompts = [[5, 6, 7, 8, 9, 4, 2], [11, 3, 7]]
    decoder, other = (Decoder(folder, optimize_for="speed") for _ in range(2))
    for each in (decoder, other):
        for prompt in prompts:
            prefill(each, each.cache.acquire([prompt[0]]), prompt[:-1])
    assert isinstance(decoder._decoding, BatchDecoding)
    before = [list(slot.token_ids) for slot in decoder.cache.slots]
    for decoding in (decoder._decoding._few, decoder._decoding._many):
        decoding.rehearse(decoder.cache.slots)
    assert [slot.token_ids for slot in decoder.cache.slots] == before
    np.testing.assert_array_equal(decode(decoder, [2, 7]), decode(other, [2, 7]))


@pytest.mark.parametrize("max_batch", [5, 6, 15, 16])
def test_warming_up_leaves_nothing_to_try(
    folder: ModelFolder, max_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_decoding, "WORTHWHILE", float("inf"))
    with Generator(folder, optimize_for="speed", max_batch=max_batch) as generator:
        decoder = generator._decoder
        assert decoder.num_untried_rows == {5: 0, 6: 6, 15: 6, 16: 16}[max_batch]
        generator.warm_up()
        assert decoder.num_untried_rows == 0
        assert not decoder.cache.num_in_use


def test_who_runs_few_rows_alone_has_no_second_head(folder: ModelFolder) -> None:
    decoder = Decoder(folder, optimize_for="speed", max_batch=batch_decoding.LEAST_ROWS - 1)
    assert decoder._prompts.facts.in_eight_bits
    assert decoder._prompts.head is None


@pytest.mark.usefixtures("always_many")
def test_no_room_for_the_head_leaves_batches_to_the_first_graph(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = [[5, 6, 7, 8, 9, 4, 2], [11, 3, 7]]
    plain, decoder = Decoder(folder, optimize_for="memory"), Decoder(folder, optimize_for="speed")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(eight_bit_weights, "write_eight_bit_weights", full)
    expected, ours = logits_after(plain, prompts), logits_after(decoder, prompts)
    assert "batches cannot be decoded in 8 bits: [Errno 28] No space left" in caplog.text
    np.testing.assert_allclose(ours, expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_ends_with_what_the_last_attention_keeps(model_folder: Folders, family: str) -> None:
    """Every product behind the last layer's attention is cut before, where positions are computed by themselves."""
    path = model_folder(family, precision="int4")[1]
    adapted = AdaptedGraph.of_folder(ModelFolder.load(path), [], None)
    graph = adapted.model.graph
    has_moved = cut_early(graph)
    assert has_moved == (family not in ("gpt_oss", "granitemoehybrid", "mixtral"))  # whose experts end it
    cuts = [node for node in graph.node if node.op_type == "Slice" and node.output[0].endswith(".cut")]
    readers = [node for node in graph.node if {cut.output[0] for cut in cuts} & set(node.input)]
    if has_moved:
        assert any("GroupQueryAttention" in cut.input[0] for cut in cuts)
        assert any(node.op_type == "MatMulNBits" for node in readers)
