"""What is said where a package is lacking that an extra of genai brings."""

from __future__ import annotations

from genai.errors import OptionError

__all__ = ["needs_extra"]


def needs_extra(what: str, extra: str, error: ImportError) -> OptionError:
    """Return the error about it; genai is installed from a checkout or a wheel, since the one on PyPI is another project.

    Args:
        what: What needs the packages.
        extra: The extra that brings them.
        error: What could not be imported.
    """
    return OptionError(
        f'{what} needs the "{extra}" extra ({error}): install genai with it, in a checkout by pip install -e ".[{extra}]", '
        f'or with a wheel by pip install "FILE.whl[{extra}]"'
    )
