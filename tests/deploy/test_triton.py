"""The repository that `genai export --triton` writes: Triton's own schema, the graph's signature, the Python model."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import shutil
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import text_format

from genai.deploy import write_triton_repository
from genai.errors import ExportError
from genai.folder import ModelFolder
from tests.deploy.conftest import Answer
from tests.deploy.servers import free_port, get, running
from tests.fetched import pip_packages

TRITONCLIENT = "tritonclient==2.73.0"
PYTRITON = "nvidia-pytriton==0.7.0"
TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}


@pytest.fixture(scope="module")
def repository(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("triton") / "repository"
    write_triton_repository(ModelFolder.load(demo_folder), target)
    return target


def load_module(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def schema() -> Any:
    """Triton's model_config.proto, as its client has it, without the rest of the client."""
    path = pip_packages(TRITONCLIENT) / "tritonclient" / "grpc" / "model_config_pb2.py"
    return load_module("model_config_pb2", path)


@pytest.mark.deploy
def test_the_configurations_are_what_triton_reads(repository: Path, schema: Any) -> None:
    found = {}
    for name in ("generate", "logits"):
        text = (repository / name / "config.pbtxt").read_text(encoding="utf-8")
        found[name] = text_format.Parse(text, schema.ModelConfig())
        assert found[name].name == name  # Triton wants the folder's name
    assert found["generate"].backend == "python"
    assert found["generate"].model_transaction_policy.decoupled
    model = found["logits"]
    assert model.backend == "onnxruntime"
    assert (repository / "logits" / "1" / model.default_model_filename).is_file()
    session = ort.InferenceSession(repository / "logits" / "1" / model.default_model_filename)
    for entries, values in ((model.input, session.get_inputs()), (model.output, session.get_outputs())):
        assert [
            (entry.name, schema.DataType.Name(entry.data_type), list(entry.dims)) for entry in entries
        ] == [
            (value.name, TYPES[value.type], [a if isinstance(a, int) else -1 for a in value.shape])
            for value in values
        ]


class _Tensor:
    def __init__(self, name: str, array: np.ndarray[Any, Any]) -> None:
        self.name, self.array = name, array

    def as_numpy(self) -> np.ndarray[Any, Any]:
        return self.array


class _Request(dict[str, _Tensor]):
    """A request with its own sender: what is sent is in `sent`; None is the end."""

    def __init__(self, **inputs: Any) -> None:
        super().__init__({name: _Tensor(name, np.array([value])) for name, value in inputs.items()})
        self.sent: queue.Queue[Any] = queue.Queue()
        self.is_client_gone = False

    def get_response_sender(self) -> _Request:
        return self

    def send(self, response: Any = None, flags: int = 0) -> None:
        self.sent.put(response if flags == 0 else None)

    def is_cancelled(self) -> bool:
        return self.is_client_gone

    def responses(self) -> list[Any]:
        found = []
        while (response := self.sent.get(timeout=60)) is not None:
            found.append(response)
        return found

    def texts(self) -> list[str]:
        return [response.output_tensors[0].array[0].decode() for response in self.responses()]


