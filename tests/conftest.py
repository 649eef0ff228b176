"""The options of ``make test-fast`` and ``make test-draws``, forked processes, and figures."""

import os
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from tqdm import tqdm

# tqdm shares a lock with all forks: one that a test kills while it draws a bar would keep it, and
# every bar after that would wait for ever
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: tqdm.set_lock(threading.RLock()))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--one-each", action="store_true", help="run one case of every test")
    parser.addoption("--all-draws", action="store_true", help="draw as often as the docs say")


@pytest.fixture(autouse=True)
def _figures_are_closed() -> Iterator[None]:
    """Whichever test a worker runs next begins without figures; pyplot warns of more than 20."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def draws(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """``draws(few, all)``: how many random cases of an attack are drawn."""
    return lambda few, many: many if request.config.getoption("--all-draws") else few


@pytest.hookimpl(trylast=True)  # what marks and keywords leave out is gone by then
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all-draws"):
        repeats = [item for item in items if item.get_closest_marker("repeats")]
        config.hook.pytest_deselected(items=repeats)
        items[:] = [item for item in items if item not in repeats]
    if config.getoption("--one-each"):
        first = {item.nodeid.split("[")[0]: item for item in reversed(items)}
        config.hook.pytest_deselected(items=[i for i in items if i not in first.values()])
        items[:] = reversed(first.values())
