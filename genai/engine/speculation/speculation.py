"""Whether sequences are guessed ahead, by whom, and how far: as far as it is expected to save time, and no farther."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

from genai.config import GenerationConfig
from genai.engine.sequence import GenerationSequence
from genai.engine.speculation.acceptance import Acceptance
from genai.engine.speculation.costs import RunCosts
from genai.engine.speculation.drafter import Drafter
from genai.engine.speculation.model_drafter import ModelDrafter
from genai.engine.speculation.ngrams import NgramDrafter
from genai.engine.strategies import Strategy
from genai.errors import OptionError
from genai.model import Model, Span

__all__ = ["Speculation"]

logger = logging.getLogger("genai.engine")

NUM_DRAFTED = (1, 3, 7, 15)
"""How many tokens a guess may have: few different numbers, so that what runs of each take is soon known."""
CAUTION = 0.9
"""The share of the tokens that are expected to be saved which is counted on."""
DRAFT_STEP = 0.25
"""What a step of a draft model is believed to cost, in steps of the model, before it is measured."""
LEAST_PATIENCE, MOST_PATIENCE = 16, 1024
"""After so many steps a drafter that has not paid, and cannot be watched for nothing, is tried again."""
PAUSE = 256
"""So many steps nothing is guessed by a drafter that has failed, which it would probably do again at the next."""


class Speculation:
    """Gives the sequences of an engine their drafts.

    Args:
        model: The model that looks at them.
        draft: A draft model.
        drafters: Who guesses, by the name of the option `speculative`, instead of prompt lookup and the draft model.
        costs: What runs take.

    Raises:
        OptionError: The draft model's cache cannot be cut back.
    """

    def __init__(
        self,
        model: Model,
        draft: Model | None = None,
        *,
        drafters: Mapping[str, Drafter] | None = None,
        costs: RunCosts | None = None,
    ) -> None:
        self._model = model
        if draft is not None and not draft.cache.can_truncate:
            raise OptionError(
                "a model whose layers have states (linear attention, convolutions) cannot be a draft model: what it "
                "guessed wrong could not be cut off its cache; take one of attention alone"
            )
        if drafters is None:
            drafters = {"ngram": NgramDrafter()}
            if draft is not None:
                drafters["draft"] = ModelDrafter(draft, vocab_size=model.vocab_size)
        self._drafters = dict(drafters)
        self._costs = costs or RunCosts()
        self._tracks: dict[GenerationSequence, _Track] = {}
        self._num_steps = 0
        self._paused_until: dict[Drafter, int] = {}

    def check_options(self, config: GenerationConfig) -> None:
        """See that what an option asks for by name can be had.

        Raises:
            OptionError: There is no draft model, or the model's cache cannot be cut back.
        """
        name = config.speculative
        if name == "draft" and name not in self._drafters:
            raise OptionError(
                'speculative="draft" needs a draft model: give one, Generator(model, draft=...) or --draft MODEL, '
                'or leave it at "auto"'
            )
        if name in ("ngram", "draft") and not self._model.cache.can_truncate:
            raise OptionError(
                f'speculative="{name}" is not possible with this model: its layers have states (linear attention, '
                'convolutions), which cannot be cut back to what was right of a guess; leave it at "auto"'
            )

    def draft(self, strategies: Sequence[Strategy]) -> None:
        """Give every sequence of these that runs next a draft, or none."""
        self._num_steps += 1
        speculating = [
            (strategy, drafter)
            for strategy in strategies
            if strategy.takes_drafts and (drafter := self._drafter_of(strategy.request.config)) is not None
        ]
        if not speculating:
            return
        num_rows = sum(sequence.has_slot for strategy in strategies for sequence in strategy.sequences)
        wanted: dict[Drafter, dict[GenerationSequence, int]] = {}
        for strategy, drafter in speculating:
            config = strategy.request.config
            for sequence in strategy.sequences:
                sequence.draft = ()
                if not sequence.has_slot:
                    continue
                track = self._look_at(sequence, drafter)
                limit = self._most_tokens(sequence, config.num_draft_tokens)
                if track.level is not None and limit:
                    track.count = self._num_drafted(track, drafter, limit, num_rows)
                    if track.count or drafter.is_free:
                        wanted.setdefault(drafter, {})[sequence] = max(track.count, 1)
        for drafter, counts in wanted.items():
            for sequence, tokens in self._guess(drafter, counts).items():
                track = self._tracks[sequence]
                track.guess, track.place = tokens, len(sequence.ids)
                if track.count:
                    sequence.draft = tokens

    def pause(self) -> None:
        """Take back all drafts, and give none for a while: there is no memory to look at them."""
        for sequence in self._tracks:
            sequence.draft = ()
        self._paused_until = dict.fromkeys(self._drafters.values(), self._num_steps + PAUSE)

    def note_step(self, spans: Sequence[Span], seconds: float) -> None:
        """Take in what a step took that ran these rows, and no prompts."""
        self._costs.note(spans, seconds)

    def forget(self, sequence: GenerationSequence) -> None:
        """Give up what is kept of a sequence that has no slot any more."""
        self._tracks.pop(sequence, None)
        sequence.draft = ()
        for drafter in self._drafters.values():
            drafter.forget(sequence)

    def reset(self) -> None:
        """Give up everything, whatever state an interruption left it in."""
        self._tracks.clear()
        for drafter in self._drafters.values():
            drafter.reset()

    def check(self) -> None:
        """Assert the invariants; for tests."""
        for drafter in self._drafters.values():
            if isinstance(drafter, ModelDrafter):
                drafter.check()

    def _guess(
        self, drafter: Drafter, counts: Mapping[GenerationSequence, int]
    ) -> Mapping[GenerationSequence, Sequence[int]]:
        """Return a drafter's guesses; none where it fails, as they would only have saved time."""
        try:
            return drafter.guess(counts)
        except Exception as error:  # noqa: BLE001 - whatever it is, the requests can do without
            logger.warning("a guess failed, and nothing is guessed for %d steps: %r", PAUSE, error)
            drafter.reset()
            self._paused_until[drafter] = self._num_steps + PAUSE
            return {}

    def _drafter_of(self, config: GenerationConfig) -> Drafter | None:
        """Return who guesses; by itself nobody does where what is guessed might change how a token is rounded."""
        name = config.speculative
        if name == "auto":
            name = "draft" if "draft" in self._drafters else "ngram"
            if name == "ngram" and self._model.rounds_activations:
                return None
        drafter = self._drafters[name]
        return drafter if self._paused_until.get(drafter, 0) <= self._num_steps else None

    def _look_at(self, sequence: GenerationSequence, drafter: Drafter) -> _Track:
        """Learn how good the last guess was, and ask how much speaks for the next."""
        track = self._tracks.get(sequence)
        if track is None:
            track = self._tracks[sequence] = _Track(Acceptance(drafter.chances))
        track.learn(sequence.ids)
        track.level = drafter.level(sequence)
        return track

    def _most_tokens(self, sequence: GenerationSequence, num_wanted: int | None) -> int:
        """Return how long a draft may be: within its option, and where it takes no memory that would not be there."""
        length, num_sequences, cache = sequence.length, sequence.request.num_draws, self._model.cache
        room = cache.capacity
        if sequence.window is not None:
            room = min(room, sequence.window)
        elif num_sequences > 1 and cache.shape.capacity_for(num_sequences) < length + sequence.num_left:
            return 0  # memory will end them all when the first one fills it: none may run ahead of the others
        most = min(sequence.num_left - 1, room - length, num_wanted or NUM_DRAFTED[-1])
        if most > 0:
            table = self._model.position_table_for(length + most)
            if table != sequence.slot.key.position_table:
                return 0
        return max(most, 0)

    def _num_drafted(self, track: _Track, drafter: Drafter, limit: int, num_rows: int) -> int:
        """Return how many tokens to guess so that the step gives most tokens in its time; 0 if none are best."""
        assert track.level is not None
        if num_rows == 1 and not (drafter.is_free or self._costs.is_known):
            return 0  # as long as drafts are taken, no run of one token would tell whether they pay
        costs, guess = self._costs, self._cost_of_guessing(drafter)
        best, best_speed = 0, num_rows / costs.plain(num_rows)
        counts = _numbers_up_to(limit)
        for count, expected in zip(
            counts, track.acceptance.expected_tokens(track.level, counts), strict=True
        ):
            cost = costs.plain(num_rows - 1) + costs.verification(count + 1) + count * guess
            speed = (num_rows + CAUTION * (expected - 1)) / cost
            if speed > best_speed:
                best, best_speed = count, speed
        return best if drafter.is_free else track.tried_again(best, min(limit, NUM_DRAFTED[1]))

    def _cost_of_guessing(self, drafter: Drafter) -> float:
        """Return what a token of a guess costs, in runs of one token; coarsely, as the costs of runs are."""
        if drafter.is_free:
            return 0.0
        seconds = drafter.seconds_per_token
        cost = None if seconds is None else self._costs.of_seconds(seconds)
        return DRAFT_STEP if not cost else 2.0 ** round(math.log2(cost))


