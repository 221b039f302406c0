"""What Ray is given to run."""

from __future__ import annotations

import pytest

from genai.server import ServerSettings

pytestmark = pytest.mark.ray


def test_no_key_leaves_the_front() -> None:
    from genai.cluster.deployment import ReplicaSettings, replica_application
    from genai.cluster.loading import ModelSource

    settings = ServerSettings(api_keys=("the-secret-key",), max_requests=77)
    application = replica_application({"demo": "demo"}, ModelSource(), settings, ReplicaSettings(num_cpus=1))
    deployment = application._bound_deployment
    given = repr((deployment.init_args, deployment.init_kwargs))
    assert "the-secret-key" not in given
    (told,) = (each for each in deployment.init_args if isinstance(each, ServerSettings))
    assert told.max_requests == 77
