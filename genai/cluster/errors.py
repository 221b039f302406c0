"""What goes wrong on a cluster and not in one process."""

from __future__ import annotations

from genai.wire import ApiError

__all__ = ["ReplicaLostError"]


class ReplicaLostError(ApiError):
    """The replica that answered is gone; the same request may be sent again."""

    def __init__(self) -> None:
        super().__init__(
            "the replica that answered this request is gone: ask again",
            status=503,
            code="replica_lost",
            headers={"Retry-After": "1"},
        )
