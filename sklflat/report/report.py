"""MinimaReport: all techniques on one or several estimators, as one page."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state, indexable
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from sklflat._compat import EstimatorMixin, Interval, StrOptions, fit_context
from sklflat._workers import parallel
from sklflat.probing.sample import shared_samples
from sklflat.probing.split import Rows
from sklflat.report.assembly import page_of
from sklflat.report.data_files import check_not_numbers
from sklflat.report.efforts import EFFORTS
from sklflat.report.encoding import as_table, check_text
from sklflat.report.formats import to_frame, to_json, to_markdown
from sklflat.report.html import fragment, to_html
from sklflat.report.measuring import measured, open_store
from sklflat.report.parts import Section
from sklflat.report.subjects import (
    Plan,
    Subject,
    default_estimators,
    named,
    subjects_of,
    task_of,
)
from sklflat.report.techniques import TECHNIQUES
from sklflat.training.estimators.containers import as_arrays


class MinimaReport(EstimatorMixin, BaseEstimator):
    """What in trained networks is real, what is degenerate, and how sure that is: one page.

    Every estimator is trained once from several seeds, on the same share of the rows. All
    techniques look at these networks on the other rows: predictions, needed units, curvature, the
    way between two trainings, units that come back, temperature, a small tree in the network's
    place, the smallest number of units; a full report also looks for tickets. Nothing is trained
    or decomposed twice. What does not apply (a temperature of a regressor, further trainings of a
    frozen network) is left out, and said.

    Every check has a code, a null, and a rate at which it is reported by mistake, measured over
    2,000 runs where nothing was there: see the user guide.

    Parameters
    ----------
    estimators : estimator, list of estimators, or dict of str to estimator, default=None
        What is compared; the first is what others are compared with. None is the same network
        trained plainly (``rho=0``) and sharpness-aware, behind an encoding of the columns that
        is said on the page; numbers as targets are standardised on the rows trained on, and all
        numbers of the page are then in that unit. What is frozen (``FrozenEstimator(fitted)``,
        :func:`~sklflat.from_module`) is taken as it is, and X and y should be rows that it has not
        seen; a list of frozen networks in the place of one is a network and further trainings of
        it. Everything else is cloned and trained.
    effort : {"full", "quick"}, default="full"
        A quick report trains fewer and shorter, draws less, and looks for no tickets.
    task : {"auto", "classification", "regression"}, default="auto"
        Of the default estimators; "auto" reads it off y.
    techniques : tuple of str or None, default=None
        Keys of the techniques to run, such as ``("ablation", "curvature")``; None is all.
    n_models : int or None, default=None
        Further trainings of each estimator; None is 5 in a quick report and 8 in a full one.
    holdout : float, default=0.25
        Share of the rows that no network is trained on. Not used if all are frozen.
    n_jobs : int or None, default=None
        Estimators that are looked at at once, and trainings, by joblib.
    cache_dir : path or None, default=None
        A directory that keeps trainings and finished sections, so that a report that was cut off
        goes on. It needs an int as ``random_state``.
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0
        1 shows what is being done.

    Attributes
    ----------
    page_ : Page
        All parts of the report, as dataclasses.
    findings_ : tuple of Finding
        What needs attention first.
    estimators_ : dict of str to tuple of frozen estimators
        The trained networks; the first of each is described. An estimator that diverges is left
        out, and named on the page with its reason.
    probes_ : dict of (str, str) to probe
        By technique and estimator, what was fitted; sections that were kept from an earlier
        run have none.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has names.

    Raises
    ------
    DivergenceError
        If the first estimator diverges, which others are compared with.

    Warns
    -----
    DivergenceWarning
        If another one diverges, and is left out.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklflat import MinimaReport, SAMClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> network = SAMClassifier((8,), max_iter=20, learning_rate_init=0.05)
    >>> report = MinimaReport(network, techniques=("prediction", "ablation"), random_state=0)
    >>> frame = report.fit(X, y).to_frame()
    >>> frame.loc[frame["quantity"] == "units", "value"].tolist()
    [8]
    """

    _parameter_constraints: dict[str, Any] = {
        "estimators": "no_validation",  # subjects say what is accepted
        "effort": [StrOptions(set(EFFORTS))],
        "task": [StrOptions({"auto", "classification", "regression"})],
        "techniques": [list, tuple, None],
        "n_models": [Interval(Integral, 0, None, closed="left"), None],
        "holdout": [Interval(Real, 0, 1, closed="neither")],
        "n_jobs": [Integral, None],
        "cache_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimators: Any = None,
        *,
        effort: str = "full",
        task: str = "auto",
        techniques: Any = None,
        n_models: int | None = None,
        holdout: float = 0.25,
        n_jobs: int | None = None,
        cache_dir: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.effort = effort
        self.task = task
        self.techniques = techniques
        self.n_models = n_models
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.cache_dir = cache_dir
        self.random_state = random_state
        self.verbose = verbose

    # --- fit ----------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **fit_params: Any) -> "MinimaReport":
        """Train, measure, and put the page together.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A table may have text, categories and missing values, if the estimators are the
            default ones.
        y : array-like of shape (n_samples,)
        **fit_params
            ``sample_weight`` and ``groups``, one entry a row.

        Returns
        -------
        self : object
        """
        start = time.perf_counter()
        chosen = self._chosen_techniques()
        rows = self._rows(X, y, fit_params)
        rng = check_random_state(self.random_state)
        is_default = self.estimators is None
        effort = EFFORTS[self.effort]
        if self.n_models is not None:
            effort = replace(effort, n_models=self.n_models)
        if is_default:
            is_classification = self._is_classification(rows.y)
            estimators = default_estimators(is_classification, effort)
        else:
            estimators = named(self.estimators)
            is_classification = task_of(estimators)
        plan = Plan(effort, is_classification, self.holdout, is_default, self.n_jobs, self.verbose)
        subjects, said, left_out = subjects_of(estimators, rows, plan, rng, self.cache_dir)
        self.estimators_ = {s.name: s.networks for s in subjects}
        results = list(self._measured(chosen, subjects))
        results.sort(key=lambda r: [t.key for t in chosen].index(r[0].technique))
        sections = [section for section, _ in results]
        _check_measured(sections, self.estimators_)
        self.probes_ = {
            (section.technique, section.estimator): probe
            for section, probe in results
            if probe is not None
        }
        settings = {
            "effort": self.effort,
            "random_state": str(self.random_state),
            **said,
        }
        seconds = time.perf_counter() - start
        self.page_ = page_of(rows, subjects, sections, settings, seconds, left_out)
        self.findings_ = self.page_.findings
        return self

    def _chosen_techniques(self) -> list[Any]:
        if self.techniques is None:
            return list(TECHNIQUES)
        known = {t.key: t for t in TECHNIQUES}
        unknown = [key for key in self.techniques if key not in known]
        if unknown or not len(self.techniques):
            raise ValueError(
                f"techniques={tuple(self.techniques)!r} must name some of {', '.join(known)}."
            )
        return [t for t in TECHNIQUES if t.key in self.techniques]

    def _rows(self, X: Any, y: Any, fit_params: dict[str, Any]) -> Rows:
        X, y = as_arrays(X, y)
        if y is None:
            raise ValueError(
                "This MinimaReport estimator requires y to be passed, but the target y is None."
            )
        validate_data(self, X, skip_check_array=True)
        X = X.toarray() if issparse(X) else X
        if not hasattr(X, "columns"):
            X = np.asarray(X)
        if self.estimators is None:
            check_text(X)
        X, y = indexable(as_table(X), np.asarray(y))
        return Rows(X, y, {k: v for k, v in fit_params.items() if v is not None})

    def _is_classification(self, y: Any) -> bool:
        if self.task != "auto":
            return self.task == "classification"
        check_not_numbers(y)
        kind = type_of_target(y)
        if kind.startswith("continuous"):
            return False
        check_classification_targets(y)
        return True

    def _measured(
        self, techniques: Sequence[Any], subjects: Sequence[Subject]
    ) -> Iterator[tuple[Section, Any]]:
        """Sections and probes, one estimator after the other, or several at once."""
        store = open_store(self.cache_dir)
        n_jobs = joblib.effective_n_jobs(self.n_jobs)
        total = len(techniques) * len(subjects)
        with tqdm(total=total, unit="section", disable=not self.verbose) as bar:
            if n_jobs > 1 and len(subjects) > 1:
                work = joblib.delayed(_sections_of)
                keys = [t.key for t in techniques]  # by which a worker finds them
                tasks = (work(keys, s, store) for s in subjects)
                for found in parallel(n_jobs, return_as="generator")(tasks):
                    bar.update(len(found))
                    yield from found
                return
            for subject in subjects:
                with shared_samples():
                    for technique in techniques:
                        bar.set_description(f"{technique.title} of {subject.name}")
                        yield measured(technique, subject, store)
                        bar.update()

    # --- the page -----------------------------------------------------------------------------

    def to_html(self, path: Any = None) -> str:
        """The page as one file of HTML, of at most 400 kB, that needs nothing else.

        Parameters
        ----------
        path : path, default=None
            Written there, if given.

        Returns
        -------
        html : str
        """
        check_is_fitted(self)
        return _written(to_html(self.page_), path)

    def to_json(self, path: Any = None) -> str:
        """All parts but the pictures, as JSON.

        Parameters
        ----------
        path : path, default=None
            Written there, if given.

        Returns
        -------
        text : str
        """
        check_is_fitted(self)
        return _written(to_json(self.page_), path)

    def to_markdown(self, path: Any = None) -> str:
        """The page without pictures, as Markdown.

        Parameters
        ----------
        path : path, default=None
            Written there, if given.

        Returns
        -------
        text : str
        """
        check_is_fitted(self)
        return _written(to_markdown(self.page_), path)

    def to_frame(self) -> Any:
        """All numbers as a tidy DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            Columns ``technique``, ``estimator``, ``quantity``, ``value``, ``low``, ``high``,
            ``unit`` and ``meaning``.
        """
        check_is_fitted(self)
        return to_frame(self.page_)

    def _repr_html_(self) -> str:
        if not hasattr(self, "page_"):
            return str(super()._repr_html_())
        return fragment(self.page_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        return tags


# --- parts of fit ---------------------------------------------------------------------------------


def _sections_of(keys: Sequence[str], subject: Subject, store: Any) -> list[tuple[Section, Any]]:
    """All sections of one subject."""
    with shared_samples():
        return [measured(t, subject, store) for t in TECHNIQUES if t.key in keys]


def _check_measured(sections: Sequence[Section], names: Iterable[str]) -> None:
    """Raise where nothing could be measured of an estimator."""
    for name in names:
        own = [s for s in sections if s.estimator == name]
        if all(s.left_out for s in own):
            raise ValueError(
                f"There is nothing to report on {name}: "
                + " ".join(f"{s.title}: {s.left_out}" for s in own)
            )


def _written(text: str, path: Any) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
