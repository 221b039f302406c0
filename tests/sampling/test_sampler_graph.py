"""The ONNX sampler against the host's, token for token."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai.config import GenerationConfig
from genai.errors import GenerationError
from genai.sampling import Sampler, build_sampler_graph, log_softmax, processors
from genai.sampling.selection import Filters, select

from .strategies import seeds


def make_session(*args, **options):
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = 1
    session_options.log_severity_level = 3
    graph = build_sampler_graph(*args, **options)
    return ort.InferenceSession(graph, session_options, providers=["CPUExecutionProvider"])


def feeds(logits, rows, uniforms):
    return {
        "logits": logits,
        "temperature": np.array([f.temperature for f in rows], np.float32),
        "top_k": np.array([f.top_k for f in rows], np.int64),
        "top_p": np.array([f.top_p for f in rows], np.float64),
        "min_p": np.array([f.min_p for f in rows], np.float32),
        "uniform": np.asarray(uniforms, np.float64),
    }


@pytest.fixture(scope="module")
def sessions():
    return {vocab: make_session(vocab, logits_rank=2, logprobs=True) for vocab in (1, 7, 512, 1500)}


rows_of_filters = st.lists(
    st.builds(
        Filters,
        temperature=st.sampled_from([0.0, 1.0, 0.3, 0.8, 2.5]),
        top_k=st.sampled_from([0, 0, 1, 2, 5, 50, 1500, 9999]),
        top_p=st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
        min_p=st.one_of(st.just(0.0), st.floats(0.001, 1.0)),
    ),
    min_size=1,
    max_size=5,
)


def expected_tokens(logits, filters, uniform):
    """Return the host's token, and its neighbours where the uniform is within a rounding of a border."""
    if filters.temperature == 0:
        return {int(logits.argmax())}
    around = (uniform, max(uniform - 1e-6, 0.0), min(uniform + 1e-6, 1 - 2**-53))
    return {select(logits, filters, u) for u in around}


def is_near_a_border(logits, filters):
    """Tell whether top_p or min_p divides two tokens by no more than a rounding."""
    if filters.temperature == 0:
        return False
    scores = processors.keep_top_k(processors.apply_temperature(logits, filters.temperature), filters.top_k)
    order = np.argsort(-scores, kind="stable")[::-1]
    tails = processors.softmax(scores)[order].cumsum(dtype=np.float64)
    near_top_p = filters.top_p < 1 and np.abs(tails - (1 - filters.top_p)).min() < 1e-6
    relative = np.exp(scores - scores.max())
    near_min_p = filters.min_p > 0 and np.abs(relative[relative < 1] - filters.min_p).min(initial=1) < 1e-6
    return bool(near_top_p or near_min_p)


@given(
    st.sampled_from([1, 7, 512, 1500]),
    rows_of_filters,
    st.sampled_from([0.1, 1.0, 4.0]),
    st.booleans(),
    seeds,
)
def test_equals_the_host(sessions, vocab, rows, scale, rounded, seed):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((len(rows), vocab)) * scale).astype(np.float32)
    if rounded:
        logits = np.round(logits * 4) / np.float32(4)
    logits[:, 1:][rng.random((len(rows), vocab - 1)) < 0.2] = -np.inf
    uniforms = rng.random(len(rows))
    uniforms[0] = rng.choice([0.0, uniforms[0], 1 - 2**-53])
    token_ids, logprobs = sessions[vocab].run(None, feeds(logits, rows, uniforms))
    assert token_ids.shape == logprobs.shape == (len(rows), 1)
    for i, filters in enumerate(rows):
        if not is_near_a_border(logits[i], filters):
            assert int(token_ids[i, 0]) in expected_tokens(logits[i], filters, float(uniforms[i]))
        expected = log_softmax(logits[i])[token_ids[i, 0]]
        assert logprobs[i, 0] == pytest.approx(expected, abs=1e-4)


