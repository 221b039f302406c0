"""genai as an Azure ML online endpoint: the server calls `init` once, and `run` with each request's body."""

import json
import os
from pathlib import Path

from azureml_inference_server_http.api.aml_response import AMLResponse

from genai import Generator, Message
from genai.errors import GenaiError

OPTIONS = ("max_new_tokens", "temperature", "top_p", "seed", "stop")
generator: Generator


def init() -> None:
    """Open the model folder, which lies somewhere below where the registered model was mounted."""
    global generator
    mounted = Path(os.environ["AZUREML_MODEL_DIR"])
    config = next(mounted.rglob("genai_config.json"), None)
    if config is None:
        raise FileNotFoundError(
            f"no genai_config.json below {mounted}: register a folder that genai export made"
        )
    generator = Generator(config.parent)


def run(body: str) -> dict[str, object] | AMLResponse:
    """Answer {"messages": [{"role": "user", "content": "..."}], "max_new_tokens": 256, ...}."""
    try:
        request = json.loads(body)
        messages = [Message(message["role"], message["content"]) for message in request["messages"]]
        options = {name: request[name] for name in OPTIONS if name in request}
        result = generator.chat(messages, **options)
    except (KeyError, TypeError, ValueError, GenaiError) as error:
        return AMLResponse({"error": f"{type(error).__name__}: {error}"}, 400, json_str=True)
    return {
        "text": result.text,
        "finish_reason": result.finish_reason,
        "generated_tokens": result.stats.generated_tokens,
    }
