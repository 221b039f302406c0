"""Triton's Python backend runs this: genai answers `text_input`, in pieces if `stream` is true."""

import asyncio
import json
import threading
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from genai import Generator, Message


class TritonPythonModel:
    """One engine in a thread of its own; Triton hands requests over and does not wait for them."""

    def initialize(self, args):
        parameters = {
            key: value["string_value"]
            for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        beside = Path(args["model_repository"]) / parameters["model"]
        self.generator = Generator(
            str(beside) if beside.is_dir() else parameters["model"], provider=parameters["provider"]
        )
        self.is_chat = parameters["chat"] == "true"
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def execute(self, requests):
        for request in requests:
            text = _value_of(request, "text_input").decode()
            options = {"max_new_tokens": int(_value_of(request, "max_tokens", 256))}
            for name in ("temperature", "seed"):
                if (value := _value_of(request, name)) is not None:
                    options[name] = value.item()
            streams = bool(_value_of(request, "stream", False))
            answer = self._answer(request.get_response_sender(), text, options, streams=streams)
            asyncio.run_coroutine_threadsafe(answer, self.loop)

    def finalize(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.generator.close()

    async def _answer(self, sender, text, options, *, streams):
        """Send the answer, or what went wrong, and then that nothing more comes."""
        try:
            stream = (
                self.generator.astream_chat([Message("user", text)], **options)
                if self.is_chat
                else self.generator.astream(text, **options)
            )
            pieces = []
            async for piece in stream:
                if sender.is_cancelled():
                    stream.cancel()
                if streams:
                    sender.send(_response(piece.text))
                pieces.append(piece.text)
            if not streams:
                sender.send(_response("".join(pieces)))
        except Exception as error:
            sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))))
        finally:
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _value_of(request, name, default=None):
    """Return the one value of an input; the default if it was not sent."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1)[0]


def _response(text):
    tensor = pb_utils.Tensor("text_output", np.array([text.encode()], dtype=np.object_))
    return pb_utils.InferenceResponse(output_tensors=[tensor])
