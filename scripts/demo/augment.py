"""Turns a hand-written phrasing into one of many ways in which people type it.

Knows the shared wording; does not know the held-out questions.
"""

import random
import re

from .corpus import Intent, Wording, expand_phrasing

_ACRONYMS = re.compile(
    r"\b(ai|api|awq|bf16|bos|bpe|cpu|cuda|eos|fp16|fp32|gpu|gptq|gqa|http|id|int4|int8|json|kv|llm|lora|mlp|moe|mqa|"
    r"onnx|ort|pdf|rag|ram|rope|rtn|sql|sse|ttft|url|genai|hf|oom|npu|amd)\b"
)
_CONTRACTIONS = (
    ("what is", "what's"), ("how is", "how's"), ("where is", "where's"), ("who is", "who's"), ("it is", "it's"),
    ("i am", "i'm"), ("you are", "you're"), ("do not", "don't"), ("does not", "doesn't"), ("can not", "can't"),
    ("cannot", "can't"), ("i would", "i'd"), ("i have", "i've"), ("is not", "isn't"), ("that is", "that's"),
)  # fmt: skip
_NEIGHBOURS = dict(zip("qwertyuiopasdfghjklzxcvbnm", "wertyuioiosdfghjklkxcvbnmn", strict=True))
_FILLERS = frozenset(
    ("a", "an", "the", "of", "to", "do", "does", "is", "are", "in", "on", "for", "my", "me", "please", "it", "i", "can", "you")
)  # fmt: skip
_SUBJECTS = r"(?:i|you|it|genai|we|one|they|the \w+|a \w+|an \w+|this|that)"


class Augmenter:
    """Makes varied questions from intents; all randomness comes from the generator that is passed in."""

    def __init__(self, wording: Wording) -> None:
        self._wording = wording
        self._synonyms = [
            (re.compile(rf"\b{re.escape(key)}\b"), values) for key, values in wording.synonyms.items()
        ]

    def question(self, intent: Intent, rng: random.Random) -> str:
        """Return one augmented question for `intent`."""
        return self.vary(self.phrase(intent, rng), rng)

    def phrase(self, intent: Intent, rng: random.Random) -> str:
        """Return a reading of a phrasing, or of a shared frame around one of the intent's terms."""
        if intent.terms and rng.random() < 0.35:
            article = rng.choice(("a ", "the ", "", ""))
            frame = (
                rng.choice(self._wording.frames)
                .replace("{a}", article)
                .replace("{t}", rng.choice(intent.terms))
            )
            return expand_phrasing(frame, rng)
        return expand_phrasing(rng.choice(intent.phrasings), rng)

    def vary(self, text: str, rng: random.Random) -> str:
        """Return `text` with random politeness, synonyms, typos, casing and punctuation."""
        if rng.random() < 0.30:
            text = self._substitute_synonym(text, rng)
        if rng.random() < 0.15:
            text = _contract(text, rng)
        if rng.random() < 0.15:
            text = _turn_round(text, rng)
        num_words = len(text.split())
        if num_words > 2 and rng.random() < 0.12:
            text = _embed(text, rng)
        elif rng.random() < (0.15 if num_words > 2 else 0.05):
            text = f"{rng.choice(self._wording.prefixes)}{rng.choice((' ', ' ', ', ', ': ', '. ', '... '))}{text}"
        suffix = ""
        if num_words > 1 and rng.random() < 0.10:
            suffix = f"{rng.choice((' ', ' ', ', ', '? '))}{rng.choice(self._wording.suffixes)}"
        if rng.random() < 0.12:
            text = _drop_filler(text, rng)
        if rng.random() < 0.22:
            text = _misspell(text, rng)
            if rng.random() < 0.25:
                text = _misspell(text, rng)
        return _punctuate(_change_case(text + suffix, rng), rng)

    def _substitute_synonym(self, text: str, rng: random.Random) -> str:
        candidates = [(pattern, values) for pattern, values in self._synonyms if pattern.search(text)]
        if not candidates:
            return text
        pattern, values = rng.choice(candidates)
        value = rng.choice(values)
        return pattern.sub(lambda _: value, text, count=1)


