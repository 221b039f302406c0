"""genai_config.json, onnxruntime-genai's own format: how it is read, whoever wrote it, and how genai writes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from genai.config import provider_name
from genai.errors import ModelFolderError
from genai.folder.decoder_config import DecoderConfig
from genai.folder.files import CONFIG_FILE
from genai.folder.genai_config_keys import INPUT_KEYS, OTHER_PARTS, OUTPUT_KEYS, report_unknown_keys
from genai.folder.graph_names import GraphNames, StageConfig

__all__ = ["read_genai_config", "write_genai_config"]

_WRITTEN_ALWAYS = frozenset(
    {"input_ids", "attention_mask", "past_key", "past_value", "logits", "present_key", "present_value"}
)
_WRITTEN_WITH_LAYER_TYPES = frozenset({"past_conv", "present_conv"})
"""Names for which onnxruntime-genai has other defaults where it looks at the layers' types."""
_THEIR_PROVIDERS = {"directml": "dml", "nv_tensorrt_rtx": "NvTensorRtRtx"}
"""What onnxruntime-genai calls execution providers for which genai has another name."""


def read_genai_config(values: Mapping[str, Any]) -> DecoderConfig:
    """Return the decoder that a genai_config.json describes, whoever wrote it.

    Raises:
        ModelFolderError: A key that generation cannot do without is missing, or a value makes no sense, or the model
            is more than a text decoder.
    """
    model = _section(values, "model", needed=True)
    decoder = _section(model, "model.decoder", needed=True)
    _check_is_text_decoder(model, decoder)
    stages = tuple(_stages(decoder))
    num_kv_heads = _value(decoder, "model.decoder.num_key_value_heads", int)
    num_heads = _value(decoder, "model.decoder.num_attention_heads", int, num_kv_heads)
    head_dim = _value(decoder, "model.decoder.head_size", int)
    pad_token_id = _value(model, "model.pad_token_id", int, None)
    config = DecoderConfig(
        model_type=_value(model, "model.type", str),
        filename=stages[0].filename if stages else _file_name(decoder, "model.decoder.filename"),
        vocab_size=_value(model, "model.vocab_size", int),
        context_length=_positive(model, "model.context_length"),
        hidden_size=_value(decoder, "model.decoder.hidden_size", int, num_heads * head_dim),
        num_layers=_value(decoder, "model.decoder.num_hidden_layers", int),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        eos_token_ids=_eos_token_ids(model, pad_token_id),
        bos_token_id=_value(model, "model.bos_token_id", int, None),
        pad_token_id=pad_token_id,
        search=_section(values, "search"),
        session_options=_session_options(decoder, "model.decoder"),
        provider_options=_provider_options(decoder, "model.decoder"),
        names=_graph_names(decoder),
        stages=stages,
        sliding_window=_section(decoder, "model.decoder.sliding_window") or None,
        layer_types=tuple(map(str, _value(decoder, "model.decoder.layer_types", list, []))),
        tokenizer_dir=_file_name(model, "model.tokenizer_dir") if model.get("tokenizer_dir") else "",
    )
    report_unknown_keys(values)
    return config


def write_genai_config(config: DecoderConfig) -> dict[str, Any]:
    """Return the content of a genai_config.json that onnxruntime-genai accepts."""
    decoder: dict[str, Any] = {
        "session_options": {
            "log_id": "onnxruntime-genai",
            "provider_options": _written_provider_options(config.provider_options),
            **config.session_options,
        },
        **({} if config.stages else {"filename": config.filename}),
        "head_size": config.head_dim,
        "hidden_size": config.hidden_size,
        "inputs": _written_names(config, INPUT_KEYS),
        "outputs": _written_names(config, OUTPUT_KEYS),
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "num_key_value_heads": config.num_kv_heads,
    }
    if config.stages:
        decoder["pipeline"] = [{stage.name: _written_stage(stage) for stage in config.stages}]
    if config.layer_types:
        decoder["layer_types"] = list(config.layer_types)
    if config.sliding_window is not None:
        decoder["sliding_window"] = dict(config.sliding_window)
    eos = list(config.eos_token_ids)
    bos = config.bos_token_id if config.bos_token_id is not None else (eos[0] if eos else 0)
    pad = config.pad_token_id if config.pad_token_id is not None else (eos[0] if eos else bos)
    return {
        "model": {
            "bos_token_id": bos,
            "context_length": config.context_length,
            "decoder": decoder,
            "eos_token_id": eos[0] if len(eos) == 1 else eos,
            "pad_token_id": pad,
            **({"tokenizer_dir": config.tokenizer_dir} if config.tokenizer_dir else {}),
            "type": config.model_type,
            "vocab_size": config.vocab_size,
        },
        "search": {
            "do_sample": False,
            "max_length": config.context_length,
            "num_beams": 1,
            "past_present_share_buffer": True,
            **config.search,
        },
    }


