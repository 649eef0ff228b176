"""Warnings point at the line of the caller."""

import inspect
import warnings

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

import sklflat
from sklflat import AblationProbe, SAMClassifier
from sklflat.exceptions import NoiseWarning, collected_warnings, warn

RNG = np.random.RandomState(0)
X, Y = RNG.normal(size=(40, 3)), np.arange(40) % 2
NET = SAMClassifier((4,), max_iter=2)


def line() -> int:
    return inspect.currentframe().f_back.f_lineno  # type: ignore[union-attr]


def package_function(body: str, **names):
    """A function whose code counts as the package's, for calls through it."""
    scope = {"__name__": "sklflat.somewhere", "warn": warn, **names}
    exec(f"def function(*args):\n    {body}", scope)
    return scope["function"]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_line_is_that_of_the_caller_however_deep_the_call_is(depth):
    call = package_function("warn('too much', category)", category=NoiseWarning)
    for _ in range(depth - 1):
        call = package_function("inner(*args)", inner=call)
    expected = line() + 2
    with pytest.warns(NoiseWarning, match="too much") as caught:
        call()
    assert (caught[0].filename, caught[0].lineno) == (__file__, expected)


def test_without_a_caller_outside_the_outermost_line_is_named():
    with pytest.warns(UserWarning, match="alone") as caught:
        warn("alone")
    assert caught[0].filename == __file__


@pytest.mark.parametrize("wrap", [lambda probe: probe, make_pipeline])
def test_fits_warn_where_fit_is_called(wrap):
    """Whatever sklearn's wrapper, joblib and the floors of a probe put between."""
    probe = wrap(AblationProbe(NET.fit(X, Y), n_null=100, random_state=0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expected = line() + 1
        probe.fit(X, Y)
    own = [w for w in caught if w.category.__module__ == "sklflat.exceptions"]
    assert {w.category.__name__ for w in own} == {"RefitWarning", "NothingFoundWarning"}
    places = {(w.filename, w.lineno) for w in own}
    if wrap is make_pipeline:  # which calls fit itself
        assert all("sklearn" in name for name, _ in places)
    else:
        assert places == {(__file__, expected)}


def test_a_filter_by_the_callers_module_applies():
    call = package_function("warn('again')")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module=__name__)
        call()
    assert len(caught) == 1
    assert sklflat.__name__ not in caught[0].filename.rpartition("/")[2]


@pytest.mark.parametrize("fails", [False, True])
def test_warnings_of_some_kinds_are_collected_and_others_shown_also_where_work_fails(fails):
    def work():
        with collected_warnings(lambda kind: issubclass(kind, NoiseWarning)) as collected:
            warnings.warn("loud", NoiseWarning, stacklevel=1)
            warnings.warn("other", DeprecationWarning, stacklevel=1)
            warnings.warn("loud", NoiseWarning, stacklevel=1)
            if fails:
                raise ZeroDivisionError
        return collected

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        if fails:
            with pytest.raises(ZeroDivisionError):
                work()
        else:
            assert [str(w.message) for w in work()] == ["loud", "loud"]
    assert [str(w.message) for w in shown] == ["other"]
