"""A Generator whose model says what a test wants: the demo model's folder with another template, and a scripted decoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import genai
from genai import Generator
from genai.cache import Slot
from genai.model import Span
from genai.text import Tokenizer
from tests.fakes import FakeModel

CHATML = (
    "{%- if tools %}<|im_start|>system\n{{ tools | tojson }}<tool_call></tool_call><|im_end|>\n{% endif %}"
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{%- for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML + "{%- if add_generation_prompt %}<think>\n{% endif %}{# </think> #}"


class ScriptedModel(FakeModel):
    """A fake model that gives the next of some answers to every new prompt."""

    provider = "cpu"
    num_untried_rows = 0

    def __init__(self, tokenizer: Tokenizer, answers: Sequence[str]) -> None:
        super().__init__(vocab_size=1700, context_length=2048)
        self.prompts: list[str] = []
        self._tokenizer = tokenizer
        self._answers = list(answers)
        self._is_prefill = False
        self._continuations: dict[tuple[int, ...], list[int]] = {}

    def _append(self, span: Span) -> npt.NDArray[np.float32]:
        self._is_prefill = not span.num_logits
        logits = super()._append(span)
        self._is_prefill = False
        return logits

    def _logits(self, slot: Slot) -> npt.NDArray[np.float32]:
        plain = super()._logits(slot)
        if self._is_prefill:  # nobody looks at these
            return plain
        ids = tuple(slot.token_ids)
        going_on = [  # a prompt that is longer than an earlier one and its answer is another turn
            prompt
            for prompt, said in self._continuations.items()
            if ids[: len(prompt)] == prompt and len(ids) < len(prompt) + len(said)
        ]
        prompt = max(going_on, key=len, default=ids)
        end = self._tokenizer.eos_token_id
        assert end is not None
        if prompt not in self._continuations and self._answers:
            said = self._tokenizer.encode(self._answers.pop(0), add_special_tokens=False)
            self._continuations[prompt] = [*said, end]
            self.prompts.append(self._tokenizer.decode(prompt, skip_special_tokens=False))
        said = self._continuations.get(prompt, [end])  # beams look beyond the end, too
        logits = np.zeros(self.vocab_size, np.float32)
        logits[said[len(ids) - len(prompt)]] = 9
        return logits


def make_scripted(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: Sequence[str],
    *,
    template: str = CHATML,
    special_tokens: Sequence[str] = (),
) -> tuple[Generator, ScriptedModel]:
    """Return a generator with this chat template, whose model gives these answers one after another."""
    shutil.copytree(Path(genai.__file__).parent / "demo_model", folder, dirs_exist_ok=True)
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    config["extra_special_tokens"] += special_tokens
    path.write_text(json.dumps(config), "utf-8")
    # What it says hangs on what it was asked first, so that it must not be asked about guesses.
    defaults = folder / "generation_config.json"
    options = json.loads(defaults.read_text("utf-8"))
    defaults.write_text(json.dumps({**options, "speculative": "off"}), "utf-8")
    model = ScriptedModel(Tokenizer.from_folder(folder), answers)
    monkeypatch.setattr("genai.loaded_model.Decoder", lambda *_, **__: model)
    return Generator(folder, provider="cpu"), model
