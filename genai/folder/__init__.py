"""The model folder on disk: its files, genai_config.json, manifest.json, and how it is written whole or not at all.

This is the only meeting point of export and runtime. It reads the folders of onnxruntime-genai, Optimum and
transformers.js, and writes the first of these layouts; it knows nothing of graphs, sessions or tokenizers.
"""

from __future__ import annotations

from genai.folder.decoder_config import DecoderConfig
from genai.folder.files import (
    CONFIG_FILE,
    GENERATION_CONFIG_FILE,
    HF_CONFIG_FILE,
    MANIFEST_FILE,
    OPTIMIZER_CONFIG_FILE,
    is_text_file,
)
from genai.folder.genai_config import read_genai_config, write_genai_config
from genai.folder.graph_names import GraphNames, StageConfig
from genai.folder.manifest import Manifest
from genai.folder.memory_need import MemoryNeed
from genai.folder.model_card import CARD_FILE, model_card
from genai.folder.model_folder import ModelFolder
from genai.folder.staging import check_target, sha256_of, staged_folder

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "GENERATION_CONFIG_FILE",
    "HF_CONFIG_FILE",
    "MANIFEST_FILE",
    "OPTIMIZER_CONFIG_FILE",
    "DecoderConfig",
    "GraphNames",
    "Manifest",
    "MemoryNeed",
    "ModelFolder",
    "StageConfig",
    "check_target",
    "is_text_file",
    "model_card",
    "read_genai_config",
    "sha256_of",
    "staged_folder",
    "write_genai_config",
]
