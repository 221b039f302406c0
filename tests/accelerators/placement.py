"""Sessions on an accelerator, and which nodes of a graph land where."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime as ort

from genai.folder import ModelFolder
from genai.runtime.adapt import adapt_model, locate_weights, read_model

__all__ = ["nodes_on_cpu", "open_session"]


def open_session(folder: Path, provider: str, **options: str) -> Any:
    """Return a session over a folder's graph as the runtime adapts it; it knows where its nodes are.

    Args:
        folder: The model folder.
        provider: The provider, as ONNX Runtime calls it.
        **options: Its own.
    """
    loaded = ModelFolder.load(folder)
    model = read_model(loaded.model_path)
    adapt_model(model, loaded.decoder.names)
    session_options = ort.SessionOptions()
    session_options.log_severity_level = 4
    for name, value in {
        "session.model_external_initializers_file_folder_path": str(
            locate_weights(model, loaded.model_path.parent)
        ),
        "session.record_ep_graph_assignment_info": "1",
    }.items():
        session_options.add_session_config_entry(name, value)
    session = ort.InferenceSession(
        model.SerializeToString(), session_options, providers=[(provider, options)]
    )
    assert session.get_providers()[0] == provider, f"{provider} was not loaded"
    return session


def nodes_on_cpu(session: Any) -> Counter[str]:
    """Return how many nodes of each operator fell to the CPU."""
    return Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == "CPUExecutionProvider"
        for node in part.get_nodes()
    )
