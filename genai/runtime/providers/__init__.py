"""Execution providers: what genai knows of each, which this machine has, which to take, and what the others lack.

- `provider` describes one, `table` all that are known;
- `libraries` finds plug-in libraries and registers them with ONNX Runtime;
- `choice` says which can be used here, and why not;
- `opening` makes a session that runs on one;
- `hardware` names the devices.
"""

from genai.runtime.providers.choice import (
    ProviderStatus,
    choose_provider,
    preferred_provider,
    provider_statuses,
)
from genai.runtime.providers.opening import open_session
from genai.runtime.providers.provider import Provider
from genai.runtime.providers.table import PROVIDERS

__all__ = [
    "PROVIDERS",
    "Provider",
    "ProviderStatus",
    "choose_provider",
    "open_session",
    "preferred_provider",
    "provider_statuses",
]
