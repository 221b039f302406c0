"""Generator: the front that a Python user sees. It turns prompts into requests and drives the engine."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt

from genai.config import GenerationConfig, Message
from genai.engine import BackgroundDriver, Engine, GenerationResult, GenerationStream, Piece, Request
from genai.errors import GenerationError, OptionError, TokenizerError
from genai.folder import ModelFolder
from genai.prepare import prepare_model
from genai.runtime import Decoder
from genai.runtime.providers import choose_provider
from genai.text import Tokenizer

__all__ = ["Generator"]

Messages = Sequence[Message | Mapping[str, Any]]


class Generator:
    """A model that continues text.

    Safe to call from several threads; what they ask for at the same time runs in one batch.

    Args:
        model: A model folder, a checkpoint folder, an alias ("phi"), or a hub id ("owner/name[@revision][:folder]").
            A checkpoint is exported once, on first use.
        provider: Execution provider ("cpu", "cuda", "directml", ...), or "auto" for the best that is there.
        device_id: Which device of the provider.
        max_context: Most tokens per sequence, prompt included; None is the model's context length.
        max_batch: Most sequences that run at a time; None is 16.
        kv_cache_bytes: Most bytes of KV cache; None is no limit.
        num_threads: Threads per operator; None is ONNX Runtime's choice.
        revision: Branch, tag or commit of a hub repository.
        offline: Use no network.
        precision: Precision of the export, if there has to be one; None takes the alias's, else int4.
        variant: Which ONNX file to run where a folder or repository has several ("q4", "fp16", "q4f16", "int8", ...);
            None takes the one that suits the provider.
        progress: Called with (what, done, total) while a model is downloaded or exported.

    Raises:
        ModelNotFoundError: The name stands for nothing, or cannot be had now.
        ModelFolderError, CheckpointError, ExportError: The model is damaged, unsupported, or cannot be exported.
        ProviderError: The provider is not available.
        OptionError: An option is impossible.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        provider: str = "auto",
        device_id: int = 0,
        max_context: int | None = None,
        max_batch: int | None = None,
        kv_cache_bytes: int | None = None,
        num_threads: int | None = None,
        revision: str | None = None,
        offline: bool = False,
        precision: str | None = None,
        variant: str | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.folder: ModelFolder = prepare_model(
            model,
            revision=revision,
            offline=offline,
            precision=precision,
            variant=variant,
            provider=choose_provider(provider)[0].name,
            progress=progress,
        )
        self._tokenizer, self._tokenizer_error = _load_tokenizer(self.folder)
        self._decoder = Decoder(
            self.folder,
            provider=provider,
            device_id=device_id,
            max_context=max_context,
            max_batch=max_batch,
            kv_cache_bytes=kv_cache_bytes,
            num_threads=num_threads,
        )
        self._engine = Engine(self._decoder)
        self._background = BackgroundDriver(self._engine)
        self._is_closed = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            TokenizerError: The folder has none.
        """
        if self._tokenizer is None:
            raise TokenizerError(f"{self._tokenizer_error}; pass token_ids instead of text")
        return self._tokenizer

    @property
    def context_length(self) -> int:
        """Most tokens per sequence, prompt included."""
        return self._decoder.context_length

    @property
    def vocab_size(self) -> int:
        """Number of logits per position."""
        return self._decoder.vocab_size

    @property
    def provider(self) -> str:
        """The execution provider that runs the model."""
        return self._decoder.provider

    @overload
    def generate(
        self, prompt: str, *, token_ids: None = None, config: GenerationConfig | None = None, **options: Any
    ) -> GenerationResult: ...
    @overload
    def generate(
        self,
        prompt: list[str],
        *,
        token_ids: None = None,
        config: GenerationConfig | None = None,
        **options: Any,
    ) -> list[GenerationResult]: ...
    @overload
    def generate(
        self, prompt: None = None, *, token_ids: Any, config: GenerationConfig | None = None, **options: Any
    ) -> Any: ...
    def generate(
        self,
        prompt: str | list[str] | None = None,
        *,
        token_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
        config: GenerationConfig | None = None,
        **options: Any,
    ) -> GenerationResult | list[GenerationResult]:
        """Continue one prompt, or several at once.

        Args:
            prompt: A text, or a list of texts.
            token_ids: Instead of a text, its tokens; a list of lists is several prompts.
            config: Options; None takes the model's defaults.
            options: Options by name, over those of `config`: see `GenerationConfig`.

        Returns:
            One result for one prompt; a list, in order, for a list.

        Raises:
            OptionError: An option is unknown or impossible, or a prompt does not fit the context.
            GenerationError: The model failed to run.
        """
        prompts, is_batch = self._prompts(prompt, token_ids)
        requests = [self._request(ids, config, options) for ids in prompts]
        results = self._run(requests)
        return results if is_batch else results[0]

    def stream(
        self,
        prompt: str | None = None,
        *,
        token_ids: Sequence[int] | None = None,
        config: GenerationConfig | None = None,
        **options: Any,
    ) -> GenerationStream:
        """Continue a prompt, yielding text as it comes; arguments as for `generate`.

        Closing or dropping the stream early cancels the generation. The stream's `result` is there when it has ended.
        Errors in the arguments are raised by the call, not by the loop.
        """
        prompts, is_batch = self._prompts(prompt, token_ids)
        if is_batch:
            raise OptionError("stream takes one prompt; call generate for a list")
        request = self._request(prompts[0], config, options, stream=True)
        self._submit([request])
        return GenerationStream(self._engine, request)

    def chat(
        self,
        messages: Messages,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_options: Mapping[str, Any] | None = None,
        config: GenerationConfig | None = None,
        **options: Any,
    ) -> GenerationResult:
        """Answer a conversation.

        Args:
            messages: The conversation so far, the last message usually the user's.
            tools: Functions that the model may call, in OpenAI's form.
            template_options: Further variables of the model's chat template, such as enable_thinking.
            config: Options; None takes the model's defaults.
            options: Options by name, over those of `config`.

        Raises:
            ChatTemplateError: The model has no chat template, or it refuses the conversation.
            OptionError, GenerationError: As for `generate`.
        """
        token_ids = self._chat_prompt(messages, tools, template_options)
        return self._run([self._request(token_ids, config, options)])[0]

    def stream_chat(
        self,
        messages: Messages,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_options: Mapping[str, Any] | None = None,
        config: GenerationConfig | None = None,
        **options: Any,
    ) -> GenerationStream:
        """Answer a conversation, yielding text as it comes; arguments as for `chat`."""
        token_ids = self._chat_prompt(messages, tools, template_options)
        return self.stream(token_ids=token_ids, config=config, **options)

    async def agenerate(
        self,
        prompt: str | None = None,
        *,
        token_ids: Sequence[int] | None = None,
        config: GenerationConfig | None = None,
        **options: Any,
    ) -> GenerationResult:
        """Continue a prompt without blocking the event loop; arguments as for `generate`, one prompt per call."""
        prompts, is_batch = self._prompts(prompt, token_ids)
        if is_batch:
            raise OptionError("agenerate takes one prompt; await several calls with asyncio.gather")
        request = self._request(prompts[0], config, options)
        self._check_open()
        async for _ in self._background.pieces(request):
            pass
        return _result_of(request)

    async def astream(
        self,
        prompt: str | None = None,
        *,
        token_ids: Sequence[int] | None = None,
        config: GenerationConfig | None = None,
        **options: Any,
    ) -> AsyncIterator[Piece]:
        """Continue a prompt, yielding text as it comes, without blocking the event loop."""
        prompts, is_batch = self._prompts(prompt, token_ids)
        if is_batch:
            raise OptionError("astream takes one prompt")
        request = self._request(prompts[0], config, options, stream=True)
        self._check_open()
        async with contextlib.aclosing(self._background.pieces(request)) as pieces:
            async for piece in pieces:
                yield piece

    def logits(
        self, text: str | None = None, *, token_ids: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the model's logits at every token of a text, float32 [num_tokens, vocab].

        Row i is what the model expects after token i.

        Raises:
            OptionError: The text is empty or longer than the context.
        """
        prompts, is_batch = self._prompts(text, token_ids)
        if is_batch:
            raise OptionError("logits takes one text")
        self._check_open()
        return self._engine.score(prompts[0])

    def close(self) -> None:
        """Stop the background thread and free the model; calls after this raise GenerationError.

        What is awaited ends as cancelled. Does nothing if it was closed already.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._background.close()
        del self._engine, self._background, self._decoder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prompts(
        self, prompt: str | Sequence[str] | None, token_ids: Sequence[int] | Sequence[Sequence[int]] | None
    ) -> tuple[list[list[int]], bool]:
        """Return the prompts as tokens, and whether the caller gave a list of them."""
        if (prompt is None) == (token_ids is None):
            raise OptionError("pass either a prompt or token_ids")
        if isinstance(prompt, str):
            return [self.tokenizer.encode(prompt)], False
        if prompt is not None:
            return self.tokenizer.encode_batch(list(prompt)), True
        ids = list(token_ids or ()) if not isinstance(token_ids, np.ndarray) else token_ids.tolist()
        if ids and isinstance(ids[0], (Sequence, np.ndarray)):
            return [_checked_ids(row) for row in ids], True
        return [_checked_ids(ids)], False

    def _chat_prompt(
        self,
        messages: Messages,
        tools: Sequence[Mapping[str, Any]] | None,
        template_options: Mapping[str, Any] | None,
    ) -> list[int]:
        if isinstance(messages, str):
            raise OptionError('messages must be a list of messages, such as [Message("user", "Hello")]')
        return self.tokenizer.encode_chat(messages, tools=tools, **(template_options or {}))

    def _request(
        self,
        token_ids: Sequence[int],
        config: GenerationConfig | None,
        options: Mapping[str, Any],
        *,
        stream: bool = False,
    ) -> Request:
        if config is None:
            config = self.folder.generation
            options = {**self.folder.limits.options(len(token_ids), options), **options}
        config = config.merge(**options)
        if (config.stop or config.bad_words) and self._tokenizer is None:
            raise TokenizerError(f"stop and bad_words need a tokenizer: {self._tokenizer_error}")
        return Request(
            token_ids,
            config,
            tokenizer=self._tokenizer,
            eos_token_ids=self.folder.eos_token_ids,
            stream=stream,
        )

    def _submit(self, requests: Sequence[Request]) -> None:
        """Submit all, or none if one of them cannot run."""
        self._check_open()
        submitted: list[Request] = []
        try:
            for request in requests:
                self._engine.submit(request)
                submitted.append(request)
        except BaseException:
            self._cancel(submitted)
            raise

    def _run(self, requests: Sequence[Request]) -> list[GenerationResult]:
        self._submit(requests)
        try:
            self._engine.run(requests)
            return [_result_of(request) for request in requests]
        finally:
            self._cancel(requests)

    def _cancel(self, requests: Sequence[Request]) -> None:
        for request in requests:
            if not request.is_finished:
                self._engine.cancel(request)

    def _check_open(self) -> None:
        if self._is_closed:
            raise GenerationError("this Generator was closed; make a new one")


def _load_tokenizer(folder: ModelFolder) -> tuple[Tokenizer | None, str]:
    try:
        return Tokenizer.from_folder(folder.tokenizer_path), ""
    except TokenizerError as error:
        return None, str(error)


def _checked_ids(token_ids: Any) -> list[int]:
    row = token_ids if isinstance(token_ids, (Sequence, np.ndarray)) else [token_ids]
    for token_id in row:
        if not isinstance(token_id, (int, np.integer)) or isinstance(token_id, bool):
            raise OptionError(f"token_ids must be integers, or lists of integers, not {token_id!r}")
    return [int(token_id) for token_id in row]


def _result_of(request: Request) -> GenerationResult:
    if request.error is not None:
        raise request.error
    assert request.result is not None
    return request.result