def _contract(text: str, rng: random.Random) -> str:
    candidates = [pair for pair in _CONTRACTIONS if re.search(rf"\b{pair[0]}\b", text)]
    if not candidates:
        return text
    full, short = rng.choice(candidates)
    return re.sub(rf"\b{full}\b", short if rng.random() < 0.6 else short.replace("'", ""), text, count=1)


def _embed(text: str, rng: random.Random) -> str:
    """Turn a direct question into an indirect one: "what is x" -> "can you tell me what x is"."""
    opening = rng.choice(
        ("can you tell me", "could you tell me", "do you know", "please tell me", "i want to know", "tell me",
         "i would like to know", "i wonder", "can you explain", "explain", "i'm not sure", "any idea", "please explain",
         "could you explain to me", "i don't know", "i am wondering", "may i ask", "i need to know")
    )  # fmt: skip
    if match := re.fullmatch(r"(what|where|who|how|why|which) (is|are) (.+)", text):
        return f"{opening} {match[1]} {match[3]} {match[2]}"
    if match := re.fullmatch(rf"(what|where|how|why|when) (does|do|can|should) ({_SUBJECTS}) (.+)", text):
        helper = f"{match[2]} " if match[2] in ("can", "should") else ""
        return f"{opening} {match[1]} {match[3]} {helper}{match[4]}"
    if match := re.fullmatch(rf"(does|do|can|is) ({_SUBJECTS}) (.+)", text):
        helper = f"{match[1]} " if match[1] in ("can", "is") else ""
        return f"{opening} {rng.choice(('if', 'whether'))} {match[2]} {helper}{match[3]}"
    return f"{opening} {text}" if re.match(r"(what|where|who|how|why|which|when)\b", text) else text


def _turn_round(text: str, rng: random.Random) -> str:
    """Turn "how do i x" into a statement or an afterthought: "i have to x", "x, how?"."""
    match = re.fullmatch(
        r"(?:how (?:do|can|should|would|could|might) i|how (?:to|do you|do we|does one)|can i|i want to|i need to) (.+)",
        text,
    )
    if not match:
        return text
    template = rng.choice(
        ("{}, how", "{} - how do i do that", "{}, how does that work", "{}, is that possible", "i have to {}", "{}, what do i do",
         "how is it possible to {}", "my goal is to {}", "i'm looking for a way to {}", "let me {}", "{}", "i would love to {}",
         "is there an option to {}", "how does one {}", "what if i want to {}", "how would you {}", "i plan to {}")
    )  # fmt: skip
    return template.format(match[1])


def _drop_filler(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    fillers = [i for i, word in enumerate(words) if word in _FILLERS]
    if len(words) < 4 or not fillers:
        return text
    del words[rng.choice(fillers)]
    return " ".join(words)


def _misspell(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    long_words = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not long_words:
        return text
    i = rng.choice(long_words)
    words[i] = _misspell_word(words[i], rng)
    return " ".join(words)


def _misspell_word(word: str, rng: random.Random) -> str:
    k = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(5)
    if kind == 0:
        return word[:k] + word[k + 1 :]
    if kind == 1:
        return word[:k] + word[k] + word[k:]
    if kind == 2:
        return word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    if kind == 3:
        return word[:k] + _NEIGHBOURS.get(word[k], word[k]) + word[k + 1 :]
    return word[:k] + rng.choice("aeiou") + word[k + 1 :] if word[k] in "aeiou" else word[:-1]


def _change_case(text: str, rng: random.Random) -> str:
    style = rng.random()
    if style < 0.50:
        return text
    if style < 0.53:
        return text.upper()
    if style < 0.88:
        text = re.sub(r"\bi\b", "I", text)
        if rng.random() < 0.7:
            text = _ACRONYMS.sub(
                lambda match: match.group().upper() if match.group() != "genai" else "genai", text
            )
        if text.startswith("genai "):
            return text
    return text[:1].upper() + text[1:]


def _punctuate(text: str, rng: random.Random) -> str:
    style = rng.random()
    if style < 0.42 or text[-1:] in "?!.":
        return text
    if style < 0.85:
        return text + "?"
    return text + rng.choice((".", "!", "??", " ?", "..", "?!"))