@pytest.fixture
def model(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The Python model over a stand-in of the module that Triton gives to it."""
    backend = types.ModuleType("triton_python_backend_utils")
    vars(backend).update(
        Tensor=_Tensor,
        get_input_tensor_by_name=lambda request, name: request.get(name),
        InferenceResponse=lambda output_tensors=(), error=None: types.SimpleNamespace(
            output_tensors=output_tensors, error=error
        ),
        TritonError=str,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
    )
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    folder = repository / "generate"
    parameters = {"model": "../logits/1", "provider": "cpu", "chat": "true"}
    config = {"parameters": {key: {"string_value": value} for key, value in parameters.items()}}
    model = load_module("model", folder / "1" / "model.py").TritonPythonModel()
    model.initialize({"model_config": json.dumps(config), "model_repository": str(folder)})
    yield model
    model.finalize()


def test_the_python_model_answers_as_genai(model: Any, answers: list[Answer]) -> None:
    requests = [_Request(text_input=answer.question.encode(), stream=False) for answer in answers]
    streams = [_Request(text_input=answer.question.encode(), stream=True) for answer in answers]
    assert model.execute([*requests, *streams]) is None
    assert [request.texts() for request in requests] == [[answer.text] for answer in answers]
    for request, answer in zip(streams, answers, strict=True):
        pieces = request.texts()
        assert len(pieces) > 3
        assert "".join(pieces) == answer.text


def test_options_of_a_request(model: Any, answers: list[Answer]) -> None:
    text = answers[0].question.encode()
    short = _Request(text_input=text, max_tokens=np.int32(3))
    sampled = [
        _Request(text_input=text, temperature=np.float32(2), seed=np.int64(seed)) for seed in (1, 1, 2)
    ]
    model.execute([short, *sampled])
    (found,) = short.texts()
    assert found
    assert answers[0].text.startswith(found)
    first, again, other = (request.texts() for request in sampled)
    assert first == again != other


def test_what_goes_wrong_is_the_request_s_error(model: Any) -> None:
    wrong, right = _Request(text_input=b"hello", temperature=np.float32(-1)), _Request(text_input=b"hello")
    model.execute([wrong, right])
    (response,) = wrong.responses()
    assert "temperature" in response.error
    assert right.texts()[0]


def test_a_client_that_went_away_ends_its_answer(model: Any, answers: list[Answer]) -> None:
    request = _Request(text_input=answers[0].question.encode(), stream=True)
    request.is_client_gone = True
    model.execute([request])
    assert "".join(request.texts()) != answers[0].text


def test_the_folder_lies_once_in_the_repository(repository: Path, demo_folder: Path) -> None:
    for file in demo_folder.iterdir():
        assert (repository / "logits" / "1" / file.name).read_bytes() == file.read_bytes()
    assert len(list(repository.rglob("model.onnx.data"))) == 1


def test_a_repository_is_replaced_only_if_asked(repository: Path, demo_folder: Path) -> None:
    folder = ModelFolder.load(demo_folder)
    with pytest.raises(ExportError, match="exists already"):
        write_triton_repository(folder, repository)
    write_triton_repository(folder, repository, overwrite=True)
    assert (repository / "generate" / "1" / "model.py").is_file()


@pytest.mark.deploy
def test_a_triton_server_loads_the_python_model(repository: Path, tmp_path: Path) -> None:
    """The server that nvidia-pytriton holds: it reads the configuration, and model.py opens the model in it."""
    server = pip_packages(PYTRITON) / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    libraries = Path(sysconfig.get_config_var("LIBDIR"))
    if not stub.is_file() or not list(libraries.glob(f"libpython{version}.so*")):
        pytest.skip(f"no Python backend for {version}, or no shared library of it")
    backends = shutil.copytree(server / "backends", tmp_path / "backends")
    shutil.copy(stub, backends / "python")
    for program in (server / "bin" / "tritonserver", backends / "python" / stub.name):
        program.chmod(0o755)
    port = free_port()
    command = [
        *(str(server / "bin" / "tritonserver"), "--model-repository", str(repository)),
        *("--backend-directory", str(backends), "--model-control-mode=explicit", "--load-model=generate"),
        *("--http-address=127.0.0.1", f"--http-port={port}", "--allow-grpc=false", "--allow-metrics=false"),
    ]
    environment = {  # the first Python on the PATH is the one whose packages model.py sees
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, (libraries, *server.parents[1].glob("*.libs")))),
    }
    address = f"http://127.0.0.1:{port}/v2/models/generate"
    with running(command, address, log=tmp_path / "log", environment=environment):
        found = json.loads(get(address))
    assert [entry["name"] for entry in found["outputs"]] == ["text_output"]
    assert found["platform"] == "python"