_REQUIRED = object()


def _value(section: Mapping[str, Any], path: str, kind: type, default: Any = _REQUIRED) -> Any:
    """Return a section's value by its full path, checked; the default where it is absent or null."""
    value = section.get(path.rpartition(".")[2])
    if value is None:
        if default is _REQUIRED:
            raise ModelFolderError(f"{CONFIG_FILE}: {path} is missing; export the model again")
        return default
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ModelFolderError(
            f"{CONFIG_FILE}: {path} must be {_KINDS[kind]}, not {value!r}; export the model again"
        )
    return value


def _positive(section: Mapping[str, Any], path: str) -> int:
    value = int(_value(section, path, int))
    if value < 1:
        raise ModelFolderError(
            f"{CONFIG_FILE}: {path} must be at least 1, not {value}; export the model again"
        )
    return value


_KINDS = {int: "an integer", str: "a text", bool: "true or false", Mapping: "an object", list: "a list"}


def _section(section: Mapping[str, Any], path: str, *, needed: bool = False) -> dict[str, Any]:
    return dict(_value(section, path, Mapping, _REQUIRED if needed else {}))


def _file_name(section: Mapping[str, Any], path: str) -> str:
    """Return the name of something in the folder; it may lie in a folder within it, but not elsewhere."""
    name = str(_value(section, path, str))
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
        raise ModelFolderError(f'{CONFIG_FILE}: {path} must name a file within the folder, not "{name}"')
    return name


def _check_is_text_decoder(model: Mapping[str, Any], decoder: Mapping[str, Any]) -> None:
    parts = [
        part for part in OTHER_PARTS if isinstance(model.get(part), Mapping) and model[part].get("filename")
    ]
    inputs = _section(decoder, "model.decoder.inputs")
    embeds_outside = "inputs_embeds" in inputs and "input_ids" not in inputs and not decoder.get("pipeline")
    if parts or embeds_outside:
        described = (
            f"it has the parts {', '.join(parts)}" if parts else "its graph takes embeddings, not token ids"
        )
        raise ModelFolderError(
            f'{CONFIG_FILE}: a "{model.get("type")}" model is more than a text decoder ({described}), and genai runs '
            "text decoders; export the language model alone"
        )


def _eos_token_ids(model: Mapping[str, Any], pad_token_id: int | None) -> tuple[int, ...]:
    """Return the ids that end a sequence; as onnxruntime-genai does, the one for padding where the key is absent."""
    value = model.get("eos_token_id", pad_token_id)
    ids = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(_value({"eos_token_id": token_id}, "model.eos_token_id", int) for token_id in ids)


def _session_options(section: Mapping[str, Any], path: str) -> dict[str, Any]:
    options = _section(section, f"{path}.session_options")
    options.pop("provider_options", None)
    return options


def _provider_options(section: Mapping[str, Any], path: str) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """Return the options by execution provider; filters of devices are onnxruntime-genai's own and are left out."""
    path = f"{path}.session_options.provider_options"
    listed = _value(_section(section, path.rpartition(".")[0]), path, list, [])
    found: list[tuple[str, Mapping[str, str]]] = []
    for entry in listed:
        for name, options in dict(_value({"provider_options": entry}, path, Mapping)).items():
            values = {} if options is None else dict(_value({"provider_options": options}, path, Mapping))
            values.pop("device_filtering_options", None)
            texts = {key: str(value) for key, value in values.items()}
            found.append((provider_name(name), texts))
    return tuple(found)


