from __future__ import annotations

from typing import Any

import pytest

from genai.runtime.kept_bindings import MAX_KEPT, KeptBindings
from tests.fakes import FakeModel


class Bound:
    """A binding that knows whether it was let go."""

    def __init__(self) -> None:
        self.is_released = False

    def release(self) -> None:
        self.is_released = True


@pytest.mark.parametrize("records", [False, True])
def test_those_that_were_used_last_are_kept_until_the_cache_moves(records: bool) -> None:
    cache = FakeModel().cache
    kept: Any = KeptBindings(cache, records=records)
    made = [kept.get((key,), Bound) for key in range(MAX_KEPT)]
    assert kept.get((0,), Bound) is made[0]
    more = [kept.get((key,), Bound) for key in range(MAX_KEPT, MAX_KEPT + 5)]
    assert [each.is_released for each in made] == [
        not records and 1 <= place <= 5 for place in range(MAX_KEPT)
    ]
    assert kept.get((0,), Bound) is made[0]
    cache.reset()
    assert kept.get((0,), Bound) is not made[0]
    assert all(each.is_released for each in (*made, *more))
