"""The words follow from the numbers: every finding on each side of every threshold."""

import numpy as np
import pytest

from sklflat.probing.split import Rows
from sklflat.report import CODES
from sklflat.report import findings as f
from sklflat.report.targets import TargetUnit, target_spread

NAN, INF = float("nan"), float("inf")

#: finding, numbers, status, a part of the words
CASES = [
    (f.better_than_constant, ((0.3, 0.01, 0.5), "accuracy", 100), "passed", "0.3 above"),
    (f.better_than_constant, ((0.3, 0.0, 0.5), "accuracy", 100), "inconclusive", "Not shown"),
    (f.better_than_constant, ((0.0, -0.1, 0.1), "accuracy", 100), "inconclusive", "Not shown"),
    (f.better_than_constant, ((-0.1, -0.2, 0.0), "R²", 100), "inconclusive", "Not shown"),
    (f.better_than_constant, ((-0.2, -0.3, -0.1), "R²", 100), "attention", "Worse than a constant"),
    (f.better_than_constant, ((0.3, 0.1, 0.5), "accuracy", 19), "inconclusive", "too few"),
    (f.better_than_constant, ((0.3, 0.1, 0.5), "accuracy", 20), "passed", "20 held-out rows"),
    (f.estimators_differ, ("b", (0.1, 0.01, 0.2), "accuracy", 50), "attention", "a is better"),
    (f.estimators_differ, ("b", (0.1, 0.0, 0.2), "accuracy", 50), "inconclusive", "not shown"),
    (f.estimators_differ, ("b", (0.0, 0.0, 0.0), "accuracy", 50), "inconclusive", "the same score"),
    (f.estimators_differ, ("b", (0.0, -1e-5, 1e-5), "R²", 50), "inconclusive", "not shown"),
    (f.estimators_differ, ("b", (-0.1, -0.2, -0.01), "R²", 50), "attention", "a is worse"),
    (f.estimators_differ, ("b", (0.5, 0.4, 0.6), "R²", 19), "inconclusive", "too few"),
    (f.dead_units, (0, 8, 100), "passed", "All 8"),
    (f.dead_units, (1, 8, 100), "attention", "1 of 8"),
    (f.needed_units, (1, 0, 8, NAN), "passed", "1 of 8"),
    (f.needed_units, (1, 0, 8, 1234.0), "passed", "About 1,200"),
    (f.needed_units, (0, 8, 8, NAN), "attention", "negligible"),
    (f.needed_units, (0, 7, 8, INF), "inconclusive", "no proof that none"),
    (f.harmful_units, (1, 0, 8), "attention", "held-out loss falls"),
    (f.harmful_units, (0, 5, 8), "inconclusive", "5 of 8 are undecided"),
    (f.harmful_units, (0, 4, 8), "passed", "most are decided"),
    (f.units_know_target, (1, 8), "passed", "1 of 8"),
    (f.units_know_target, (0, 8), "inconclusive", "None of 8 living units is shown"),
    (f.flat_minimum, ((0.005, 0.004, 0.01), 1.0, True), "passed", "A flat minimum"),
    (f.flat_minimum, ((0.005, 0.004, 0.011), 1.0, True), "inconclusive", "undecided"),
    (f.flat_minimum, ((0.05, 0.0101, 0.09), 1.0, True), "attention", "Not a flat"),
    (f.flat_minimum, ((0.2, 0.099, 0.3), 1.0, True), "attention", "Not a flat"),
    (f.flat_minimum, ((0.2, 0.1, 0.3), 1.0, True), "attention", "A sharp minimum"),
    (f.flat_minimum, ((0.2, 0.1, 0.3), 20.0, True), "inconclusive", "undecided"),
    (f.flat_minimum, ((0.005, 0.004, 0.006), 1.0, False), "inconclusive", "not certified"),
    (f.flat_minimum, ((0.005, 0.004, 0.006), 0.0, True), "inconclusive", "undecided"),
    (f.flat_minimum, ((0.005, 0.004, 0.01), 1.0, True, False), "passed", "Flat on the rows given"),
    (f.flat_minimum, ((0.05, 0.02, 0.09), 1.0, True, False), "attention", "Not flat on the rows"),
    (f.flat_minimum, ((0.2, 0.1, 0.3), 1.0, True, False), "attention", "Sharp on the rows given"),
    (f.at_rest, (0.199, 1.0), "passed", "has come to rest"),
    (f.at_rest, (0.201, 1.0), "attention", "has not come to rest"),
    (f.at_rest, (0.1, 0.0), "attention", "has not"),
    (f.flatter_than_first, ("b", 0.94, 0.05, 6, 0.03), "passed", "a is flatter"),
    (
        f.flatter_than_first,
        ("b", 0.99, 0.03, 6, 0.03),
        "passed",
        "a is flatter by 1 % than b, which",
    ),
    (f.flatter_than_first, ("b", 0.96, 0.001, 6, 0.03), "passed", "too little to matter"),
    (f.flatter_than_first, ("b", 1.05, 0.001, 6, 0.03), "passed", "a is sharper by 5 % than b"),
    (f.flatter_than_first, ("b", 1.1, 0.05, 6, 0.03), "attention", "a is sharper"),
    (f.flatter_than_first, ("b", 0.9, 0.051, 6, 0.03), "inconclusive", "not shown"),
    (f.flatter_than_first, ("b", 0.1, 0.25, 3, 0.25), "inconclusive", "cannot go below p = 0.25"),
    (
        f.flatter_than_first,
        ("b", 0.9, 0.05, 6, 0.03, False),
        "passed",
        "pairs of the networks given",
    ),
    (
        f.one_valley,
        (0.01, 0.0052, 500, 1.0),
        "inconclusive",
        "estimated as 1.0%, give or take 1.0%",
    ),
    (f.one_valley, (0.01, 0.005, 500, 1.0), "passed", "end in one valley"),
    (f.one_valley, (0.01, 0.0052, 500, 1.0), "inconclusive", "undecided"),
    (f.one_valley, (0.04, 0.011, 500, 1.0), "inconclusive", "undecided"),
    (f.one_valley, (0.04, 0.01, 500, 1.0), "attention", "do not end in one valley"),
    (f.one_valley, (0.04, 0.01, 500, 10.0), "passed", "end in one valley"),
    (f.one_valley, (0.0, 0.0, 19, 1.0), "inconclusive", "too few"),
    (f.one_valley, (NAN, 0.01, 500, 1.0), "attention", "not finite"),
    (f.units_come_back, (4, 8, 5, 100, 0.5), "passed", "at least half"),
    (f.units_come_back, (3, 8, 5, 100, 0.5), "inconclusive", "some of the same"),
    (f.units_come_back, (1, 10, 5, 100, 0.1), "inconclusive", "some of the same"),
    (f.units_come_back, (1, 11, 5, 100, 0.1), "attention", "few of the same"),
    (f.units_come_back, (1, 11, 5, 100, 0.101), "inconclusive", "Few units are shown"),
    (f.units_come_back, (0, 8, 5, 1000, 0.1), "attention", "finds none of the same units"),
    (f.units_come_back, (0, 100, 5, 40, 0.31), "inconclusive", "which is no proof that none does"),
    (f.units_come_back, (0, 8, 5, 100, INF), "inconclusive", "No unit is shown"),
    (f.units_come_back, (8, 8, 5, 19, 0.0), "inconclusive", "too few"),
    (f.honest_confidence, (1.5, (1.01, 2.0), None), "attention", "Too sure"),
    (f.honest_confidence, (0.5, (0.3, 0.99), None), "attention", "Not sure enough"),
    (f.honest_confidence, (1.1, (0.8, 1.6), None), "passed", "not shown to be off"),
    (f.honest_confidence, (1.1, (0.7, 1.7), None), "inconclusive", "do not say"),
    (f.honest_confidence, (1e-4, (0.0, 0.1), "lower"), "inconclusive", "open"),
    (f.class_hierarchy, (True, "A hierarchy."), "passed", "A hierarchy."),
    (f.class_hierarchy, (False, "No."), "inconclusive", "Not supported. No."),
    (f.tree_stands_for_network, (0.9, (0.1, 0.01, 0.2), "v"), "passed", "stands for it"),
    (f.tree_stands_for_network, (0.89, (0.1, 0.01, 0.2), "v"), "inconclusive", "too little"),
    (f.tree_stands_for_network, (0.95, (0.1, 0.0, 0.2), "v"), "inconclusive", "Not supported"),
    (f.tree_stands_for_network, (0.95, (-0.1, -0.2, -0.01), "v"), "attention", "does not"),
    (
        f.tree_stands_for_network,
        (0.42, (1000.4, 800.0, 1200.0), "v", False),
        "inconclusive",
        "R² to the network's outputs is 0.42 on held-out rows, that of a tree that never saw the "
        "network below -1, and the difference above 2 (95 % interval above 2 to above 2)",
    ),
    (
        f.tree_stands_for_network,
        (0.9, (0.1, 0.01, 0.2), "v", False),
        "passed",
        "that of a tree that never saw the network 0.8, and the difference 0.1",
    ),
    (f.more_units_than_needed, (3, 8, (0.0, -0.01, 0.01), 0.01), "attention", "than half"),
    (f.more_units_than_needed, (4, 8, (0.0, -0.01, 0.01), 0.01), "passed", "Some of"),
    (f.more_units_than_needed, (3, 8, (0.0, -0.01, 0.011), 0.01), "inconclusive", "No smaller"),
    (f.more_units_than_needed, (3, 8, (-0.1, -0.2, 0.0), 0.01), "attention", "0.1 higher than"),
    (f.more_units_than_needed, (7, 8, (1e-16, 0, 0.0), 0.01), "passed", "score the same as all"),
    (
        f.more_units_than_needed,
        (3, 8, (0.004, -0.02, 0.0303), 0.01),
        "inconclusive",
        "0.004 lower than all. Anything from a gain of 0.02 to a loss of 0.0303 is compat",
    ),
    (
        f.more_units_than_needed,
        (3, 8, (0.004, 0.001, 0.01), 0.01),
        "attention",
        "A loss of 0.001 to",
    ),
    (
        f.more_units_than_needed,
        (3, 8, (-0.1, -0.2, -0.05), 0.01),
        "attention",
        "A gain of 0.05 to 0.2",
    ),
    (f.more_units_than_needed, (3, 8, (-0.1, -0.2, 0), 0.01), "attention", "A gain of at most 0.2"),
    (f.more_units_than_needed, (3, 8, (0.1, -0.2, INF), 0.01), "inconclusive", "Any loss is comp"),
    (f.more_units_than_needed, (3, 8, (0, 0, 0), 0.01), "attention", "No difference is"),
    (f.more_units_than_needed, (8, 8, (0.0, -0.01, 0.01), 0.01), "inconclusive", "No smaller"),
    (f.more_units_than_needed, (8, 8, (NAN, NAN, INF), 0.01), "inconclusive", "too few"),
    (f.ticket, (0.8, 0.0, 0.01, 5), "passed", "A ticket"),
    (f.ticket, (0.8, 0.001, 0.019, 5), "inconclusive", "open"),
    (f.ticket, (0.8, 0.04, 0.02, 5), "attention", "No ticket"),
    (f.ticket, (0.8, 0.04, INF, 1), "inconclusive", "open"),
]