@settings(max_examples=30)
@given(rows_of_filters, seeds)
def test_bounded_candidates_equal_the_host(bounded_session, rows, seed):
    rng = np.random.default_rng(seed)
    rows = [Filters(f.temperature, min(f.top_k or 64, 64), f.top_p, f.min_p) for f in rows]
    logits = (rng.standard_normal((len(rows), 1, 1500)) * 3).astype(np.float32)
    uniforms = rng.random(len(rows))
    (token_ids,) = bounded_session.run(None, feeds(logits, rows, uniforms))
    for i, filters in enumerate(rows):
        if not is_near_a_border(logits[i, 0], filters):
            assert int(token_ids[i, 0]) in expected_tokens(logits[i, 0], filters, float(uniforms[i]))


@pytest.fixture(scope="module")
def bounded_session():
    return make_session(1500, max_top_k=64)


def test_a_sampler_and_the_graph_write_the_same_text(sessions):
    config = GenerationConfig(
        do_sample=True, temperature=0.9, top_k=40, top_p=0.95, min_p=0.01, logprobs=True
    )
    sampler = Sampler(config, vocab_size=1500, prompt_token_ids=[], eos_token_ids=[], seed=3)
    assert sampler.fits_graph
    rng = np.random.default_rng(0)
    for _ in range(100):
        logits = (rng.standard_normal((1, 1500)) * 2).astype(np.float32)
        sample = sampler.sample(logits[0])
        token_ids, logprobs = sessions[1500].run(None, feeds(logits, [Filters.of(config)], [sampler.uniform]))
        assert token_ids[0, 0] == sample.token_id
        assert logprobs[0, 0] == pytest.approx(sample.logprob, abs=1e-5)
        sampler.accept(sample.token_id)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_unusable_rows_are_marked_and_leave_the_others_alone(sessions, temperature):
    logits = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    logits[0, 3], logits[1, 2], logits[2] = np.nan, np.inf, -np.inf
    rows = [Filters(temperature=temperature)] * 5
    token_ids, _ = sessions[7].run(None, feeds(logits, rows, [0.5] * 5))
    assert token_ids[:3, 0].tolist() == [-1, -1, -1]
    for i in (3, 4):
        assert int(token_ids[i, 0]) in expected_tokens(logits[i], rows[i], 0.5)
    for row in logits[:3]:
        sampler = Sampler(GenerationConfig(), vocab_size=7, prompt_token_ids=[], eos_token_ids=[], seed=0)
        with pytest.raises(GenerationError):
            sampler.sample(row)


def test_ties_go_to_the_first(sessions):
    logits = np.zeros((3, 7), np.float32)
    rows = [Filters(temperature=0.0), Filters(top_p=1e-6), Filters(top_p=0.5)]
    token_ids, _ = sessions[7].run(None, feeds(logits, rows, [0.9, 0.9, 0.99]))
    assert token_ids[:, 0].tolist() == [0, 0, 3]


def test_half_precision_logits():
    session = make_session(64, logits_type="float16")
    logits = np.random.default_rng(0).standard_normal((2, 1, 64)).astype(np.float16)
    rows = [Filters(temperature=0.0), Filters(temperature=0.7, top_k=5)]
    (token_ids,) = session.run(None, feeds(logits, rows, [0.3, 0.3]))
    for i in range(2):
        assert int(token_ids[i, 0]) in expected_tokens(logits[i, 0].astype(np.float32), rows[i], 0.3)


def test_graph_is_small_pinned_and_needs_no_contrib_operators():
    model = onnx.load_from_string(build_sampler_graph(150_000, logits_type="bfloat16", logprobs=True))
    assert model.ByteSize() < 20_000
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 21)]
    assert {i.name for i in model.graph.input} == {
        "logits",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "uniform",
    }
    assert [o.name for o in model.graph.output] == ["token_ids", "logprobs"]


def test_repeated_builds_are_equal():
    assert build_sampler_graph(100) == build_sampler_graph(100)
