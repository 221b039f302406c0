"""Text: tokenizer, streaming detokenizer, stop strings, chat templates."""

from genai.text.chat_template import ChatTemplate
from genai.text.detokenizer import Detokenizer
from genai.text.prefix import prefix_of
from genai.text.stop import StopMatcher, StopResult
from genai.text.stop_regex import RegexStopMatcher, find_regex
from genai.text.template_probe import tools_as_text, with_arguments_as
from genai.text.text_file import read_utf8
from genai.text.tokenizer import KeepingTokenizer, Tokenizer
from genai.text.turns import drop_oldest_turns

__all__ = [
    "ChatTemplate",
    "Detokenizer",
    "KeepingTokenizer",
    "RegexStopMatcher",
    "StopMatcher",
    "StopResult",
    "Tokenizer",
    "drop_oldest_turns",
    "find_regex",
    "prefix_of",
    "read_utf8",
    "tools_as_text",
    "with_arguments_as",
]
