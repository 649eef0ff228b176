"""The option that ``make test-fast`` gives pytest."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--one-each", action="store_true", help="run one case of every test")


@pytest.hookimpl(trylast=True)  # what marks and keywords leave out is gone by then
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--one-each"):
        first = {item.nodeid.split("[")[0]: item for item in reversed(items)}
        config.hook.pytest_deselected(items=[i for i in items if i not in first.values()])
        items[:] = reversed(first.values())
