"""Which cases of a parametrized test belong to the slow job."""

from collections.abc import Callable, Iterable

import pytest


def slow_unless(quick: Callable[..., bool], cases: Iterable) -> list:
    """Mark the cases as slow of which ``quick`` says no; a tuple is given as several arguments."""
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*case, marks=() if quick(*case) else (pytest.mark.slow,)) for case in cases
    ]


def slow_after(n: int, cases: Iterable) -> list:
    """Mark all but the first ``n`` cases as slow, such as further seeds of one test."""
    cases = list(cases)
    return slow_unless(lambda *case: True, cases[:n]) + slow_unless(lambda *case: False, cases[n:])
