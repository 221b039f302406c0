"""Adapters as users see them: the logits are PEFT's, alone and in any batch, beside floats and beside quantized weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from genai import Generator, OptionError
from genai.engine import Request
from genai.errors import ModelFolderError
from genai.export import export_model
from genai.folder import ModelFolder
from genai.folder.adapter_files import read_adapter
from genai.quantize import BlockScheme, dequantize_rows
from genai.runtime import session
from genai.sampling import log_softmax
from tests.adapters import make_adapter, reference_logits
from tests.checkpoints import make_checkpoint
from tests.export.test_quantized import with_float_activations

PROMPT = [5, 6, 7, 8, 9, 4, 2, 11, 3, 1, 4, 1, 5, 9, 2, 6]
PROMPTS = [PROMPT, PROMPT[:5], PROMPT[3:12], PROMPT[1:], PROMPT[:9]]
NAMES = ["sql", None, "poems", "sql", "queries"]
CONFIGS: dict[str, dict[str, Any]] = {
    "poems": {
        "rank_pattern": {"layers.1.self_attn.q_proj": 9, "mlp.down_proj": 2},
        "alpha_pattern": {"up_proj": 11},
    },
    "queries": {"target_modules": ["q_proj", "v_proj"], "r": 3, "use_rslora": True},
    "sql": {},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint("llama", tmp_path_factory.mktemp("llama") / "checkpoint")


@pytest.fixture(scope="module")
def adapters(checkpoint: Path) -> dict[str, Path]:
    return {
        name: make_adapter(checkpoint, checkpoint.parent / name, seed=seed, **config)
        for seed, (name, config) in enumerate(CONFIGS.items())
    }


@pytest.fixture(scope="module")
def folder(checkpoint: Path, adapters: dict[str, Path]) -> ModelFolder:
    return export_model(checkpoint, checkpoint.parent / "model", precision="fp32", adapters=adapters)


@pytest.fixture
def generator(folder: ModelFolder) -> Iterator[Generator]:
    with Generator(folder, provider="cpu", num_threads=1) as each:
        yield each


def run_together(
    generator: Generator, prompts: list[list[int]], names: Sequence[str | None], **options: Any
) -> list[Request]:
    """Run a request for each of some prompts and adapters in one batch."""
    requests = [
        generator.build_request(token_ids=prompt, adapter=name, **options)
        for prompt, name in zip(prompts, names, strict=True)
    ]
    for stream in [generator.submit(request) for request in requests]:
        for _ in stream:
            pass
    return requests


def test_logits_are_pefts(generator: Generator, checkpoint: Path, adapters: dict[str, Path]) -> None:
    assert generator.adapters == ("poems", "queries", "sql")
    plain = reference_logits(checkpoint, None, PROMPT)
    np.testing.assert_allclose(generator.logits(token_ids=PROMPT), plain, atol=1e-4)
    for name, path in adapters.items():
        expected = reference_logits(checkpoint, path, PROMPT)
        assert np.abs(expected - plain).max() > 0.5
        np.testing.assert_allclose(generator.logits(token_ids=PROMPT, adapter=name), expected, atol=1e-4)


def test_rows_of_a_batch_have_their_own_adapters(generator: Generator, folder: ModelFolder) -> None:
    options: dict[str, Any] = {
        "max_new_tokens": 12,
        "do_sample": False,
        "logprobs": True,
        "ignore_eos": True,
    }
    together = run_together(generator, PROMPTS, NAMES, **options)
    for prompt, name, request in zip(PROMPTS, NAMES, together, strict=True):
        result = request.result
        assert result is not None
        with Generator(folder, provider="cpu", num_threads=1) as alone:
            expected = alone.generate(token_ids=prompt, adapter=name, **options)
        assert result.token_ids == expected.token_ids
        np.testing.assert_allclose(
            [each.logprob for each in result.logprobs or ()],
            [each.logprob for each in expected.logprobs or ()],
            atol=1e-4,
        )


def test_cached_prefixes_are_shared_within_one_adapter(generator: Generator) -> None:
    names = ("sql", "poems", None)
    first, again = (
        [
            request.cached_prompt_tokens
            for request in run_together(generator, [PROMPT] * 3, names, max_new_tokens=2)
        ]
        for _ in range(2)
    )
    assert first == [0, 0, 0]
    assert min(again) >= len(PROMPT) - 1
    assert generator.generate(token_ids=PROMPT, adapter="queries").stats.cached_prompt_tokens == 0


def test_scores_and_saved_caches_are_an_adapters(generator: Generator, tmp_path: Path) -> None:
    for name in (None, "sql"):
        logits = generator.logits(token_ids=PROMPT, adapter=name)
        expected = log_softmax(logits)[np.arange(len(PROMPT) - 1), PROMPT[1:]]
        found = generator.score(token_ids=PROMPT, adapter=name)
        np.testing.assert_allclose(found.logprobs, expected, atol=1e-4)
    prompt = [9, *PROMPT]
    assert generator.save_cache(tmp_path / "sql.cache", token_ids=prompt, adapter="sql") == len(prompt)
    expected_ids = generator.generate(token_ids=[*prompt, 5], adapter="sql", max_new_tokens=6).token_ids
    with Generator(generator.folder) as loading:
        assert loading.load_cache(tmp_path / "sql.cache") == prompt
        found_ids = loading.generate(token_ids=[*prompt, 5], adapter="sql", max_new_tokens=6)
        assert not loading.generate(token_ids=[*prompt, 5], max_new_tokens=1).stats.cached_prompt_tokens
    assert found_ids.token_ids == expected_ids
    assert found_ids.stats.cached_prompt_tokens == len(prompt)
    for call in (generator.score, lambda **options: generator.save_cache(tmp_path / "x", **options)):
        with pytest.raises(OptionError, match='no adapter "sq"'):
            call(token_ids=PROMPT, adapter="sq")


def test_what_gives_way_goes_on_with_its_adapter(folder: ModelFolder, checkpoint: Path) -> None:
    options: dict[str, Any] = {"max_new_tokens": 100, "ignore_eos": True, "do_sample": False}
    with Generator(folder, provider="cpu", num_threads=1) as plenty:
        shape = plenty._decoder.cache.shape
        expected = [
            plenty.generate(token_ids=PROMPT, adapter=name, **options).token_ids for name in ("sql", "poems")
        ]
    with Generator(folder, provider="cpu", num_threads=1, kv_cache_bytes=shape.num_bytes(2, 64)) as short:
        requests = run_together(short, [PROMPT, PROMPT], ("sql", "poems"), **options)
    assert requests[1].num_preemptions > 0
    assert [request.result.token_ids for request in requests if request.result] == expected


def test_switching_allocates_and_binds_nothing(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    def both() -> None:
        for name in ("sql", None, "poems"):
            generator.generate(token_ids=[3], adapter=name, max_new_tokens=4, ignore_eos=True)

    both()
    decoder = generator._decoder
    assert decoder is not None
    monkeypatch.setattr(decoder._session.device, "allocate", lambda *_: pytest.fail("allocated"))
    monkeypatch.setattr(decoder._session, "bind", lambda **_: pytest.fail("bound again"))
    both()


def test_beams_and_samples_take_adapters(generator: Generator) -> None:
    beams = generator.generate(token_ids=PROMPT, adapter="sql", num_beams=3, max_new_tokens=5)
    assert beams.token_ids != generator.generate(token_ids=PROMPT, num_beams=3, max_new_tokens=5).token_ids
    samples = generator.generate(
        token_ids=PROMPT, adapter="sql", do_sample=True, num_return_sequences=2, seed=1, max_new_tokens=5
    )
    assert len(samples.choices) == 2


def test_an_unknown_adapter_is_refused(generator: Generator, checkpoint: Path) -> None:
    for call in (generator.generate, generator.logits):
        with pytest.raises(
            OptionError, match=r'no adapter "sq"; it has: poems, queries, sql. Did you mean "sql"'
        ):
            call(token_ids=[1], adapter="sq")
    with pytest.raises(OptionError, match="adapter must be a name or None, not 5"):
        generator.generate(token_ids=[1], adapter=5)  # type: ignore[call-overload]
    with Generator("demo") as plain, pytest.raises(OptionError, match="it has: none"):
        plain.generate("Hello", adapter="sql")


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("tied", [False, True])
def test_adapters_beside_quantized_weights(precision: str, tied: bool, tmp_path: Path) -> None:
    """They are the same as matrices of floats to which the adapter was added after they were rounded."""
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", tie_word_embeddings=tied)
    targets = r".*(_proj|lm_head)"
    adapter = make_adapter(checkpoint, tmp_path / "adapter", seed=2, target_modules=targets)
    path = tmp_path / "model"
    quantized = export_model(checkpoint, path, precision=precision, block_size=32, adapters={"sql": adapter})
    with_float_activations(quantized)
    with Generator(quantized, provider="cpu", num_threads=1) as generator:
        ours = generator.logits(token_ids=PROMPT, adapter="sql")
    _merge_into_graph(quantized, "sql")
    with Generator(quantized, provider="cpu", num_threads=1) as generator:
        np.testing.assert_allclose(ours, generator.logits(token_ids=PROMPT), atol=1e-4)
    exact = reference_logits(checkpoint, adapter, PROMPT)
    plain = reference_logits(checkpoint, None, PROMPT)
    within = 0.03 if precision == "int8" else 0.3  # of what the adapter changes
    assert np.linalg.norm(ours - exact) < within * np.linalg.norm(exact - plain)


def _merge_into_graph(folder: ModelFolder, name: str) -> None:
    """Put matrices of floats in the place of a folder's quantized ones, and an adapter, which goes, into them."""
    added = read_adapter(folder.adapter_files[name])
    folder.adapter_files[name].unlink()
    model = onnx.load(folder.model_path)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    casts = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    num_merged = 0
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        values = {attribute.name: attribute.i for attribute in node.attribute}
        codes, scales = stored[node.input[1]], stored[casts.get(node.input[2], node.input[2])]
        points = stored[node.input[3]] if len(node.input) > 3 and node.input[3] else None
        scheme = BlockScheme(values["bits"], values["block_size"], is_symmetric=points is None)
        shape = (values["N"], -1)
        rows = dequantize_rows(
            codes,
            scales.reshape(shape),
            scheme,
            num_columns=values["K"],
            zero_points=None if points is None else points.reshape(shape),
        )
        product = node.input[1].removesuffix(".weight")
        if product in added:
            rows = rows + added[product].b.T @ added[product].a
            num_merged += 1
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(rows.T.astype(np.float32), f"{product}.merged")
        )
        assert len(node.input) <= 4, "a bias"
        del node.input[1:], node.attribute[:]
        node.input.append(f"{product}.merged")
        node.op_type, node.domain = "MatMul", ""
    assert num_merged == len(added)
    onnx.save(model, folder.model_path)


