"""Claims that take no time."""

import pytest

from sklflat.claims.registry import CLAIMS, Claim
from tests.claims._drawn import drawn


@pytest.fixture
def fast(monkeypatch):
    """Claims that take no time; the function changes what they measure."""

    def change(**more):
        for number, claim in list(CLAIMS.items()):
            fast = Claim(claim.protocol, drawn(claim.protocol, **more), claim.module)
            monkeypatch.setitem(CLAIMS, number, fast)

    change()
    return change
