"""Turns the trained checkpoint into the model folder that the package ships, measured as a user will meet it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from genai import Generator, Message, __version__
from genai.export import export_model

from .corpus import Corpus, Question
from .evaluation import Score, evaluate

MAX_BYTES = 5_000_000
REQUIRED_ACCURACY = 0.9

CARD = """# The demo model of genai

A guide to genai and its field that runs anywhere, offline: `genai chat`. It is a decoder of {parameters:,} parameters
in the {architecture} architecture ({layers} layers, {hidden} wide, {context} tokens of context), trained from scratch by
`scripts/train_demo.py` on text written for this project (`scripts/demo/corpus`), and exported by genai at {precision}.

It knows {intents} things that people ask, small talk and polite refusals included, and has one answer for each. Everything
else it gets wrong: it shows how genai works, not what a language model can do.

**Evaluation.** {questions} questions, written by hand and never trained on (`scripts/demo/heldout`), each asked in a
conversation of its own; an answer counts only if it is exactly the right one. This exported folder, run by genai
{version} on the CPU: **{accuracy:.1%}** right. The script refuses to release less than {required:.0%}.

Made by `python scripts/train_demo.py --output DIR --release FOLDER`; sizes, checksums and tool versions are in
manifest.json. Apache-2.0, like genai.
"""


def release(
    checkpoint: Path,
    folder: Path,
    corpus: Corpus,
    questions: Sequence[Question],
    *,
    precision: str,
    required_accuracy: float = REQUIRED_ACCURACY,
) -> Score:
    """Export a checkpoint into `folder`, score it there, and write its model card.

    Raises:
        SystemExit: The folder is too large or answers too few questions; it is removed again.
    """
    exported = export_model(
        checkpoint, folder, precision=precision, overwrite=True, source="scripts/train_demo.py"
    )
    with Generator(folder) as generator:
        score = evaluate(
            lambda question: generator.chat([Message("user", question)]).text,
            questions,
            intents=corpus.intents,
        )
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"exported  {score.accuracy:.1%} of {score.num_questions} questions, {size:,} bytes")
    if size > MAX_BYTES or score.accuracy < required_accuracy:
        shutil.rmtree(folder)
        raise SystemExit(
            f"not released: at most {MAX_BYTES:,} bytes and {required_accuracy:.0%} are asked for"
        )
    assert exported.manifest is not None
    config = json.loads((checkpoint / "config.json").read_text())
    card = CARD.format(
        parameters=json.loads((checkpoint / "training.json").read_text())["num_parameters"],
        architecture=exported.manifest.architecture.removesuffix("ForCausalLM"),
        layers=exported.decoder.num_layers,
        hidden=config["hidden_size"],
        context=exported.decoder.context_length,
        precision=precision,
        intents=len(corpus.intents),
        questions=score.num_questions,
        version=__version__,
        accuracy=score.accuracy,
        required=required_accuracy,
    )
    (folder / "README.md").write_text(card)
    return score
