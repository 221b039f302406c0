"""A batch on a cluster: the results of one process, each once, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from genai import Generator
from genai.batch import ResultFile, read_batch, run_batch, run_lines
from genai.cluster.loading import ModelSource
from genai.errors import GenerationError

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def write_requests(path: Path, number: int, **options: Any) -> Path:
    lines = [
        {
            "custom_id": str(index),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": f"Say {index}."}], "max_tokens": 8, **options},
        }
        for index in range(number)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def results_of(path: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({line["custom_id"] for line in lines}) == len(lines)
    return {line["custom_id"]: line["response"]["body"]["choices"] for line in lines}


def test_results_are_those_of_one_process_though_an_actor_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    import ray

    from genai.cluster.batch_actors import batch_actors

    requests = write_requests(tmp_path / "in.jsonl", 40)
    with ResultFile(tmp_path / "alone.jsonl") as alone, Generator("demo") as generator:
        asyncio.run(run_batch(generator, read_batch(requests), alone, model="demo"))
    with (
        ResultFile(tmp_path / "out.jsonl") as results,
        batch_actors("demo", ModelSource(), num_actors=2, num_cpus=1, num_gpus=0, num_seats=4) as actors,
    ):
        handles = list(actors._free)

        def lose_one() -> None:
            if len(results.custom_ids) in (5, 20):
                ray.kill(handles[len(results.custom_ids) % 2], no_restart=False)

        asyncio.run(
            run_lines(
                lambda line: actors.result_of(line, "demo"),
                read_batch(requests),
                results,
                max_waiting=actors.num_seats,
                advance=lose_one,
            )
        )
    assert results_of(tmp_path / "out.jsonl") == results_of(tmp_path / "alone.jsonl")
    assert results.failed == set()


def test_a_model_that_no_actor_can_load_ends_the_batch(cluster: Cluster, tmp_path: Path) -> None:
    from genai.cluster.batch_actors import batch_actors

    requests = write_requests(tmp_path / "in.jsonl", 3)
    with (
        ResultFile(tmp_path / "out.jsonl") as results,
        batch_actors(
            str(tmp_path), ModelSource(), num_actors=1, num_cpus=1, num_gpus=0, num_seats=4
        ) as actors,
        pytest.raises(GenerationError, match="no actor is left"),
    ):
        asyncio.run(
            run_lines(
                lambda line: actors.result_of(line, "demo"), read_batch(requests), results, max_waiting=4
            )
        )
    assert results.custom_ids == set()


@pytest.mark.slow
def test_a_batch_that_was_killed_goes_on(tmp_path: Path) -> None:
    requests = write_requests(tmp_path / "in.jsonl", 60, max_tokens=150, ignore_eos=True)
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "genai", "batch", str(requests), "-o", str(output)]
    command += ["--ray", "--replicas", "2", "--max-batch", "2"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        while not output.exists() or output.read_bytes().count(b"\n") < 5:
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    kept = results_of(output)
    assert 5 <= len(kept) < 60
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = results_of(output)
    assert len(found) == 60
    assert found.items() >= kept.items()