class _Track:
    """What is known of one sequence's guesses.

    Args:
        acceptance: How often they were right.
    """

    __slots__ = ("_num_idle", "_patience", "acceptance", "count", "guess", "level", "place")

    def __init__(self, acceptance: Acceptance) -> None:
        self.acceptance = acceptance
        self.level: int | None = None  # of the guess
        self.count = 0  # of tokens that are looked at
        self.guess: Sequence[int] = ()
        self.place = 0  # of its first token
        self._num_idle = 0
        self._patience = LEAST_PATIENCE

    def learn(self, ids: Sequence[int]) -> None:
        """Compare the last guess with what came, whether the model looked at it or not."""
        if self.guess and self.level is not None:
            for offset, (guessed, came) in enumerate(zip(self.guess, ids[self.place :], strict=False)):
                self.acceptance.note(self.level + offset, is_right=guessed == came)
                if guessed != came:
                    break
        self.guess = ()

    def tried_again(self, count: int, num_tried: int) -> int:
        """Return the number of tokens, or that of a try where nothing was guessed for long, each time for longer."""
        if count:
            self._num_idle, self._patience = 0, LEAST_PATIENCE
            return count
        self._num_idle += 1
        if self._num_idle < self._patience:
            return 0
        self._num_idle, self._patience = 0, min(2 * self._patience, MOST_PATIENCE)
        return num_tried


def _numbers_up_to(limit: int) -> list[int]:
    """Return the numbers of tokens to choose from, within a limit.

    >>> _numbers_up_to(5)
    [1, 3, 5]
    """
    return [*(count for count in NUM_DRAFTED if count < limit), limit]
