"""Every public name is in the reference and shown by a page; what can be drawn is drawn."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import sklflat
from sklflat.probing.unit_probe import UnitProbe
from tests.test_docs import blocks
from tests.test_public_paths import documented

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/user_guide/*.md")]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
PUBLIC = sorted(set(sklflat.__all__) - {"__version__"})
PACKAGES = [*ROOT.glob("sklflat/*/__init__.py"), *ROOT.glob("sklflat/training/*/__init__.py")]
ROOMS = [".".join(path.parent.relative_to(ROOT).parts) for path in sorted(PACKAGES)]
#: tables and other values, which have no page of their own
VALUES = {"CODES", "VARIANTS"}


def names_in(source: str) -> set[str]:
    """Names and attributes that a piece of code uses; those that it only imports are not used."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def shown() -> set[str]:
    """Names that a block of a page or an example uses."""
    code = [s for page in PAGES for _, s in blocks(page) if not s.lstrip().startswith(">>>")]
    return set().union(*map(names_in, code + [path.read_text() for path in EXAMPLES]))


def drawn(code: str) -> set[str]:
    """Displays that a piece of code makes, by a method such as ``from_estimator``."""
    return set(re.findall(r"\b(\w+Display)\.from_\w+\(", code))


def test_every_public_name_is_in_the_reference():
    listed = {name for module, name in documented() if module == "sklflat"}
    assert set(PUBLIC) - listed == set()


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_makes_public_is_in_the_reference(room):
    listed = {name for _, name in documented()} | VALUES
    assert set(getattr(import_module(room), "__all__", ())) - listed == set()


def test_every_public_name_is_used_by_an_example_or_a_page():
    assert set(PUBLIC) - shown() == set()
    assert names_in("from sklflat import SAM\nx.fit(SAMClassifier)") == {
        "x",
        "fit",
        "SAMClassifier",
    }


def test_every_display_is_drawn_by_an_example_or_a_page():
    displays = {name for _, name in documented() if name.endswith("Display")}
    assert len(displays) > 10
    code = [s for page in PAGES for _, s in blocks(page)] + [path.read_text() for path in EXAMPLES]
    assert displays - set().union(*map(drawn, code)) == set()


#: what draws a public name, and names that have nothing to draw
DRAWN = {
    "AblationProbe": "UnitDisplay",
    "ActivationProbe": "UnitDisplay",
    "BasinRewinder": "BasinDisplay",
    "FlatNoiseClassifier": "NoiseDisplay",
    "FlatNoiseRegressor": "NoiseDisplay",
    "HessianSpectrum": "SpectrumDisplay",
    "ModeConnectivityProbe": "PathDisplay",
    "PruningPath": "PruningDisplay",
    "SAMClassifierCV": "RadiusDisplay",
    "SAMRegressorCV": "RadiusDisplay",
    "SurrogateAligner": "SurrogateDisplay",
    "TemperatureProbe": "TemperatureDisplay",
    "UnitConsensus": "ConsensusDisplay",
    "UniversalityProbe": "UniversalityDisplay",
}
NOT_DRAWN = {
    "CurvatureMonitor": "its history is columns of skorch's, which any plot takes",
    "MinimaReport": "its page has the pictures of all others",
    "PerturbedOptimizer": "an optimiser",
    "SAMClassifier": "a network, which probes describe",
    "SAMRegressor": "the same",
    "StackedSearchCV": "cv_results_, as scikit-learn's searches",
    "TemperatureClassifier": "one number; TemperatureDisplay draws its like over all temperatures",
    "check_network": "answers of yes and no",
    "from_module": "a network",
    "load": "a network",
    "save": "a file",
    "surrogate_fidelity": "numbers, which SurrogateDisplay draws for the aligner",
}


def test_every_public_name_is_drawn_or_has_nothing_to_draw():
    displays = {name for _, name in documented() if name.endswith("Display")}
    assert {*DRAWN, *NOT_DRAWN} == {n for n in PUBLIC if n not in displays}
    assert set(DRAWN.values()) <= displays
    assert not set(DRAWN) & set(NOT_DRAWN)


@pytest.mark.parametrize(("name", "display"), DRAWN.items(), ids=DRAWN)
def test_the_page_of_a_display_says_what_it_draws(name, display):
    module = next(module for module, found in documented() if found == display)
    found = getattr(import_module(module), display)
    text = f"{found.__doc__}{inspect.getdoc(found.from_estimator)}"
    generic = {
        "UnitDisplay": "UnitProbe",
        "NoiseDisplay": "trained with noise",
        "RadiusDisplay": "SAMClassifierCV",
    }
    assert name in text or generic.get(display, name) in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_ends_in_an_assertion(path):
    assert isinstance(ast.parse(path.read_text()).body[-1], ast.Assert)


def test_there_are_enough_examples():
    assert len(EXAMPLES) >= 12


#: what probes have in common comes last, in this order
COMMON = (
    *("layers", "n_units", "n_null", "holdout", "n_jobs"),
    *("cache_dir", "dtype", "random_state", "verbose"),
)
PROBES = [
    name
    for name in PUBLIC
    if isinstance(found := getattr(sklflat, name), type) and issubclass(found, UnitProbe)
]


@pytest.mark.parametrize("name", PROBES)
def test_parameters_of_probes_stand_in_one_order(name):
    names = [*inspect.signature(getattr(sklflat, name)).parameters]
    last = [n for n in COMMON if n in names]
    assert len(PROBES) >= 10
    assert names[0] == "estimator"
    assert names[-len(last) :] == last
