"""Keys that may ask, and what those who have one are called: by the log, and where requests take turns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from genai.errors import OptionError

__all__ = ["ApiKey", "client_of"]

_NAMED = re.compile(r"([\w.@-]{1,64}):(?:\s+(.*))?")
_LABEL_DIGITS = 8


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, and who has it.

    Args:
        client: What whoever has it is called; several keys may be one client's.
        secret: The key, which is never told.
    """

    client: str
    secret: str = field(repr=False)

    @classmethod
    def read(cls, line: str) -> Self:
        """Return what a line says: "NAME: KEY", or a key alone, which is called by the beginning of its SHA-256.

        >>> ApiKey.read("alice: s3cret").client
        'alice'
        >>> ApiKey.read("s3cret").client
        'key-1ec1c26b'

        Raises:
            OptionError: There is a name and no key.
        """
        line = line.strip()
        if named := _NAMED.fullmatch(line):
            client, secret = named.groups()
            if not secret:
                raise OptionError(f'"{client}:" is a name without a key: write NAME: KEY', option="api_keys")
            return cls(client, secret)
        return cls(f"key-{hashlib.sha256(line.encode()).hexdigest()[:_LABEL_DIGITS]}", line)


def client_of(scope: Mapping[str, Any]) -> str | None:
    """Return whose key a request has, as the check of keys has noted it; `None` where none is asked for."""
    client: str | None = scope["state"].get("client")
    return client
