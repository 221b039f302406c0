"""The mixture that int4 stands for: which modules get 8 bits."""

from __future__ import annotations

import numpy as np
import pytest

from genai.config import ExportSettings
from genai.export.build.precision import Precision
from genai.export.build.recipe import Recipe, strongest_neuron

NUM_LAYERS, HIDDEN, WIDTH = 5, 32, 96


def random_parameters(*, is_gated: bool = True) -> dict[str, np.ndarray]:
    rng, parameters = np.random.default_rng(0), {}
    for layer in range(NUM_LAYERS):
        for name, shape in {
            **({"gate": (WIDTH, HIDDEN)} if is_gated else {}),
            "up": (WIDTH, HIDDEN),
            "down": (HIDDEN, WIDTH),
        }.items():
            parameters[f"layers.{layer}.mlp.{name}.weight"] = rng.standard_normal(shape).astype(np.float32)
    return parameters


def bits_of(parameters: dict[str, np.ndarray], *paths: str, block_size: int | None = None) -> list[int]:
    precision = Precision.of(ExportSettings("int4", block_size)).mixed_for(parameters)
    return [precision.scheme_of(path).bits for path in paths]


DOWNS = [f"layers.{layer}.mlp.down" for layer in range(NUM_LAYERS)]


@pytest.mark.parametrize("is_gated", [False, True])
def test_a_layer_with_a_neuron_far_above_the_others_is_found(is_gated: bool) -> None:
    parameters = random_parameters(is_gated=is_gated)
    assert bits_of(parameters, *DOWNS, block_size=32) == [8, 4, 4, 4, 8]
    parameters["layers.2.mlp.up.weight"][17] *= 3
    parameters["layers.2.mlp.down.weight"][:, 17] *= 3
    assert bits_of(parameters, *DOWNS, block_size=32) == [8, 4, 8, 4, 8]
    ups = ["layers.0.mlp.up", "layers.2.mlp.up", "layers.4.mlp.up"]
    assert bits_of(parameters, *ups, block_size=32) == bits_of(parameters, *ups) == [8, 4, 8]


def test_the_strength_of_a_neuron_is_that_of_its_three_vectors() -> None:
    parameters = random_parameters()
    gate, up, down = (parameters[f"layers.1.mlp.{name}.weight"] for name in ("gate", "up", "down"))
    strengths = np.linalg.norm(gate, axis=1) * np.linalg.norm(up, axis=1) * np.linalg.norm(down, axis=0)
    expected = strengths.max() / np.median(strengths)
    assert strongest_neuron(parameters, "layers.1.mlp") == pytest.approx(expected, rel=1e-5)


def test_modules_outside_feed_forward_blocks() -> None:
    paths = ["embedding", "head", "layers.1.attention.q", "layers.1.attention.k", "layers.1.attention.v"]
    assert bits_of(random_parameters(), *paths) == [8] * 5
    others = ["layers.1.mlp.gate", "layers.1.mlp.experts.down", "layers.1.mixer.output"]
    assert bits_of(random_parameters(), *others) == [4] * 3


def test_what_makes_up_for_large_blocks() -> None:
    parameters = random_parameters()
    output = "layers.1.attention.output"
    assert bits_of(parameters, output, *DOWNS) == [8, 8, 4, 4, 4, 8]
    assert bits_of(parameters, output, block_size=128) == [4]
    parameters["layers.2.mlp.down.weight"][:, 17] *= 3.5  # less than it takes with blocks of 32
    assert bits_of(parameters, *DOWNS) == [8, 4, 8, 4, 8]
    assert bits_of(parameters, *DOWNS, block_size=32) == [8, 4, 4, 4, 8]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_other_precisions_are_no_mixture(precision: str) -> None:
    asked = Precision.of(ExportSettings(precision))
    assert asked.mixed_for(random_parameters()) is asked


