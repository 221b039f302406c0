"""What a server may be told about itself: where it listens, who may ask, and how much."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from genai.errors import OptionError
from genai.server.keys import ApiKey

__all__ = ["ServerSettings"]

_MIB = 1 << 20
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-fA-F:.]+\]|[^\s/?#@:\[\]]+)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a server behaves; which models it has is said apart.

    Args:
        host: The address that it listens on.
        api_keys: Who may ask: whoever sends one of these as a bearer token; each is a key, or "NAME: KEY". None asks for no
            key.
        allowed_origins: Pages of other origins that a browser may let ask; none, unless they are named.
        max_requests: Most requests that run or wait at a time; further ones are told to come back.
        max_requests_per_key: Most of these that keys of one name may have; `None` leaves it at that.
        max_body_bytes: Most bytes of a request's body.
        body_timeout_seconds: How long the next bytes of a body are waited for.
        log_texts: Whether the log has what was asked and answered, word for word.
    """

    host: str = "127.0.0.1"
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_origins: tuple[str, ...] = ()
    max_requests: int = 256
    max_requests_per_key: int | None = None
    max_body_bytes: int = 16 * _MIB
    body_timeout_seconds: float = 30.0
    log_texts: bool = False

    def __post_init__(self) -> None:
        self.keys  # noqa: B018 - a line that is none is told at once
        for origin in self.allowed_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise OptionError(
                    f'"{origin}" is no origin: write SCHEME://HOST or SCHEME://HOST:PORT, as https://example.org, or *',
                    option="allowed_origins",
                )

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys, and who has them."""
        return tuple(map(ApiKey.read, self.api_keys))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
