"""Reading text files that a user names."""

from __future__ import annotations

from pathlib import Path

from genai.errors import OptionError

__all__ = ["read_utf8"]


def read_utf8(path: Path | str) -> str:
    """Return a file's content.

    Raises:
        OptionError: It cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise OptionError(
            f"{path} is not UTF-8 (byte {error.start} is {error.object[error.start]:#04x}): save it as UTF-8"
        ) from error
