"""`genai tokenize`: show the tokens that a text is for a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genai.cli.command import command
from genai.cli.loading import prepare_folder
from genai.cli.options import FolderFlags, JsonFlag, ModelName, OfflineFlag, Revision, RunFlags
from genai.cli.output import format_table, print_json, print_result
from genai.cli.progress import StageProgress
from genai.cli.standard_input import read_standard_input
from genai.errors import OptionError

if TYPE_CHECKING:
    from genai.text import Tokenizer

__all__ = ["tokenize"]


@command(
    'genai tokenize "What is a token?"',
    "genai tokenize - --model phi --count < story.txt",
)
def tokenize(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text; - reads stdin.")],
    *,
    model: ModelName = "demo",
    revision: Revision = None,
    offline: OfflineFlag = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Take the text as a message, in the model's chat template.")
    ] = False,
    system: Annotated[str | None, typer.Option(help="System prompt before it (with --chat).")] = None,
    no_special: Annotated[
        bool, typer.Option("--no-special", help="Leave out what the model expects before a text.")
    ] = False,
    count: Annotated[bool, typer.Option("--count", help="Print only how many there are.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show the tokens of a text: ids, entries of the vocabulary, and the text that each adds.

    A folder needs its tokenizer alone; another model that is not here is
    pulled first.
    """
    if chat and no_special:
        raise OptionError("--no-special is for plain text: what --chat takes is all in the template")
    if system is not None and not chat:
        raise OptionError("--system is for a conversation: pass --chat too")
    if count and json:
        raise OptionError("--count prints a number: leave --json out, in which it is a field")
    tokenizer = _find_tokenizer(model, revision=revision, offline=offline)
    text = read_standard_input() if text == "-" else text
    token_ids = _encode(tokenizer, text, is_message=chat, system=system, adds_special=not no_special)
    if count:
        print_result(str(len(token_ids)))
        return
    names = [tokenizer.id_to_token(token_id) or "" for token_id in token_ids]
    tokens = list(zip(token_ids, names, _texts(tokenizer, token_ids), strict=True))
    if json:
        shown = [{"id": token_id, "token": name, "text": added} for token_id, name, added in tokens]
        print_json({"model": model, "count": len(tokens), "tokens": shown})
    else:
        rows = [[str(token_id), repr(name), repr(added)] for token_id, name, added in tokens]
        print_result(format_table(["ID", "TOKEN", "TEXT"], rows))


def _find_tokenizer(model: str, *, revision: str | None, offline: bool) -> Tokenizer:
    from genai.runtime.providers import preferred_provider
    from genai.text import Tokenizer

    if Path(model).is_dir():
        return Tokenizer.from_folder(model)
    with StageProgress() as progress:
        provider = preferred_provider(RunFlags().options)
        folder = prepare_folder(model, FolderFlags(offline=offline), provider, progress, revision=revision)
    return Tokenizer.from_folder(folder.tokenizer_path)


def _encode(
    tokenizer: Tokenizer, text: str, *, is_message: bool, system: str | None, adds_special: bool
) -> list[int]:
    from genai.config import Message

    if is_message:
        before = [] if system is None else [Message("system", system)]
        return tokenizer.encode_chat([*before, Message("user", text)])
    return tokenizer.encode(text, add_special_tokens=adds_special)


def _texts(tokenizer: Tokenizer, token_ids: Sequence[int]) -> list[str]:
    """Return what each token adds to the text; of a character in several tokens the last one adds it."""
    detokenizer = tokenizer.detokenizer(skip_special_tokens=False)
    texts = [detokenizer.push(token_id) for token_id in token_ids]
    if texts:
        texts[-1] += detokenizer.finish()
    return texts
