"""Docstrings of the reference against numpydoc's checks, with a list of exactly what is left."""

from dataclasses import is_dataclass
from importlib import import_module

import pytest

from tests.test_public_paths import documented

#: of all objects: what the house does otherwise
OTHERWISE = {
    "ES01": "a summary that says all needs no second paragraph",
    "EX01": "what is a result of something else is shown in the example of that",
    "PR04": "parameters that are scikit-learn's own are named in one line, with a link",
    "PR07": "a name and a type may say all there is to say, as in `units_ : Units`",
    "RT02": "what is returned has a name, which the example uses",
    "RT03": "a name and a type may say all there is to say",
    "SA01": "the page of a section lists what belongs together",
    "SS05": "'Baseline scores' is taken for a verb",
}
#: of single objects: what is left
LEFT = {
    # parameters that are those of the class they inherit from, or documented there
    "PR01": ["GaussNewton", "GradientCovariance", "Hessian", "OfParts", "Units"],
    "PR02": ["FlatNoiseClassifier", "FlatNoiseRegressor", "Perturbation"],
    # parameters that a class adds stand before those that it shares
    "PR03": ["Fisher", "SAMClassifierCV", "SAMRegressorCV"],
}


@pytest.mark.slow
def test_nothing_is_left_but_what_is_listed():
    validate = pytest.importorskip("numpydoc.validate").validate
    found: dict[str, set[str]] = {}
    for module, name in documented():
        of = getattr(import_module(module), name)
        is_result = is_dataclass(of) or hasattr(of, "_fields")  # fields are described as attributes
        for code, _ in validate(f"{module}.{name}")["errors"]:
            if not (code == "PR01" and is_result):
                found.setdefault(code, set()).add(name)
    single = {code: sorted(names) for code, names in found.items() if code not in OTHERWISE}
    assert single == LEFT
    assert found.keys() >= OTHERWISE.keys()  # none stands there that is no longer needed