def _graph_names(decoder: Mapping[str, Any]) -> GraphNames:
    """Return the graph's names; the states of linear attention are named after the keys, as its builder does."""
    names: dict[str, str] = {}
    for path, keys in (("model.decoder.inputs", INPUT_KEYS), ("model.decoder.outputs", OUTPUT_KEYS)):
        section = _section(decoder, path)
        given = {field: _value(section, f"{path}.{key}", str, "") for key, field in keys.items()}
        names.update({field: name for field, name in given.items() if name})
    for time in ("past", "present"):
        stem, dot, last = names.get(f"{time}_key", "").rpartition(".")
        if dot and last == "key":
            names.setdefault(f"{time}_conv", f"{stem}.conv_state")
            names.setdefault(f"{time}_recurrent", f"{stem}.recurrent_state")
    return GraphNames(**names)


def _stages(decoder: Mapping[str, Any]) -> Iterator[StageConfig]:
    """Yield the stages of a pipeline, which is a list of objects or one object, by name."""
    pipeline = decoder.get("pipeline") or []
    path = "model.decoder.pipeline"
    for group in pipeline if isinstance(pipeline, list) else [pipeline]:
        for name, stage in dict(_value({"pipeline": group}, path, Mapping)).items():
            yield _stage(name, _section({name: stage}, f"{path}.{name}"), decoder)


def _stage(name: str, stage: Mapping[str, Any], decoder: Mapping[str, Any]) -> StageConfig:
    path = f"model.decoder.pipeline.{name}"
    session_options: dict[str, Any] | None = None
    provider_options: tuple[tuple[str, Mapping[str, str]], ...] = ()
    if "session_options" in stage:
        inherits = _value(stage, f"{path}.inherit_session_options", bool, False)
        base = _session_options(decoder, "model.decoder") if inherits else {}
        session_options = {**base, **_session_options(stage, path)}
        provider_options = _provider_options(stage, path)
    return StageConfig(
        name=name,
        filename=_file_name(stage, f"{path}.filename"),
        inputs=tuple(_value(stage, f"{path}.inputs", list)),
        outputs=tuple(_value(stage, f"{path}.outputs", list)),
        run_on_prompt=_value(stage, f"{path}.run_on_prompt", bool, True),
        run_on_token_gen=_value(stage, f"{path}.run_on_token_gen", bool, True),
        is_lm_head=_value(stage, f"{path}.is_lm_head", bool, False),
        session_options=session_options,
        provider_options=provider_options,
        forwarded=_section(stage, f"{path}.output_names_forwarder"),
    )


def _written_names(config: DecoderConfig, keys: Mapping[str, str]) -> dict[str, str]:
    """Return the names to write: the usual ones always, the others where they are not the canonical ones."""
    defaults = {part.name: part.default for part in dataclasses.fields(GraphNames)}
    needed = _WRITTEN_ALWAYS | (_WRITTEN_WITH_LAYER_TYPES if config.layer_types else frozenset())
    return {
        key: getattr(config.names, field)
        for key, field in keys.items()
        if field in needed or getattr(config.names, field) != defaults[field]
    }


def _written_stage(stage: StageConfig) -> dict[str, Any]:
    values: dict[str, Any] = {
        "filename": stage.filename,
        "inputs": list(stage.inputs),
        "outputs": list(stage.outputs),
        "run_on_prompt": stage.run_on_prompt,
        "run_on_token_gen": stage.run_on_token_gen,
        "is_lm_head": stage.is_lm_head,
    }
    if stage.session_options is not None:
        options = _written_provider_options(stage.provider_options)
        values["session_options"] = {"provider_options": options, **stage.session_options}
    if stage.forwarded:
        values["output_names_forwarder"] = dict(stage.forwarded)
    return values


def _written_provider_options(options: Iterable[tuple[str, Mapping[str, str]]]) -> list[dict[str, Any]]:
    return [{_THEIR_PROVIDERS.get(name, name): dict(values)} for name, values in options]
