"""Run scikit-learn's tests with the classes replaced; write docs/_generated/drop_in.md.

python docs/generate_drop_in.py
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import _drop_in  # noqa: E402


class Recorder:
    """A pytest plugin that keeps the outcomes."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        config.option.drop_in_write = True

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        upstream = _drop_in.tests(_drop_in.load())
        items[:] = [item for item in items if item.name.split("[")[0] in upstream]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.outcomes.update(v for key, v in report.user_properties if key == "drop_in")


def main() -> int:
    """Write the table, unless a test does something that is not expected of it."""
    recorder = Recorder()
    path = str(ROOT / "tests" / "training" / "estimators" / "test_drop_in.py")
    options = ["-q", "-m", "slow or not slow"]
    code = pytest.main([path, *options], plugins=[recorder])
    if code == 0:
        _drop_in.TABLE.write_text(_drop_in.render(recorder.outcomes))
    return int(code)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
