"""The HTML of every estimator links to its own page of the reference, if there is an address."""

from importlib import import_module

import pytest
from sklearn.base import BaseEstimator

from sklflat import SAMClassifier
from tests.test_public_paths import documented

ESTIMATORS = [
    pytest.param(found, f"{module}.{name}", id=name)
    for module, name in documented()
    if isinstance(found := getattr(import_module(module), name), type)
    and issubclass(found, BaseEstimator)
]


@pytest.mark.parametrize(("estimator_class", "path"), ESTIMATORS)
def test_the_link_is_to_the_page_that_the_reference_makes(estimator_class, path, monkeypatch):
    monkeypatch.setenv("SKLFLAT_DOCS", "https://docs.example/")
    estimator = object.__new__(estimator_class)
    assert estimator._get_doc_link() == f"https://docs.example/api/{path}.html"


def test_a_class_of_the_users_own_has_no_link_to_a_page_that_is_not_there():
    class Mine(SAMClassifier):
        """Somebody else's."""

    assert Mine()._get_doc_link() == ""


def test_the_html_has_the_link_only_where_there_is_an_address(monkeypatch, tmp_path):
    monkeypatch.setenv("SKLFLAT_DOCS", "https://docs.example")
    link = 'href="https://docs.example/api/sklflat.SAMClassifier.html"'
    assert link in SAMClassifier()._repr_html_inner()
    monkeypatch.delenv("SKLFLAT_DOCS")
    monkeypatch.setattr("sklflat._compat.__file__", str(tmp_path / "sklflat" / "_compat.py"))
    assert SAMClassifier()._get_doc_link() == ""
    built = tmp_path / "docs" / "_build" / "html"
    built.mkdir(parents=True)
    assert SAMClassifier()._get_doc_link() == f"{built.as_uri()}/api/sklflat.SAMClassifier.html"
