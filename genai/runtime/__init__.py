"""The only place that imports ONNX Runtime: providers, sessions, device memory, loaded decoders."""

from genai.runtime.decoder import PREFILL_CHUNK, Decoder
from genai.runtime.providers import ProviderStatus, provider_statuses

__all__ = ["PREFILL_CHUNK", "Decoder", "ProviderStatus", "provider_statuses"]