@pytest.mark.parametrize(("finding", "numbers", "status", "words"), CASES)
def test_words_follow_from_numbers(finding, numbers, status, words):
    found = finding("a", *numbers)
    assert (found.status, found.estimator) == (status, "a")
    assert words in found.statement


def test_every_code_is_one_finding_and_has_each_status_that_it_can_have():
    codes = {}
    for finding, numbers, status, _ in CASES:
        codes.setdefault(finding("a", *numbers).code, set()).add(status)
    assert set(codes) == set(CODES)
    assert all(len(statuses) > 1 for statuses in codes.values())


def test_numpy_numbers_are_written_as_others():
    plain = f.flat_minimum("a", (0.005, 0.004, 0.01), 1.0, True)
    assert plain == f.flat_minimum("a", tuple(np.array([0.005, 0.004, 0.01])), 1.0, True)


def test_a_code_says_no_more_than_it_shows():
    words = f"{CODES['SKF006'].action} {CODES['SKF006'].decides}"
    assert "learned nothing" not in words
    given = f.flat_minimum("a", (0.005, 0.004, 0.01), 1.0, True, False)
    assert "training loss" not in given.statement
    assert "minimum" not in given.statement
    numbers = f.tree_stands_for_network("a", 0.42, (1000.4, 800.0, 1200.0), "v", False).statement
    assert "agrees" not in numbers
    assert "%" not in numbers.replace("95 %", "")


def test_small_units_of_a_target_are_written_as_they_are():
    """Rounding is of differences of equal scores, not of numbers that have a unit."""
    y = 1e-19 * np.array([1.0, 3.0])
    unit = TargetUnit.of(Rows(np.zeros((2, 1)), y, {}))
    assert "(mean 2e-19, standard deviation 1e-19)" in unit.said
    spread = target_spread(y)
    assert "with a mean of 2e-19" in spread.meaning
    assert spread.value == pytest.approx(1e-19)
