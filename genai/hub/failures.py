"""What can go wrong with the hub, each as one clear error of genai's.

It knows huggingface_hub's exceptions and nobody else needs to.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import cast

from genai.errors import GenaiError, ModelNotFoundError, did_you_mean
from genai.hub.presets import load_presets

__all__ = ["hub_errors"]


@contextlib.contextmanager
def hub_errors(repo: str, revision: str) -> Iterator[None]:
    """Turn every error of huggingface_hub in the block into a `ModelNotFoundError` that says what to do.

    Raises:
        ModelNotFoundError: The block failed: no such repository or revision, no access, no network, no space.
    """
    from huggingface_hub.errors import HfHubHTTPError

    # httpx's base class (httpx2's, from huggingface_hub 2 on): a connection that breaks within a download comes
    # as one of its children.
    http_error = cast(type[Exception], HfHubHTTPError.__bases__[0])
    try:
        yield
    except GenaiError:
        raise
    except (OSError, ValueError, http_error) as error:
        raise ModelNotFoundError(_explain(error, repo, revision)) from error


def _explain(error: Exception, repo: str, revision: str) -> str:
    from huggingface_hub import constants, errors

    endpoint = constants.ENDPOINT
    at_revision = repo if revision == "main" else f"{repo}@{revision}"
    cause = error.__cause__
    match error:
        case errors.GatedRepoError():
            return (
                f"{repo} is gated: accept its licence at {endpoint}/{repo}, then set HF_TOKEN or run "
                "`hf auth login`, and try again"
            )
        case errors.RepositoryNotFoundError():
            repos = [preset.repo for preset in load_presets() if preset.repo]
            return (
                f"there is no repository {repo} at {endpoint}, or it is private and needs a token (HF_TOKEN or "
                f"`hf auth login`).{did_you_mean(repo, repos)}"
            )
        case errors.RevisionNotFoundError():
            return f'{repo} has no revision "{revision}" (a branch, tag or full commit hash) at {endpoint}'
        case errors.LocalEntryNotFoundError() if isinstance(cause, errors.HfHubHTTPError):
            return _explain(cause, repo, revision)
        case errors.LocalEntryNotFoundError() if cause is None or isinstance(
            cause, errors.OfflineModeIsEnabled
        ):
            return (
                f"{at_revision} is not in the download cache ({constants.HF_HUB_CACHE}), or not all of it, and "
                "downloads are switched off (offline, or HF_HUB_OFFLINE); allow them once to fetch it"
            )
        case errors.OfflineModeIsEnabled():
            return f"{at_revision} cannot be fetched: HF_HUB_OFFLINE is set"
        case errors.HfHubHTTPError():
            status = error.response.status_code
            return f"{endpoint} answered {status} for {at_revision}; try again later" + (
                " or check that the token in HF_TOKEN may read it" if status in (401, 403) else ""
            )
        case errors.HFValidationError():
            return f"{at_revision} is no valid hub id: {error}"
        case OSError(errno=errno.ENOSPC):
            return f"the disk of {constants.HF_HUB_CACHE} is full; free some space, or set HF_HOME elsewhere"
        case errors.LocalEntryNotFoundError():
            reason = _first_line(cause or error)
            return (
                f"{endpoint} cannot be reached for {at_revision} ({reason}), and it is not in the download cache "
                f"({constants.HF_HUB_CACHE}); check the network, the proxy, and HF_ENDPOINT"
            )
    return (
        f"the download of {at_revision} from {endpoint} failed: {_first_line(error)}; try again, it resumes"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
