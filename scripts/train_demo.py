"""Train genai's demo model from the hand-written corpus and measure it on the held-out questions.

    python scripts/train_demo.py --output DIR [--quick] [--release FOLDER]

DIR becomes an ordinary Hugging Face checkpoint with an evaluation.json beside it; FOLDER (genai/demo_model) becomes the
model folder that the package ships, with its model card. Deterministic on one machine:
the same corpus, settings and library versions give the same weights.
"""

import argparse
import json
import os
import random
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

# Read by OpenMP when torch loads it: threads that spin would starve a machine shared with others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from transformers import AutoTokenizer, GenerationConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parent))

from demo.augment import Augmenter
from demo.conversations import ConversationMaker
from demo.corpus import (
    CORPUS_FOLDER,
    Corpus,
    Question,
    all_readings,
    expand_phrasing,
    load_corpus,
    load_questions,
    normalize_question,
)
from demo.evaluation import Score, answer_all, later_turns, quantize_weights, score_answers, single_turns
from demo.release import release
from demo.tokenizer import PAD_TOKEN, TURN_END, build_tokenizer, save_tokenizer
from demo.training import TrainingSettings, build_model
from demo.training import train as train_model

QUICK = TrainingSettings(
    hidden_size=64, num_layers=2, num_heads=4, num_key_value_heads=2, intermediate_size=128, steps=150
)


def main() -> None:
    """Parse the command line, train, evaluate and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument(
        "--quick", action="store_true", help="train a tiny model for about a minute, for tests"
    )
    parser.add_argument(
        "--development", action="store_true", help="leave two phrasings per intent out and score on them"
    )
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="override training settings"
    )
    parser.add_argument(
        "--release", type=Path, metavar="FOLDER", help="export the checkpoint into this folder"
    )
    arguments = parser.parse_args()
    settings = override_settings(QUICK if arguments.quick else TrainingSettings(), arguments.set)
    corpus = load_corpus()
    questions = load_questions(CORPUS_FOLDER / "heldout", intents=corpus.intents)
    forbidden = questions
    if arguments.development:
        corpus, questions = split_for_development(corpus)
    train(corpus, arguments.output, forbidden=forbidden, settings=settings)
    evaluate(arguments.output, corpus, questions)
    if arguments.release is not None:
        release(arguments.output, arguments.release, corpus, questions, precision="int8")


def train(
    corpus: Corpus, output: Path, *, forbidden: tuple[Question, ...], settings: TrainingSettings
) -> None:
    """Train on `corpus` without any `forbidden` question and write a Hugging Face checkpoint into `output`."""
    make_deterministic(settings.seed)
    assert_disjoint(corpus, forbidden)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(
        tokenizer_texts(corpus, forbidden=forbidden, seed=settings.seed), vocab_size=settings.vocab_size
    )
    save_tokenizer(tokenizer, output, max_length=settings.max_positions)
    eos_id, pad_id = tokenizer.token_to_id(TURN_END), tokenizer.token_to_id(PAD_TOKEN)
    model = build_model(settings, eos_id=eos_id, pad_id=pad_id)
    print(f"{len(corpus.intents)} intents, {model.num_parameters():,} parameters", file=sys.stderr)
    maker = ConversationMaker(corpus, tokenizer, forbidden=forbidden)
    seconds = train_model(maker, model, num_intents=len(corpus.intents), settings=settings)
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=128, eos_token_id=[eos_id], pad_token_id=pad_id
    )
    model.save_pretrained(output)
    facts = {
        "settings": asdict(settings),
        "num_parameters": model.num_parameters(),
        "training_seconds": round(seconds),
    }
    (output / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


def evaluate(checkpoint: Path, corpus: Corpus, questions: tuple[Question, ...]) -> dict[str, Any]:
    """Score a checkpoint in fp32, int8 and int4, print a table, write evaluation.json and return its content."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    variants = {"fp32": model} | {f"int{bits}": quantize_weights(model, bits=bits) for bits in (8, 4)}
    conversations = {
        "alone": single_turns(questions),
        "third turn": later_turns(questions, intents=corpus.intents),
    }
    report: dict[str, Any] = {
        "num_intents": len(corpus.intents),
        "num_questions": len(questions),
        "accuracy": {},
    }
    print(f"{'':8}{'alone':>12}{'third turn':>12}   of {len(questions)} questions answered exactly right")
    for name, variant in variants.items():
        scores: dict[str, Score] = {}
        for kind, messages in conversations.items():
            scores[kind] = score_answers(
                answer_all(variant, tokenizer, messages), questions, intents=corpus.intents
            )
        print(f"{name:8}" + "".join(f"{score.accuracy:12.1%}" for score in scores.values()))
        report["accuracy"][name] = {kind: round(score.accuracy, 4) for kind, score in scores.items()}
        if name == "int8":
            report["failures_int8_alone"] = [asdict(failure) for failure in scores["alone"].failures]
    (checkpoint / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def tokenizer_texts(corpus: Corpus, *, forbidden: tuple[Question, ...], seed: int) -> list[str]:
    """Return what the tokenizer is trained on: the answers, and augmented questions of all intents."""
    rng = random.Random(seed)
    augmenter = Augmenter(corpus.wording)
    held_out = {normalize_question(question.text) for question in forbidden}
    questions = [augmenter.question(intent, rng) for intent in corpus.intents for _ in range(120)]
    questions = [question for question in questions if normalize_question(question) not in held_out]
    answers = [intent.answer for intent in corpus.intents for _ in range(12)]
    return questions + answers + [*corpus.wording.systems, "user\nassistant\nsystem\n"] * 20


def split_for_development(corpus: Corpus, *, num_lines: int = 2) -> tuple[Corpus, tuple[Question, ...]]:
    """Take `num_lines` phrasings from every intent and return the smaller corpus with questions made of them."""
    rng = random.Random(7)
    intents, questions = [], []
    for intent in corpus.intents:
        taken = set(rng.sample(range(len(intent.phrasings)), num_lines))
        kept = tuple(p for i, p in enumerate(intent.phrasings) if i not in taken)
        readings = {normalize_question(r) for phrasing in kept for r in all_readings(phrasing)}
        intents.append(replace(intent, phrasings=kept))
        for i in sorted(taken):
            text = expand_phrasing(intent.phrasings[i], rng)
            if normalize_question(text) and normalize_question(text) not in readings:
                questions.append(Question(text, intent.name))
    return Corpus(tuple(intents), corpus.wording), tuple(questions)


def assert_disjoint(corpus: Corpus, held_out: tuple[Question, ...]) -> None:
    """Assert that no held-out question is a reading of any phrasing; ConversationMaker filters augmented ones."""
    questions = {normalize_question(question.text) for question in held_out}
    for intent in corpus.intents:
        for phrasing in intent.phrasings:
            for reading in all_readings(phrasing):
                assert normalize_question(reading) not in questions, (
                    f"held-out question in {intent.name}: {reading!r}"
                )


def override_settings(settings: TrainingSettings, assignments: list[str]) -> TrainingSettings:
    """Return `settings` with NAME=VALUE assignments applied, each in the type of the field."""
    pairs = (assignment.split("=", 1) for assignment in assignments)
    return replace(settings, **{name: type(getattr(settings, name))(value) for name, value in pairs})


def make_deterministic(seed: int) -> None:
    """Seed torch and forbid its nondeterministic algorithms; two threads, as the results depend on their number."""
    torch.manual_seed(seed)
    torch.set_num_threads(int(os.environ.get("GENAI_TRAIN_THREADS", "2")))
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False


if __name__ == "__main__":
    main()
