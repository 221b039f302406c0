"""A published config.json of each family, read in the form it was published in and in the form transformers 5 saves.

The configs are in published_configs.json, by repository; only the number of layers is smaller than in reality.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import transformers

from genai.config import ExportSettings
from genai.export.build.decoder_graph import build_decoder
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.precision import Precision
from genai.export.checkpoint.formats import decoded
from genai.export.checkpoint.weights import Weights
from genai.export.families import find_family
from genai.export.plan import plan_export
from tests.export.published import ShapesOnly, as_transformers, read_spec, stored_shapes

NUM_LAYERS = 5
CONFIGS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("published_configs.json").read_text(encoding="utf-8")
)
KEYS_OF_LAYERS = (
    "activation_sparsity_pattern",
    "hybrid_override_pattern",
    "intermediate_size",
    "is_moe_layer",
    "layer_types",
    "mlp_layer_types",
    "moe_intermediate_size",
    "moe_topk",
    "num_shared_expert",
)
"""Keys that may hold a value for each layer."""
KNOWN = [repo for repo, config in CONFIGS.items() if config["model_type"] in transformers.CONFIG_MAPPING]
"""Without those whose code is in their repositories (tests/export/test_custom_code.py)."""


def published(repo: str) -> dict[str, Any]:
    """The config with fewer layers."""
    return with_fewer_layers(CONFIGS[repo])


def with_fewer_layers(values: dict[str, Any]) -> dict[str, Any]:
    config = dict(values)
    if "text_config" in config:
        return config | {"text_config": with_fewer_layers(config["text_config"])}
    num_layers = _num_layers(config)
    for key in KEYS_OF_LAYERS:
        if isinstance(config.get(key), list | str):
            config[key] = config[key][:num_layers]
    if "num_kv_shared_layers" in config:
        config["num_kv_shared_layers"] = 0
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        if key in config:
            config[key] = num_layers
    if "linear_attn_config" in config:
        config["linear_attn_config"] = {
            key: [layer for layer in value if layer <= num_layers] if isinstance(value, list) else value
            for key, value in config["linear_attn_config"].items()
        }
    if config.get("attention_layers"):
        config["attention_layers"] = config["attention_layers"][:num_layers]
        config["attention_types"] = [[config["attention_layers"], 1]]
    return config


def _num_layers(config: dict[str, Any]) -> int:
    """So many that there is a layer of each kind."""
    kinds = config.get("layer_types") or config.get("hybrid_override_pattern") or ""
    firsts = [kinds.index(kind) for kind in set(kinds)] + (config.get("attn_layer_indices") or [])[:1]
    return max([NUM_LAYERS, *(first + 1 for first in firsts)])


@pytest.mark.parametrize("repo", KNOWN)
def test_the_form_that_transformers_5_saves_means_the_same(repo: str) -> None:
    config = published(repo)
    saved = json.loads(as_transformers(config).to_json_string())
    assert read_spec({**saved, "architectures": config["architectures"]}) == read_spec(config)


@pytest.mark.parametrize("repo", KNOWN)
def test_the_graph_is_built_in_real_widths(repo: str, tmp_path: Path) -> None:
    config = published(repo)
    shapes, num_parameters = stored_shapes(config)
    family = find_family(config["architectures"][0])
    spec, weight_map = family.read(config)
    checkpoint = decoded(ShapesOnly(tmp_path, config, shapes))
    weights = Weights(
        checkpoint,
        weight_map,
        shapes=spec.parameters(),
        num_layers=len(spec.layers),
        tied=spec.tied,
        prefixes=family.prefixes,
        ignored=family.ignored,
    )
    assert sum(math.prod(view.shape) for view in weights.values()) == num_parameters
    build_decoder(GraphBuilder(Precision.of(ExportSettings("int4")), weights), spec)
    (tmp_path / "config.json").write_text(json.dumps(config))
    plan_export(tmp_path)


@pytest.mark.parametrize("repo", sorted(CONFIGS.keys() - set(KNOWN)))
def test_what_has_its_own_code_is_read(repo: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[repo]))
    assert plan_export(tmp_path).native is not None
