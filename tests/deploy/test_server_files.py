"""The files that run a server: their commands are commands of genai, their configurations what Ray reads."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from genai.cli.app import make_app

FILES = Path(__file__).parents[2] / "examples" / "deploy" / "server"
PAGE = Path(__file__).parents[2] / "docs" / "deploy" / "server.md"


def commands() -> Iterator[list[str]]:
    """Yield the arguments of genai in every file, and on the page."""
    dockerfile = (FILES / "Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["genai"]' in dockerfile
    yield yaml.safe_load(re.findall(r"^CMD (.*)", dockerfile, re.MULTILINE)[-1])
    unit = (FILES / "genai.service").read_text(encoding="utf-8")
    (start,) = re.findall(r"^ExecStart=\S+/genai (.*)", unit, re.MULTILINE)
    yield shlex.split(start)
    deployment, *_ = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text(encoding="utf-8"))
    yield deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    for line in re.findall(
        r"^docker run .* genai(?::\w+)? (.*)", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    ):
        yield shlex.split(line)


@pytest.mark.parametrize("arguments", list(commands()), ids=" ".join)
def test_commands_are_genais(arguments: list[str]) -> None:
    name, *rest = arguments
    group: Any = typer.main.get_command(make_app())
    context = group.commands[name].make_context(name, rest)
    assert context.params["host"] in ("0.0.0.0", "127.0.0.1")
    assert context.params["port"] == 8000


def test_probes_ask_paths_that_need_no_key() -> None:
    deployment, *_ = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text(encoding="utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    paths = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]
    assert paths == ["/health/live", "/health/live", "/health/ready"]
    assert "127.0.0.1:8000/health/ready" in (FILES / "Dockerfile").read_text(encoding="utf-8")


def test_a_cluster_s_pods_have_what_its_replicas_ask_for() -> None:
    spec = yaml.safe_load((FILES / "rayservice.yaml").read_text(encoding="utf-8"))["spec"]
    (application,) = yaml.safe_load(spec["serveConfigV2"])["applications"]
    (workers,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    replicas = application["args"]["replicas"]
    assert int(workers["rayStartParams"]["num-cpus"]) == replicas["num_cpus"]
    assert workers["maxReplicas"] == replicas["max_replicas"]


@pytest.mark.ray
def test_ray_reads_the_service() -> None:
    from ray.serve.schema import ServeDeploySchema

    from genai.cluster.service import application

    spec = yaml.safe_load((FILES / "rayservice.yaml").read_text(encoding="utf-8"))["spec"]
    config = ServeDeploySchema(**yaml.safe_load(spec["serveConfigV2"]))
    (described,) = config.applications
    assert described.import_path == f"{application.__module__}:{application.__name__}"
    assert application(described.args) is not None
