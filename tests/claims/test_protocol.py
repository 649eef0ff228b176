"""Protocols: whatever is edited changes the hash, and what they name is measured."""

from dataclasses import fields, is_dataclass, replace

import pytest

from sklflat.claims.protocol import DECISION, protocol_hash
from sklflat.claims.registry import CLAIMS, DATA, protocols
from tests._slow import slow_unless

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.ConnectivityWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NoiseWarning"),
]


def edited(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str) or value is None:
        return f"{value}."
    if isinstance(value, tuple):
        return (*value[:-1], edited(value[-1])) if value else ("new",)
    assert is_dataclass(value)
    return replace(value, name="edited")


@pytest.mark.parametrize("number", CLAIMS)
def test_every_field_is_in_the_hash(number):
    (protocol,) = protocols([number])
    hashes = {protocol_hash([protocol])}
    for field in fields(protocol):
        other = replace(protocol, **{field.name: edited(getattr(protocol, field.name))})
        hashes.add(protocol_hash([other]))
    assert len(hashes) == 1 + len(fields(protocol))


def test_every_field_of_a_comparison_and_of_the_rule_is_in_the_hash():
    (protocol,) = protocols([1])
    first, *rest = protocol.comparisons
    hashes = {protocol_hash([protocol])}
    for field in fields(first):
        other = replace(first, **{field.name: edited(getattr(first, field.name))})
        hashes.add(protocol_hash([replace(protocol, comparisons=(other, *rest))]))
    for field in fields(DECISION):
        rule = replace(DECISION, **{field.name: edited(getattr(DECISION, field.name))})
        hashes.add(protocol_hash([protocol], rule))
    assert len(hashes) == 1 + len(fields(first)) + len(fields(DECISION))


def test_equal_protocols_have_equal_hashes():
    assert protocol_hash(protocols()) == protocol_hash(protocols())


@pytest.mark.parametrize("number", CLAIMS)
def test_each_comparison_is_made_at_equal_accuracy_and_at_equal_gradients(number):
    (protocol,) = protocols([number])
    for where in ("planted", "real"):
        matched = {c.matched_in for c in protocol.comparisons if c.where == where and c.primary}
        # readings of one network are matched in both
        if matched != {"one network"}:
            assert "gradient evaluations" in matched
            assert matched & {"accuracy", "one network"}


@pytest.mark.parametrize("number", CLAIMS)
def test_arms_that_are_compared_are_described(number):
    (protocol,) = protocols([number])
    described = {name for name, _ in protocol.arms}
    for c in protocol.comparisons:
        for arm in (c.arm, c.against):
            assert arm is None or arm.partition(", ease")[0] in described
        assert c.smallest_effect > 0
    assert set(protocol.data) <= set(DATA)


CASES = [(number, "planted") for number in CLAIMS]
CASES += [(k, "breast cancer" if k != 6 else "digits") for k in CLAIMS]


@pytest.mark.parametrize(
    ("number", "data"), slow_unless(lambda *case: case == (2, "planted"), CASES)
)
def test_what_is_compared_is_measured(number, data):
    claim = CLAIMS[number]
    readings = claim.measure(data, 30_000)
    for c in claim.protocol.comparisons_on(data):
        for arm in filter(None, (c.arm, c.against)):
            assert {c.metric, "accuracy", "gradients"} <= set(readings[arm])
            assert 0 < readings[arm]["accuracy"] <= 1
            assert readings[arm]["gradients"] > 0
    for arm, against, mediator in claim.protocol.mediators:
        assert mediator in readings[arm]
        assert mediator in readings[against]
