"""genai as a BentoML service: `GENAI_MODEL=./model bentoml serve service:Answers`."""

import os
from collections.abc import AsyncGenerator

import bentoml

from genai import Generator, Message


@bentoml.service(name="answers", traffic={"timeout": 300})
class Answers:
    """One engine in one worker; requests that run at once share its batches."""

    def __init__(self) -> None:
        self.generator = Generator(os.environ.get("GENAI_MODEL", "demo"))

    @bentoml.api
    async def chat(self, question: str, max_new_tokens: int = 256) -> str:
        result = await self.generator.achat([Message("user", question)], max_new_tokens=max_new_tokens)
        return result.text

    @bentoml.api
    async def stream(self, question: str, max_new_tokens: int = 256) -> AsyncGenerator[str, None]:
        messages = [Message("user", question)]
        async for piece in self.generator.astream_chat(messages, max_new_tokens=max_new_tokens):
            yield piece.text

    @bentoml.on_shutdown
    def close(self) -> None:
        self.generator.close()
