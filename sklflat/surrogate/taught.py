"""A network's units and rows, with a student that was taught what the network says."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sklflat.metrics import tree_explainability
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows, split_rows
from sklflat.surrogate.columns import Columns, filled
from sklflat.surrogate.fidelity import FidelityReport, HeldOut, measure_fidelity
from sklflat.surrogate.oracle import draw_oracle_samples, n_oracle_samples
from sklflat.surrogate.stability import has_splits, stability
from sklflat.surrogate.student import (
    Student,
    check_magnitude,
    check_missing,
    check_surrogate,
    default_surrogate,
    teach,
)
from sklflat.surrogate.teacher import Answers, answers_of

#: of the trees that explain units: their depth, thresholds of a feature, folds, and rows at most
_DEPTH, _CUTS, _FOLDS, _MAX_ROWS = 4, 15, 2, 400
#: logit of the true class, where a student is taught the truth: surer than any network
_SURE = 10.0

#: seconds before a progress bar shows up
_PATIENCE = 1.0


@dataclass(frozen=True)
class Lesson:
    """How a student is taught: parameters of the aligner.

    Parameters
    ----------
    surrogate : estimator or None
    target : {"label", "proba", "logit"}
    oracle_samples : int or "auto"
    n_redraws : int
    n_twins : int
        Untrained networks that units are compared with.
    seed : int
    verbose : int
        Whether progress is shown.
    """

    surrogate: Any
    target: str
    oracle_samples: Any
    n_redraws: int
    n_twins: int
    seed: int
    verbose: int = 0

    def shown(self, parts: Iterable[Any], total: int, what: str) -> Iterable[Any]:
        """Parts, with a bar of those that are done."""
        return tqdm(parts, what, total, disable=not self.verbose, delay=_PATIENCE)


@dataclass(frozen=True)
class TaughtSample(Sample):
    """Held-out rows, and a student taught on others; what is computed of them is kept.

    Parameters
    ----------
    taught : Rows
        What the student is taught on; no row of these is in `raw`, unless nothing is held out.
    lesson : Lesson
    """

    taught: Rows = None  # type: ignore[assignment]  # a default, as those before it have one
    lesson: Lesson = None  # type: ignore[assignment]

    @classmethod
    def parted(
        cls, sample: Sample, holdout: float | None, lesson: Lesson, rng: np.random.RandomState
    ) -> "TaughtSample":
        """A probe's sample, with the rows to teach a student on.

        These are what the network was trained on; or, where that is not known, a part of the
        sample's own rows.
        """
        if sample.training is not None:
            t = sample.training
            params = {**t.fit_params, "groups": t.groups}
            return cls.of_sample(sample, Rows(t.X, t.y, params).with_weight(), lesson)
        params = {"sample_weight": sample.weight, "groups": sample.groups}
        own = Rows(sample.raw, sample.y, params, sample.numbers)
        taught, held_out = split_rows(own, holdout, sample.trained.classes is not None, rng)
        parts = held_out.X, held_out.y, held_out.weight
        left = Sample(sample.trained, sample.units, *parts, None, held_out.numbers, held_out.groups)
        return cls.of_sample(left, taught, lesson)

    @classmethod
    def of_sample(cls, sample: Sample, taught: Rows, lesson: Lesson) -> "TaughtSample":
        """A sample of held-out rows, with rows to teach a student on."""
        return cls.extending(sample, taught=taught, lesson=lesson)

    def rng(self, purpose: int) -> np.random.RandomState:
        """Random numbers of their own for each purpose, so that none depends on another."""
        return np.random.RandomState([self.lesson.seed, purpose])

    # --- what is taught -----------------------------------------------------------------------

    @cached_property
    def columns(self) -> Columns:
        """Of the rows taught on."""
        return Columns.of(self.taught.X)

    @cached_property
    def codes(self) -> NDArray:
        """Of the rows taught on, (n_taught, n_columns)."""
        return self.columns.codes(self.taught.X)

    @cached_property
    def taught_weight(self) -> NDArray:
        """Weights (n_taught,) whose mean is 1."""
        w = self.taught.weight
        s = np.ones(len(self.taught)) if w is None else w.double().numpy()
        return s / s.mean()

    @cached_property
    def taught_answers(self) -> Answers:
        """What the network says about the rows taught on."""
        return answers_of(self.trained, self.taught.X)

    def true_answers(self, y: Any) -> Answers:
        """Targets as a network would say them that knows them."""
        numbers, classes = self.trained.numbers(y), self.trained.classes
        if classes is None:
            return Answers(np.asarray(numbers, float).reshape(len(numbers), -1), None)
        known = np.eye(len(classes))[numbers.astype(int)]
        return Answers(_SURE * (known - known.mean(axis=1, keepdims=True)), classes)

    @cached_property
    def surrogate(self) -> Any:
        """The estimator that students are clones of."""
        answers = self.taught_answers
        of_classes = answers.classes is not None
        given = self.lesson.surrogate
        if given is None:
            check_magnitude(self.columns.to_features(self.codes), self.columns.feature_names)
            return default_surrogate(self.lesson.target, of_classes)
        check_surrogate(given, self.lesson.target, answers.values.shape[1], of_classes)
        check_missing(given, self.columns.to_features(self.codes), self.columns.feature_names)
        return given

    def with_oracle(self, rows: NDArray, rng: np.random.RandomState) -> Student:
        """A student of some rows and of oracle samples drawn around these."""
        codes, weight = self.codes[rows], self.taught_weight[rows]
        answers = self.taught_answers.take(rows)
        n = n_oracle_samples(self.lesson.oracle_samples, len(rows))
        if n:
            drawn = draw_oracle_samples(codes, self.columns, n, rng, weight)
            said = answers_of(self.trained, self.columns.to_data(drawn, self.taught.X))
            codes = np.concatenate([codes, drawn])
            weight = np.concatenate([weight, np.ones(n)])
            answers = Answers(np.concatenate([answers.values, said.values]), answers.classes)
        return self._student(codes, answers, weight)

    def _student(self, codes: NDArray, answers: Answers, weight: NDArray) -> Student:
        shown = weight > 0
        return teach(
            self.surrogate,
            self.lesson.target,
            self.columns.to_features(codes[shown]),
            answers.take(shown),
            weight[shown],
        )

    @cached_property
    def student(self) -> Student:
        """The surrogate."""
        return self.with_oracle(np.arange(len(self.taught)), self.rng(0))

    def redrawn(self) -> Iterator[Student]:
        """Students of rows drawn again, with replacement, and of other oracle samples."""
        rng = self.rng(1)
        n = len(self.taught)
        n_redraws = self.lesson.n_redraws
        for _ in self.lesson.shown(range(n_redraws), n_redraws, "surrogates taught again"):
            yield self.with_oracle(rng.randint(n, size=n), rng)

    # --- held-out rows ------------------------------------------------------------------------

    @cached_property
    def features(self) -> NDArray:
        """Of the held-out rows, (n_samples, n_features)."""
        return self.columns.to_features(self.columns.codes(self.raw))

    @cached_property
    def held_out(self) -> HeldOut:
        """What the network says about them, and the truth."""
        truth = self.trained.numbers(self.y)
        return HeldOut(answers_of(self.trained, self.raw), truth, self.weights, self.groups)

    @cached_property
    def surrogate_answers(self) -> Answers:
        """What the surrogate says about them."""
        return self.student.answers(self.features)

    def fidelity(self) -> FidelityReport:
        """The surrogate beside students that cannot be as faithful."""
        answers, weight = self.taught_answers, self.taught_weight
        truth = self.true_answers(self.taught.y)
        others = {
            "taught true targets": self._student(self.codes, truth, weight),
            "without oracle samples": self._student(self.codes, answers, weight),
        }
        students = {"surrogate": self.surrogate_answers}
        students |= {name: student.answers(self.features) for name, student in others.items()}
        students["mean" if answers.classes is None else "majority"] = self._constant()
        model = self.student.model
        redrawn = (s.model for s in self.redrawn()) if has_splits(model) else ()
        stable = stability(model, redrawn, self.columns.to_features(self.codes))
        lesson = self.lesson
        return measure_fidelity(
            self.held_out, students, lesson.target, stable, self.rng(2), lesson.n_redraws
        )

    def _constant(self) -> Answers:
        """What the network says of most rows taught on (its mean), for every held-out row."""
        answers, w = self.taught_answers, self.taught_weight
        if answers.classes is None:
            said = np.average(answers.values, axis=0, weights=w)
        else:
            share = np.bincount(answers.codes, weights=w, minlength=len(answers.classes))
            logs = np.log(share / share.sum() + 1e-6)
            said = logs - logs.mean()
        return Answers(np.tile(said, (self.n_samples, 1)), answers.classes)

    # --- units --------------------------------------------------------------------------------

    @cached_property
    def explained(self) -> NDArray:
        """Cross-validated R² (n_units,) of a small tree of the inputs for each unit."""
        return self._explained(self.activations)

    def _explained(self, A: NDArray) -> NDArray:
        rows = np.flatnonzero(self.weights > 0)
        rows = self.rng(3).permutation(rows)[:_MAX_ROWS]
        F = filled(self.features[rows])
        cv = min(_FOLDS, len(rows))
        return tree_explainability(A[rows], F, max_depth=_DEPTH, cv=cv, max_cuts=_CUTS)

    @cached_property
    def untrained_explained(self) -> tuple[NDArray, NDArray]:
        """The same of the units of untrained networks, (n_draws,), and the layer of each."""
        found = [np.zeros(0)]
        layers = [np.zeros(0, dtype=int)]
        n_twins = self.lesson.n_twins
        twins = self.untrained_twins(n_twins, self.rng(4))
        for twin in self.lesson.shown(twins, n_twins, "untrained networks"):
            found.append(self._explained(twin.activations)[~twin.dead])
            layers.append(twin.units.layer_of[~twin.dead])
        return np.concatenate(found), np.concatenate(layers)

    @cached_property
    def by_chance(self) -> NDArray:
        """Mean R² (n_layers,) of an untrained network's units, layer by layer."""
        found, layers = self.untrained_explained
        n_layers = len(self.units.layers)
        size = np.bincount(layers, minlength=n_layers)
        return np.bincount(layers, weights=found, minlength=n_layers) / np.maximum(size, 1)
