"""Beyond one process: the server's models as replicas of Ray Serve, a batch's as actors of Ray.

Alone imports ray, and is imported only where `--ray` is given. Knows the server's application and the batch's runner, which run
in the replicas as they do in one process; owns where replicas are, which of them is asked, and what happens when one is lost.
"""

from __future__ import annotations

import os

os.environ["RAY_USAGE_STATS_ENABLED"] = (
    "0"  # looked at when ray is imported and when it begins: nothing is ever reported
)
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what ray would do from its next version on
