"""ONNX Runtime session options as a folder's configuration has them (onnxruntime-genai's keys)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genai.errors import ModelFolderError, did_you_mean
from genai.folder import DecoderConfig, StageConfig
from genai.runtime.ort import onnxruntime

__all__ = ["WEIGHTS_FOLDER", "YIELDS", "provider_options", "session_options"]

COUNTS = frozenset({"intra_op_num_threads", "inter_op_num_threads"})
SWITCHES = frozenset({"enable_cpu_mem_arena", "enable_mem_pattern"})

OPTIMIZATION_LEVELS = {
    f"ORT_{name}": getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{name}")
    for name in ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_LAYOUT", "ENABLE_ALL")
}

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""The entry of session options that says where a serialized model's weights lie."""
YIELDS = "session.force_spinning_stop"
"""The entry by which a session's threads sleep when a run has ended, instead of waiting for the next one awake: those beside the
session that decodes would take the cores from it."""
SPIN = "session.intra_op.spin_duration_us"
SPIN_MICROSECONDS = 500
"""How long threads wait awake for the next run; the host's share of a step is shorter. ONNX Runtime's own choice is so long
that where two sessions run in turns, each finds the other's threads on the cores: chunks of prompts of 64 tokens beside rows
that decode then take a third longer."""

DIAGNOSTICS = frozenset({"enable_profiling", "log_id", "log_severity_level", "log_verbosity_level"})
"""What says how another program reports on itself, or where it writes: a folder does not decide that here."""


def session_options(decoder: DecoderConfig, stages: Sequence[StageConfig] = ()) -> Any:
    """Return the options of a decoder's session; of several stages in one session, the later ones' count.

    Raises:
        ModelFolderError: An option makes no sense, or would load code from the folder.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, and reported once
    options.enable_mem_pattern = (
        False  # a pattern is memory set aside for each shape; lengths differ, speed does not
    )
    wanted = {SPIN: SPIN_MICROSECONDS} | dict(decoder.session_options)
    for stage in stages:
        wanted |= stage.session_options or {}
    for name, value in wanted.items():
        _apply(options, name, value)
    return options


def provider_options(decoder: DecoderConfig, provider: str) -> dict[str, str]:
    """Return what the configuration says of an execution provider, by genai's name for it."""
    return next((dict(options) for name, options in decoder.provider_options if name == provider), {})


def _apply(options: Any, name: str, value: Any) -> None:
    if name == "custom_ops_library":
        raise ModelFolderError(
            f"genai_config.json asks for a library of operators ({value}), and genai loads no code from a model "
            "folder: export the model again with operators that ONNX Runtime has"
        )
    if name == "graph_optimization_level":
        if value not in OPTIMIZATION_LEVELS:
            raise ModelFolderError(
                f"session_options.graph_optimization_level must be one of {', '.join(OPTIMIZATION_LEVELS)}, not "
                f"{value!r}.{did_you_mean(str(value), OPTIMIZATION_LEVELS)}"
            )
        options.graph_optimization_level = OPTIMIZATION_LEVELS[value]
    elif name in COUNTS:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ModelFolderError(f"session_options.{name} must be a number of at least 0, not {value!r}")
        setattr(options, name, value)
    elif name in SWITCHES:
        if not isinstance(value, bool):
            raise ModelFolderError(f"session_options.{name} must be true or false, not {value!r}")
        setattr(options, name, value)
    elif name not in DIAGNOSTICS and not _writes_files(name):
        options.add_session_config_entry(name, str(int(value) if isinstance(value, bool) else value))


def _writes_files(name: str) -> bool:
    """Whether a configuration entry names a file, or has ONNX Runtime write one (compiled models, profiles)."""
    return name.startswith(("ep.context", "session.record_ep")) or name.endswith(("path", "file"))