def test_prompts_that_are_compute_in_eight_bits_have_adapters(
    checkpoint: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    quantized = export_model(
        checkpoint, tmp_path / "model", precision="int8", block_size=32, adapters=adapters
    )
    found = {}
    for goal in ("memory", "speed"):
        with Generator(quantized, provider="cpu", num_threads=1, optimize_for=goal) as generator:
            decoder = generator._decoder
            assert decoder is not None
            assert (decoder._prompts is not decoder._session) == (goal == "speed")
            found[goal] = [
                generator.logits(token_ids=PROMPT, adapter=name, num_logits=1) for name in (*adapters, None)
            ]
    for one, two in zip(found["memory"], found["speed"], strict=True):
        np.testing.assert_allclose(one, two, atol=0.05 * np.abs(one).max())


def test_queries_that_were_scaled_scale_what_is_added_to_them(
    checkpoint: Path, adapters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside prompts in 8 bits, attention has its factor in the queries' weights; the adapter's part gets it too."""
    quantized = with_float_activations(
        export_model(checkpoint, tmp_path / "model", precision="int8", block_size=32, adapters=adapters)
    )
    monkeypatch.setattr(
        session, "compute_in_eight_bits", lambda graph, *_, **__: contextlib.nullcontext(graph)
    )  # so that all products stay as they are
    found = {}
    for goal in ("memory", "speed"):
        with Generator(quantized, provider="cpu", num_threads=1, optimize_for=goal) as generator:
            decoder = generator._decoder
            assert decoder is not None
            decoder._prompts = decoder._scores = decoder._session
            found[goal] = generator.logits(token_ids=PROMPT, adapter="poems")
    np.testing.assert_allclose(found["memory"], found["speed"], atol=1e-4)
    assert not np.array_equal(found["memory"], found["speed"])  # another kernel


def test_an_adapter_of_another_model_is_refused(folder: ModelFolder, tmp_path: Path) -> None:
    other = make_checkpoint("llama", tmp_path / "other", intermediate_size=64, num_hidden_layers=3)
    adapter = make_adapter(other, tmp_path / "adapter")
    made = export_model(other, tmp_path / "model", precision="fp32", adapters={"wide": adapter})
    for name, file in folder.adapter_files.items():
        target = made.path / "adapters" / f"{name}.safetensors"
        target.write_bytes(file.read_bytes())
    with pytest.raises(
        ModelFolderError, match=r"wide\.safetensors: the model has no product .*another model"
    ):
        Generator(made)
    target.write_bytes(b"no safetensors at all")
    with pytest.raises(ModelFolderError, match=r"damaged, or not safetensors"):
        Generator(made)
