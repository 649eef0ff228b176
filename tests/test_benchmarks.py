"""The limits that benchmarks hold the package to, on fewer rounds than the benchmarks run."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.clock
def test_speed():
    # With two fifths more than the limits of `benchmarks/sam.py --check`, on one thread: less
    # than another gradient a step, and more than a machine that others share adds.
    sam = load("sam")
    assert sam.exceeded(sam.in_process(threads=1, rounds=3), slack=1.4) == []


@pytest.mark.clock
def test_import_time():
    benchmark = load("import_time")
    assert benchmark.measure(rounds=3)["sklflat"] < benchmark.LIMIT


@pytest.mark.clock
def test_stacked_training():
    # two thirds of the benchmark's own limit, which `benchmarks/stacked.py --check` holds
    import torch

    stacked = load("stacked")
    X, y = stacked.data()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for width, rho in ((32, 0.05), (64, 0.0)):
            task = (width, rho, X, y)
            figures = stacked.ratio(
                lambda task=task: stacked.bare(*task), lambda task=task: stacked.stacked(*task), 3
            )
            assert figures[2] > 2 / 3 * stacked.LIMITS[width]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.clock
def test_losses_along_a_path():
    # the loop that the peer runs, without the peer; two thirds of the benchmark's own limit
    import torch

    paths = load("connectivity_paths")
    X, y = paths.digits()
    a, b = paths.ends("784-300-100-10")
    functions = [
        lambda: paths.bare(a, b, paths.loader(X, y)),
        lambda: paths.ours(a, b, X, y, torch.float32),
    ]
    times = paths.seconds(functions, runs=3)
    assert paths.ratio(times, 0, 1)[0] > 2 / 3 * paths.LIMIT


@pytest.mark.clock
def test_a_whole_fit_of_mode_connectivity():
    # half as much again as the benchmark's own limit, which `--check` holds on a quiet machine
    fit = load("connectivity_fit")
    assert fit.seconds(max_iter=60) < 1.5 * fit.LIMIT


@pytest.mark.parametrize("name", ["planted_scores", "default_selections"])
@pytest.mark.slow
def test_what_is_kept_is_found_again(name, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    load(name).check()


def test_pages_quote_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    planted = load("planted_scores")
    for probe, said in planted.quotations().items():
        text = (
            BENCHMARKS.parent / "docs" / "user_guide" / f"{planted.PAGES[probe]}.md"
        ).read_text()
        assert planted.with_quotation(text, probe, said) == text, "run planted_scores.py --pages"
