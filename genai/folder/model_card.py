"""The model card of an exported folder: a README.md in the form of Hugging Face's hub, made of the manifest alone.

It is written with the folder, and again when a result is added to the manifest, as long as a comment says that it is
genai's: whoever removes the comment keeps the card as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genai.folder.manifest import Manifest

__all__ = ["CARD_FILE", "MARK", "describe_adapters", "describe_weights", "is_own_card", "model_card"]

CARD_FILE = "README.md"
MARK = "<!-- genai writes this card, and again after an evaluation or a validation; without this line it does not. -->"

_MAX_LICENSE = 60

_LICENSES = {
    "gemma terms of use": "gemma",
    "llama 3.2 community license": "llama3.2",
}
"""Names of licences that the hub has another identifier for."""

_IDENTIFIERS = frozenset(
    [
        "apache-2.0",
        "bigcode-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigscience-openrail-m",
        "bsd-3-clause",
        "cc-by-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-sa-4.0",
        "gemma",
        "gpl-3.0",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "mit",
        "openrail",
        "other",
    ]
)
"""Those that the hub knows (https://huggingface.co/docs/hub/repositories-licenses), of language models."""

_HUB_ID = re.compile(r"(\w[\w.-]*/[\w.-]+)(:.*)?")


def model_card(manifest: Manifest) -> str:
    """Return the content of a folder's README.md."""
    sections = [
        "\n".join(_front_matter(manifest)),
        MARK,
        f"# {_name(manifest)}, {manifest.precision}",
        f"A language model (`{_code(manifest.architecture)}`) as an ONNX model folder for genai and onnxruntime-genai, "
        f"exported by genai {manifest.versions.get('genai', '')}.",
        _table(("", ""), _facts(manifest)),
        *_quality(manifest.evaluation),
        *_validation(manifest.validation),
        _USE,
    ]
    return "\n\n".join(sections) + "\n"


def is_own_card(path: Path) -> bool:
    """Whether a file is a card that genai wrote and may write anew."""
    return (
        path.is_file()
        and not path.is_symlink()
        and MARK in path.read_text(encoding="utf-8", errors="replace")
    )


_USE = """\
## Use

`./model` is this folder.

```bash
genai chat --model ./model
```

```python
from genai import Generator

with Generator("./model") as generator:
    print(generator.generate("Once upon a time", max_new_tokens=50).text)
```"""


def _front_matter(manifest: Manifest) -> Iterator[str]:
    """Yield the lines of the metadata; strings are JSON's, which YAML reads, whatever the checkpoint has in them."""
    yield "---"
    if manifest.license is not None:
        name = manifest.license.lower()
        identifier = _LICENSES.get(name, name)
        yield f"license: {identifier if identifier in _IDENTIFIERS else 'other'}"
        if identifier not in _IDENTIFIERS:
            yield f"license_name: {json.dumps(manifest.license[:_MAX_LICENSE])}"
    if (base := _base_model(manifest)) is not None:
        yield f"base_model: {json.dumps(base)}"
        if manifest.quantization or manifest.precision == "keep":
            yield "base_model_relation: quantized"
    yield from ("pipeline_tag: text-generation", "tags:", "- onnx", "- onnxruntime", "- genai", "---")


def _base_model(manifest: Manifest) -> str | None:
    """Return the hub id of the checkpoint; only what came from the hub has a revision."""
    found = _HUB_ID.fullmatch(manifest.source) if manifest.revision is not None else None
    return found[1] if found else None


def _name(manifest: Manifest) -> str:
    return _code(_last_part(_base_model(manifest) or manifest.source))


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    revision = f" at `{_code(manifest.revision)}`" if manifest.revision else ""
    source = _base_model(manifest) or _name(manifest)  # not the path, which is nobody else's business
    yield "Source", f"`{source}`{revision}"
    if manifest.license is not None:
        yield "Licence", f"`{_code(manifest.license)[:_MAX_LICENSE]}`"
    if manifest.num_parameters is not None:
        yield "Parameters", f"{manifest.num_parameters:,}"
    yield "Precision", manifest.precision
    yield "Made for", f"{manifest.provider}, computing in {manifest.float_type}"
    if manifest.num_bytes is not None:
        bits = manifest.bits_per_weight
        yield "Size", f"{manifest.num_bytes / 1e6:,.1f} MB" + (f", {bits:.2f} bits a weight" if bits else "")
    if (weights := describe_weights(manifest)) is not None:
        yield "Weights", weights
    kv_precision = manifest.settings.get("kv_precision")
    if kv_precision not in (None, "auto"):
        yield "KV cache", f"{kv_precision}"
    if manifest.adapters:
        yield "Adapters", describe_adapters(manifest)
    if merged := manifest.exporter_notes.get("merged_adapter"):
        yield "Merged adapter", f"`{_code(_last_part(str(merged['source'])))}`, rank {merged['rank']}"
    yield (
        "Made",
        f"{manifest.created}, with "
        + ", ".join(f"{tool} {version}" for tool, version in manifest.versions.items()),
    )


def describe_adapters(manifest: Manifest) -> str:
    """Name a folder's adapters in Markdown, with their sources."""
    return ", ".join(
        f"`{_code(name)}` (rank {adapter.get('rank')}, of `{_code(_last_part(str(adapter.get('source'))))}`)"
        for name, adapter in sorted(manifest.adapters.items())
    )


def _last_part(source: str) -> str:
    """Return a folder's name: its path is nobody else's business."""
    return Path(source.replace("\\", "/")).name


def describe_weights(manifest: Manifest) -> str | None:
    """Say in Markdown how the matrices are quantized; `None` if they are floats, or the manifest does not tell."""
    quantization = manifest.quantization
    if "bits" not in quantization:
        kept = manifest.exporter_notes.get("quantized_weights", {}).get("carried_over", {})
        return ", ".join(f"{count} as {_code(name)} has them" for name, count in kept.items()) or None
    method = manifest.settings.get("quantize", quantization.get("method", "rtn"))
    text = f"{quantization['bits']} bits in blocks of {quantization.get('block_size')}, by {method}"
    calibration = manifest.exporter_notes.get("calibration", {})
    if "num_tokens" in calibration:
        text += (
            f" with {calibration['num_tokens']:,} tokens of `{_code(str(calibration.get('text', 'a text')))}`"
        )
    patterns: dict[str, list[str]] = {}
    for pattern, scheme in quantization.get("modules", {}).items():
        stored = f"{scheme['bits']} bits in blocks of {scheme['block_size']}" if scheme else "floats"
        patterns.setdefault(stored, []).append(f"`{_code(pattern)}`")
    return "; ".join([text, *(f"{stored}: {', '.join(names)}" for stored, names in patterns.items())])


def _quality(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section of what `genai evaluate` measured, if it did."""
    if not evaluation:
        return
    yield "## Quality"
    windows = evaluation["windows"]
    against = evaluation.get("reference")
    told = f", compared with `{_public(str(against['source']))}` at {against['precision']}" if against else ""
    yield (
        f"Measured by `genai evaluate` on {evaluation['date'][:10]} ({evaluation['provider']}, windows of "
        f"{windows['size']} tokens{told}); perplexities of other tokenizers, texts or windows cannot be compared."
    )
    header = (
        "Text",
        "Tokens",
        "Perplexity",
        *(("Ratio", "KL divergence", "Same top token") if against else ()),
    )
    texts = evaluation["texts"]
    yield _table(header, map(_text_row, texts if len(texts) == 1 else [*texts, evaluation["overall"]]))
    if tasks := evaluation["tasks"]:
        rows = (
            (_code(t["name"]), f"{t['num_questions']}", f"{t['accuracy']:.1%} ± {t['standard_error']:.1%}")
            for t in tasks
        )
        yield _table(("Task", "Questions", "Accuracy"), rows)


def _text_row(text: Mapping[str, Any]) -> tuple[str, ...]:
    row = (_code(text["name"]), f"{text['num_tokens']}", f"{text['perplexity']:.2f}")
    if (c := text.get("comparison")) is None:
        return row
    return (*row, f"{c['perplexity_ratio']:.4f}", f"{c['mean_kl']:.4f} nats", f"{c['top1']:.1%}")


def _validation(validation: Mapping[str, Any]) -> Iterator[str]:
    if not validation:
        return
    checks = validation["checks"]
    failed = [check["name"] for check in checks if check["status"] == "failed"]
    outcome = (
        f"failed {', '.join(failed)}"
        if failed
        else f"passed {sum(c['status'] == 'ok' for c in checks)} checks"
    )
    against = validation.get("against")
    told = f" against `{_public(str(against['source']))}` in transformers" if against else ""
    yield f"Validated{told} on {validation['date'][:10]}: {outcome}."


def _table(header: tuple[str, ...], rows: Any) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _public(source: str) -> str:
    """Return a hub id as it is, and of a path its name: the rest is nobody else's business."""
    return _code(source if _HUB_ID.fullmatch(source) else Path(source.replace("\\", "/")).name)


def _code(text: str) -> str:
    """Return text without what would end a cell, a line or a span of code."""
    return "".join(" " if c in "|\r\n<>`" else c for c in text)