@pytest.mark.parametrize("block_size", [16, 32, 256])
def test_a_budget_chooses_from_different_schemes(block_size: int) -> None:
    """Blocks of 256 are the largest: none are coarser."""
    recipe = Recipe.of(ExportSettings("int4", block_size))
    assert recipe is not None
    candidates = recipe.candidates()
    assert len(set(candidates)) == len(candidates) == (3 if block_size == 256 else 4)
    assert candidates[0] == recipe.narrow


def test_the_small_recipe_widens_the_vocabulary_and_what_suffers_most() -> None:
    parameters = random_parameters()
    parameters["layers.2.mlp.up.weight"][17] *= 3
    parameters["layers.2.mlp.down.weight"][:, 17] *= 3
    precision = Precision.of(ExportSettings("int4-small")).mixed_for(parameters)
    wide = ["embedding", "head", *(f"layers.{layer}.mlp.down" for layer in (0, 2, 4))]
    narrow = ["layers.0.mlp.gate", "layers.1.mlp.down", "layers.0.attention.q", "layers.4.attention.v"]
    assert [precision.scheme_of(path).bits for path in wide + narrow] == [8] * 5 + [4] * 4
    assert precision.scheme_of("layers.1.mlp.down").block_size == 64


def shapes(**columns: int) -> dict[str, np.ndarray]:
    """Matrices of two layers by their modules, of 64 rows and so many columns; layer 1 is in between."""
    return {
        f"layers.{layer}.{module.replace('__', '.')}.weight": np.ones((64, num_columns), np.float32)
        for layer in range(2)
        for module, num_columns in columns.items()
    }


def blocks_of(parameters: dict[str, np.ndarray], **settings: object) -> dict[str, int]:
    """The block sizes of matrices of 4 bits, by the path of the module in the second layer."""
    precision = Precision.of(ExportSettings("int4", **settings)).mixed_for(parameters)  # type: ignore[arg-type]
    schemes = {
        name[:-7]: precision.scheme_of(name[:-7]) for name in parameters if name.startswith("layers.1")
    }
    return {path[9:]: scheme.block_size for path, scheme in schemes.items() if scheme and scheme.bits == 4}


def test_blocks_are_the_largest_of_which_rows_have_whole_ones() -> None:
    parameters = shapes(mlp__a=896, mlp__b=576, mlp__c=1632, mlp__d=100, mlp__experts__up=128, delta__q=128)
    assert blocks_of(parameters) == {
        "mlp.a": 128,
        "mlp.b": 64,
        "mlp.c": 32,
        "mlp.d": 32,
        "mlp.experts.up": 32,
        "delta.q": 32,
    }


@pytest.mark.parametrize("settings", [{"provider": "cuda"}, {"provider": "webgpu"}, {"bits_budget": 5.0}])
def test_other_forms_and_budgets_keep_blocks_of_32(settings: dict[str, object]) -> None:
    assert blocks_of(shapes(mlp__a=896, mlp__b=576), **settings) == {"mlp.a": 32, "mlp.b": 32}


def test_a_block_size_that_is_asked_for_is_every_matrixs() -> None:
    assert blocks_of(shapes(mlp__a=896, mlp__b=576), block_size=128) == {"mlp.a": 128, "mlp.b": 128}


def test_a_manifest_lists_the_blocks_that_fewer_weights_have() -> None:
    parameters = shapes(mlp__a=896, mlp__b=576)
    parameters["layers.1.mlp.b.weight"] = np.ones((64, 128), np.float32)
    described = Precision.of(ExportSettings("int4")).mixed_for(parameters).to_json()
    assert described["block_size"] == 128
    fewer = {
        path: scheme["block_size"] for path, scheme in described["modules"].items() if scheme["bits"] == 4
    }
    assert fewer == {"layers.0.mlp.b": 64}
    parameters["layers.1.mlp.b.weight"] = parameters["layers.0.mlp.b.weight"]
    described = Precision.of(ExportSettings("int4")).mixed_for(parameters).to_json()
    fewer = {
        path: scheme["block_size"] for path, scheme in described["modules"].items() if scheme["bits"] == 4
    }
    assert fewer == {"layers.*.mlp.b": 64}
