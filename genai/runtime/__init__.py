"""The only place that imports ONNX Runtime: providers, sessions, device memory, loaded decoders."""

from genai.runtime.decoder import Decoder
from genai.runtime.providers import ProviderStatus, provider_statuses

__all__ = ["Decoder", "ProviderStatus", "provider_statuses"]
