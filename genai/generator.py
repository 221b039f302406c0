"""The front of the package: `Generator` joins a model folder, the tokenizer, a session and the engine.

What it says here is carried out elsewhere: `request_builder` makes requests, `request_runner` runs them, `text_reader`
reads texts that are not continued.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

import numpy as np
import numpy.typing as npt

from genai.chat_prompt import ChatPrompt
from genai.chat_stream import AsyncChatStream, ChatStream
from genai.config import GenerationConfig, GenerationOptions, ToolChoiceLike, check_optimize_for
from genai.draft_folder import prepare_draft
from genai.embedding import Pooling
from genai.engine import (
    AsyncGenerationStream,
    EnginePool,
    GenerationResult,
    GenerationStream,
    Request,
    Workload,
)
from genai.folder import ModelFolder
from genai.generator_checks import check_bools, check_nothing_to_choose, device_ids
from genai.loaded_model import LoadedModel, load_model
from genai.prepare import prepare_model
from genai.request_builder import (
    ChatOptions,
    ConfiguredOptions,
    Conversation,
    Messages,
    TokenIds,
    Tools,
    is_batch,
)
from genai.request_runner import RequestRunner
from genai.runtime import Decoder
from genai.runtime.providers import preferred_provider
from genai.scoring import TokenScores
from genai.text import Tokenizer
from genai.text_reader import TextReader
from genai.tool_rounds import ToolRounds

if TYPE_CHECKING:
    from genai.reranking import RankedDocument

__all__ = ["Generator"]


class Generator:
    """A model that continues text.

    Safe to call from several threads; what they ask for at the same time runs in one batch. After `close`, everything
    but `folder` raises GenerationError. Options by name are the fields of `GenerationConfig`.

    Args:
        model: A model folder, a checkpoint folder, an alias ("phi"), or a hub id ("owner/name[@revision][:folder]").
            A checkpoint is exported once, on first use. Or a `ModelFolder`, which is used as it is.
        provider: Execution provider ("cpu", "cuda", "directml", ...), or "auto" for the best that is there.
        device_id: Which device of the provider.
        devices: Several devices of the provider, each of which holds the whole model; requests are spread over them by
            what their caches hold and how much they have to do. Limits count for each of them.
        max_context: Most tokens per sequence, prompt included; None is the model's context length.
        max_batch: Most sequences that run at a time; None is 16.
        kv_cache_bytes: Most bytes of KV cache; None is no limit on the host, and nine tenths of what is free on a device.
        num_threads: Threads per operator; None is ONNX Runtime's choice.
        revision: Branch, tag or commit of a hub repository.
        offline: Use no network.
        precision: Precision of the export, if there has to be one; None takes the alias's, else int4.
        variant: Which ONNX file to run where a folder or repository has several ("q4", "fp16", "q4f16", "int8", ...);
            None takes the one that suits the provider.
        progress: Called with (what, done, total) while a model is downloaded or exported.
        provider_library: A plug-in library of execution providers to register, one of which `provider` names.
        strict: Whether it is an error that the provider leaves nodes to the CPU, or that "auto" takes the CPU where an
            accelerator is there, instead of a warning in the log.
        optimize_for: "speed" has prompts read, and large batches decoded, by a second graph with weights of 8 bits, which
            takes a byte for every weight more, "memory" has one graph do all, and "auto" is "speed" where enough memory is free. It means something
            where the CPU runs a quantized model.
        draft: A smaller model with the same vocabulary, named as `model` is, that guesses tokens for it to confirm several
            at a time (`speculative`). It runs on the same device and has a cache of its own, for which limits count too.

    Raises:
        ModelNotFoundError: The name stands for nothing, or cannot be had now.
        ModelFolderError, CheckpointError, ExportError: The model is damaged, unsupported, or cannot be exported.
        ProviderError: The provider is not available, or does not run the whole model though strict.
        OptionError: An option is impossible.
    """

    def __init__(
        self,
        model: str | Path | ModelFolder,
        *,
        provider: str = "auto",
        device_id: int = 0,
        devices: Sequence[int] | None = None,
        max_context: int | None = None,
        max_batch: int | None = None,
        kv_cache_bytes: int | None = None,
        num_threads: int | None = None,
        revision: str | None = None,
        offline: bool = False,
        precision: str | None = None,
        variant: str | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        provider_library: str | Path | None = None,
        strict: bool = False,
        optimize_for: str = "auto",
        draft: str | Path | ModelFolder | None = None,
    ) -> None:
        numbers = device_ids(device_id, devices)
        check_bools(offline=offline, strict=strict)
        check_optimize_for(optimize_for)
        first = preferred_provider({"provider": provider, "provider_library": provider_library})
        if isinstance(model, ModelFolder):
            check_nothing_to_choose(revision=revision, precision=precision, variant=variant)
            self.folder = model
        else:
            self.folder = prepare_model(
                model,
                revision=revision,
                offline=offline,
                precision=precision,
                variant=variant,
                provider=first,
                progress=progress,
            )
        draft_folder = None
        if draft is not None:
            draft_folder = prepare_draft(
                draft, self.folder, provider=first, offline=offline, progress=progress
            )
        loaded = load_model(
            self.folder,
            draft_folder,
            devices=numbers,
            max_context=max_context,
            max_batch=max_batch,
            kv_cache_bytes=kv_cache_bytes,
            optimize_for=optimize_for,
            provider_library=provider_library,
            placement={
                "provider": first if strict else provider,  # "auto" would go on to the next
                "num_threads": num_threads,
                "strict": strict,
            },
        )
        self._runner = RequestRunner(loaded)
        self._reader = TextReader(self._runner)

    def __repr__(self) -> str:
        state = "closed" if self._runner.is_closed else f"provider={self.provider!r}"
        return f"{type(self).__name__}({str(self.folder.path)!r}, {state})"

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            TokenizerError: The folder has none.
        """
        return self._loaded.builder.tokenizer

    @property
    def context_length(self) -> int:
        """Most tokens per sequence, prompt included."""
        return self._decoder.context_length

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the model's low-rank adapters, of which the option `adapter` names one."""
        return tuple(self._decoder.adapters)

    @property
    def vocab_size(self) -> int:
        """Number of logits per position."""
        return self._decoder.vocab_size

    @property
    def provider(self) -> str:
        """The execution provider that runs the model."""
        return self._decoder.provider

    @property
    def device_id(self) -> int:
        """Which device of the provider runs the model; of several, the first."""
        return self._loaded.device_id

    @property
    def provider_library(self) -> str | Path | None:
        """The plug-in library of execution providers that was registered for it."""
        return self._loaded.provider_library

    @overload
    def generate(  # type: ignore[overload-overlap]  # a text is a sequence of texts, too; this one goes first
        self, prompt: str, **options: Unpack[ConfiguredOptions]
    ) -> GenerationResult: ...
    @overload
    def generate(
        self, prompt: Sequence[str], **options: Unpack[ConfiguredOptions]
    ) -> list[GenerationResult]: ...
    @overload
    def generate(
        self, *, token_ids: Sequence[int | np.integer[Any]], **options: Unpack[ConfiguredOptions]
    ) -> GenerationResult: ...
    @overload
    def generate(
        self, *, token_ids: Sequence[TokenIds], **options: Unpack[ConfiguredOptions]
    ) -> list[GenerationResult]: ...
    @overload
    def generate(
        self, *, token_ids: npt.NDArray[np.integer[Any]], **options: Unpack[ConfiguredOptions]
    ) -> GenerationResult | list[GenerationResult]: ...
    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        token_ids: TokenIds | Sequence[TokenIds] | None = None,
        config: GenerationConfig | None = None,
        **options: Unpack[GenerationOptions],
    ) -> GenerationResult | list[GenerationResult]:
        """Continue one prompt, or several at once.

        Args:
            prompt: A text, or a list of texts.
            token_ids: Instead of a text, its tokens; a list of lists, or an array of two dimensions, is several prompts.
            config: Options; None takes the model's defaults.
            options: Options by name, over those of `config`.

        Returns:
            One result for one prompt; a list, in order, for a list.

        Raises:
            OptionError: An option is unknown or impossible, or a prompt does not fit the context.
            GenerationError: The model failed to run.
        """
        builder = self._loaded.builder
        requests = [
            builder.build(ChatPrompt(ids), config=config, options=options, stream=False)
            for ids in builder.encode_prompts(prompt, token_ids)
        ]
        results = self._runner.run(requests)
        return results if is_batch(prompt, token_ids) else results[0]

    def stream(
        self,
        prompt: str | None = None,
        *,
        token_ids: TokenIds | None = None,
        config: GenerationConfig | None = None,
        **options: Unpack[GenerationOptions],
    ) -> GenerationStream:
        """Continue a prompt, yielding text as it comes; arguments as for `generate`, one prompt per call.

        Closing or dropping the stream early cancels the generation. The stream's `result` is there when it has ended.
        Errors in the arguments are raised by the call, not by the loop.
        """
        return self.submit(self.build_request(prompt, token_ids=token_ids, config=config, **options))

    def chat(
        self,
        messages: Messages,
        *,
        auto_call: bool = False,
        max_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> GenerationResult:
        """Answer a conversation.

        Args:
            messages: The conversation so far, the last message usually the user's.
            auto_call: Call the functions that the model asks for, tell it what they return or raise, and let it go on.
            max_rounds: Most answers whose calls are carried out, 8 if nothing is said; those of one more stay in the result.
                `max_time` counts for all rounds together.
            options: `config` and options by name as for `generate`, and those of `ChatOptions`: `tools`, functions that
                the model may call, `tool_choice`, `parallel_tool_calls`, `template_options`, further variables of its chat template, and
                `continue_final_message`, whether the last message is the beginning of the answer, such as
                `Message("assistant", "Sure, ")`; the answer is then what comes after it.

        Raises:
            ChatTemplateError: The model has no chat template, or it refuses the conversation.
            OptionError, GenerationError: As for `generate`.
        """
        rounds = self._rounds(messages, options, auto_call=auto_call, max_rounds=max_rounds, stream=False)
        request: Request | None = rounds.first()
        while request is not None:
            (result,) = self._runner.run([request])
            request = rounds.after(result)
        return rounds.finish(result)

    @overload
    def stream_chat(
        self, messages: Messages, *, auto_call: Literal[False] = False, **options: Unpack[ChatOptions]
    ) -> GenerationStream: ...
    @overload
    def stream_chat(
        self,
        messages: Messages,
        *,
        auto_call: Literal[True],
        max_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatStream: ...
    def stream_chat(
        self,
        messages: Messages,
        *,
        auto_call: bool = False,
        max_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> GenerationStream | ChatStream:
        """Answer a conversation, yielding text as it comes; arguments as for `chat`, otherwise as `stream`.

        With `auto_call`, all answers come one after another. The last piece of each has a `finish_reason`, functions are
        called when the next piece is asked for, and the stream's `result` is the last answer.
        """
        rounds = self._rounds(messages, options, auto_call=auto_call, max_rounds=max_rounds, stream=True)
        return ChatStream(rounds, self.submit) if auto_call else self.submit(rounds.first())

    async def agenerate(
        self,
        prompt: str | None = None,
        *,
        token_ids: TokenIds | None = None,
        config: GenerationConfig | None = None,
        **options: Unpack[GenerationOptions],
    ) -> GenerationResult:
        """Continue a prompt without blocking the event loop; arguments as for `generate`, one prompt per call."""
        import asyncio  # 6 MB that only asynchronous callers need, and have

        request = await asyncio.to_thread(
            self.build_request, prompt, token_ids=token_ids, config=config, stream=False, **options
        )
        return await self._runner.run_in_background(request)

    def astream(
        self,
        prompt: str | None = None,
        *,
        token_ids: TokenIds | None = None,
        config: GenerationConfig | None = None,
        **options: Unpack[GenerationOptions],
    ) -> AsyncGenerationStream:
        """Continue a prompt, yielding text as it comes, without blocking the event loop; as `stream`.

        Call it in a running event loop. Errors in the arguments are raised by the call, not by the loop. The call itself
        tokenizes, and compiles a `response_format` that is new, which may take a second: where that is too long, await
        `build_request` in a thread (`asyncio.to_thread`) and pass the request to `asubmit`.
        """
        return self.asubmit(self.build_request(prompt, token_ids=token_ids, config=config, **options))

    async def achat(
        self,
        messages: Messages,
        *,
        auto_call: bool = False,
        max_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> GenerationResult:
        """Answer a conversation without blocking the event loop; as `chat`, whose functions run in a thread."""
        import asyncio  # as above

        rounds = self._rounds(messages, options, auto_call=auto_call, max_rounds=max_rounds, stream=False)
        request: Request | None = await asyncio.to_thread(rounds.first)
        while request is not None:
            result = await self._runner.run_in_background(request)
            request = await rounds.after_in_thread(result)
        return rounds.finish(result)

    @overload
    def astream_chat(
        self, messages: Messages, *, auto_call: Literal[False] = False, **options: Unpack[ChatOptions]
    ) -> AsyncGenerationStream: ...
    @overload
    def astream_chat(
        self,
        messages: Messages,
        *,
        auto_call: Literal[True],
        max_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncChatStream: ...
    def astream_chat(
        self,
        messages: Messages,
        *,
        auto_call: bool = False,
        max_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncGenerationStream | AsyncChatStream:
        """Answer a conversation, yielding text as it comes; as `stream_chat`, whose functions run in a thread here.

        Otherwise as `astream`.
        """
        rounds = self._rounds(messages, options, auto_call=auto_call, max_rounds=max_rounds, stream=True)
        return AsyncChatStream(rounds, self.asubmit) if auto_call else self.asubmit(rounds.first())

    def build_request(
        self,
        prompt: str | None = None,
        *,
        token_ids: TokenIds | None = None,
        messages: Messages | None = None,
        tools: Tools | None = None,
        tool_choice: ToolChoiceLike = "auto",
        parallel_tool_calls: bool = True,
        template_options: Mapping[str, object] | None = None,
        continue_final_message: bool = False,
        config: GenerationConfig | None = None,
        stream: bool = True,
        priority: int = 0,
        client: str | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Request:
        """Return a request for `submit` or `asubmit`, each of which takes it once.

        Args:
            prompt: A text.
            token_ids: Instead of a text, its tokens.
            messages: Instead of both, a conversation.
            tools: For a conversation, functions that the model may call, or their JSON schemas in OpenAI's form.
            tool_choice: Whether it must call: "none", "auto", "required", or a function's name.
            parallel_tool_calls: Whether one answer may have several calls; without, it ends behind the first.
            template_options: For a conversation, further variables of the chat template, such as enable_thinking.
            continue_final_message: For a conversation, whether to go on with its last message.
            config: Options; None takes the model's defaults.
            stream: Whether pieces are wanted as they come; without, the stream ends with its result alone.
            priority: Who goes first, where not all can run at once: the lower.
            client: Whom it is for, where several share the model: each of them gets an equal part of it, however many
                requests it has.
            options: Options by name, over those of `config`.

        Raises:
            ChatTemplateError: The model has no chat template, or it refuses the conversation.
            OptionError: An option is unknown or impossible.
        """
        builder = self._loaded.builder
        made = builder.prompt(
            prompt,
            token_ids=token_ids,
            messages=messages,
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=parallel_tool_calls,
            template_options=template_options,
            continue_final_message=continue_final_message,
            room=builder.room_for(config, options),
        )
        return builder.build(
            made,
            config=config,
            options=options,
            stream=stream,
            is_conversation=messages is not None,
            priority=priority,
            client=client,
        )

    def submit(self, request: Request) -> GenerationStream:
        """Queue a request and return its stream, whose iteration runs it.

        Raises:
            OptionError: What is asked for does not fit the context or the batch, or the request was submitted before.
        """
        return GenerationStream(self._runner.submit([request]), request)

    def asubmit(self, request: Request) -> AsyncGenerationStream:
        """Queue a request, to be run in the background, and return its stream; call it in a running event loop.

        Raises:
            OptionError: What is asked for does not fit the context or the batch, or the request was submitted before.
        """
        return self._runner.submit_in_background(request)

    def logits(
        self,
        text: str | None = None,
        *,
        token_ids: TokenIds | None = None,
        num_logits: int | None = None,
        adapter: str | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return the model's logits at every token of a text, float32 [num_tokens, vocab].

        Row i is what the model expects after token i.

        Args:
            text: A text.
            token_ids: Instead of a text, its tokens.
            num_logits: Only those at so many of the last tokens, float32 [num_logits, vocab]. Tokens before them that
                the cache still holds, from a shorter text for example, are not computed again.
            adapter: The adapter to compute with.

        Raises:
            OptionError: The text is empty or longer than the context, or has fewer tokens than `num_logits`; or there is no
                such adapter.
        """
        ids = self._loaded.builder.encode(text, token_ids=token_ids)
        return self._engine.score(ids, num_logits=num_logits, adapter=adapter)

    @overload
    def score(  # type: ignore[overload-overlap]  # as for `generate`
        self, text: str, *, context: str | None = None, adapter: str | None = None
    ) -> TokenScores: ...
    @overload
    def score(
        self, text: Sequence[str], *, context: str | None = None, adapter: str | None = None
    ) -> list[TokenScores]: ...
    @overload
    def score(self, *, token_ids: TokenIds, adapter: str | None = None) -> TokenScores: ...
    def score(
        self,
        text: str | Sequence[str] | None = None,
        *,
        context: str | None = None,
        token_ids: TokenIds | None = None,
        adapter: str | None = None,
    ) -> TokenScores | list[TokenScores]:
        """Return how likely the model finds each token of a text, in memory that does not grow with its length.

        Args:
            text: A text, or a list of texts.
            context: What stands before it (before each of them) and is not scored itself.
            token_ids: Instead of a text, its tokens.
            adapter: The adapter to compute with.

        Returns:
            The scores of all tokens but the first, which nothing stands before, or of those after the context.

        Raises:
            OptionError: There is nothing to score, or it is longer than the context length; or there is no such adapter.
            GenerationError: The model failed to run, or its logits are not finite.
        """
        return self._reader.score(text, context=context, token_ids=token_ids, adapter=adapter)

    def embed(
        self,
        text: str | Sequence[str] | None = None,
        *,
        token_ids: TokenIds | Sequence[TokenIds] | None = None,
        pooling: Pooling = "last",
        normalize: bool = True,
    ) -> npt.NDArray[np.float32]:
        """Return texts as vectors: pooled hidden states of the last layer.

        The first call opens a second session, which has the weights in memory once more.

        Args:
            text: A text, or a list of texts.
            token_ids: Instead of a text, its tokens; a list of lists is several texts.
            pooling: "last" is the hidden state of the last token, "mean" the mean of all; which one the model was trained
                for its card says.
            normalize: Whether vectors have the length 1, so that a product of two is their cosine.

        Returns:
            float32 [hidden_size] for a text, [texts, hidden_size] for a list.

        Raises:
            OptionError: A text is longer than the context; the pooling is unknown; or the graph, another tool's, does not
                tell where its hidden states are.
            GenerationError: The model failed to run.
        """
        return self._reader.embed(text, token_ids=token_ids, pooling=pooling, normalize=normalize)

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        instruction: str | None = None,
        adapter: str | None = None,
    ) -> list[RankedDocument]:
        """Return documents in the order in which they answer a query, best first, as the model judges each.

        It is asked about each document, all of them in one batch, and the score is the probability of "yes" against "no" as
        its next token. The prompt is Qwen3-Reranker's, in the model's own chat template, or in plain words where it has none:
        models that were trained for it judge best.

        Args:
            query: What is looked for.
            documents: Texts.
            top_n: Most documents to return; None is all.
            instruction: What the documents are wanted for; None is "Given a web search query, retrieve relevant passages that
                answer the query".
            adapter: The adapter to compute with.

        Raises:
            OptionError: A document is longer than the context; or the tokenizer does not tell "yes" from "no".
            TokenizerError: The folder has no tokenizer.
            ChatTemplateError: The chat template refuses the prompt.
            GenerationError: The model failed to run.
        """
        return self._reader.rerank(query, documents, top_n=top_n, instruction=instruction, adapter=adapter)

    def tokenize(self, text: str) -> list[int]:
        """Return a text's tokens as a prompt has them, with what the model expects before a text."""
        return self._loaded.builder.encode(text)

    def count_tokens(self, prompt: str | None = None, **conversation: Unpack[Conversation]) -> int:
        """Return how many tokens a text takes as a prompt, or a conversation with its tools (`messages`, `tools`, ...).

        Raises:
            OptionError: Not exactly one of `prompt` and `messages` is given.
            ChatTemplateError: The model has no chat template, or it refuses the conversation.
        """
        return len(self._loaded.builder.prompt(prompt, **conversation).token_ids)

    def save_cache(
        self,
        path: str | Path,
        prompt: str | None = None,
        *,
        token_ids: TokenIds | None = None,
        adapter: str | None = None,
        **conversation: Unpack[Conversation],
    ) -> int:
        """Write the keys and values of a text, its tokens or a conversation to a file, for `load_cache`.

        What is not cached is computed first. The file is as large as the cache's part is: two matrices of a layer for each
        token, in the type that the cache has here. What is computed with an `adapter` serves requests that name it.

        Returns:
            How many tokens it holds.

        Raises:
            OptionError: The text is empty, or leaves no room for another token; or there is no such adapter.
            OSError: The file cannot be written.
        """
        made = self._loaded.builder.prompt(prompt, token_ids=token_ids, **conversation)
        return self._reader.save_cache(Path(path), made, adapter=adapter)

    def load_cache(self, path: str | Path) -> list[int]:
        """Read a file of `save_cache`; what begins with its tokens is not computed again, as long as a slot holds them.

        With several `devices`, each gets them.

        Returns:
            The tokens.

        Raises:
            CacheFileError: The file is damaged, of another model or another form of it, or longer than the context.
            OSError: It cannot be read.
            OptionError: It is longer than kv_cache_bytes allows.
        """
        return self._reader.load_cache(Path(path))

    def warm_up(self) -> None:
        """Do now what the first batch would wait for: on a CPU, try which of two graphs decodes batches faster.

        Raises:
            GenerationError: The model failed to run.
        """
        if num_rows := self._decoder.num_untried_rows:
            self.generate(
                token_ids=[[0]] * num_rows, config=GenerationConfig(max_new_tokens=2, ignore_eos=True)
            )

    def workload(self) -> Workload:
        """Return how much runs and waits, and how full the KV cache is; cheap, and any thread may ask at any time."""
        return self._engine.workload()

    def close(self) -> None:
        """Stop the background thread and free the model; calls after this raise GenerationError.

        What runs, in any thread or event loop, ends as cancelled. Does nothing if it was closed already.
        """
        self._runner.close()

    def __enter__(self) -> Self:
        _ = self._loaded
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rounds(
        self,
        messages: Messages,
        options: ChatOptions,
        *,
        auto_call: bool,
        max_rounds: int | None,
        stream: bool,
    ) -> ToolRounds:
        return ToolRounds(
            partial(self.build_request, stream=stream),
            messages,
            options,
            auto_call=auto_call,
            max_rounds=max_rounds,
            is_closed=lambda: self._runner.is_closed,
        )

    @property
    def _loaded(self) -> LoadedModel:
        return self._runner.loaded

    @property
    def _engine(self) -> EnginePool:
        return self._runner.loaded.engines

    @property
    def _decoder(self) -> Decoder:
        return self._runner.loaded.decoder
