"""The tables of planted_scores.py, and the sentences that the user guide quotes, from its JSON."""

import re
import textwrap
from typing import NamedTuple

import numpy as np

from sklflat.metrics import mean_bounds

#: what is planted, and what a real unit is, by set
SETS = {
    "teacher, classes": "a trained network of 40 ReLU units; real is what correlates by more than "
    ".9 with one of the five hidden units of the teacher that made the two classes",
    "teacher, numbers": "the same for a teacher that made real targets",
    "weak cue": "a trained network of 40; real is what reads the three inputs of the real cue more "
    "than all others, seven of which are a weak spurious cue or noise",
    "shared units": "a network of given weights; real are the ten units of a teacher that all "
    "nine students have, beside six private, four cancelling and six unread ones",
    "unread units": "a network of given weights; real are 15 units that compute the teacher's "
    "five, beside 23 active ones that nobody reads; its siblings are noisy copies of it",
    "easy cue": "as the weak cue, but the spurious one is three times as clear as the real, and "
    "there is no noise",
    "cancelling pairs": "ten units of a teacher beside eight pairs whose outputs cancel",
    "class tree": "a trained network of 40, eight classes on a tree; real is the quarter of the "
    "units that reads most of the top level",
}
#: the threshold of a real unit that is shown, where there are several
SHOWN = {"teacher, classes": "0.9", "teacher, numbers": "0.9"}
PROBES = (
    "UnitConsensus",
    "UniversalityProbe",
    "ModeConnectivityProbe",
    "PruningPath",
    "AblationProbe",
    "ActivationProbe, selectivity",
    "ActivationProbe, correlation",
    "ActivationProbe, class_variance",
    "ActivationProbe, explainability",
    "HessianSpectrum, flat alignment",
    "HessianSpectrum, response",
    "HessianSpectrum, curvature",
    "HessianSpectrum, curvature, adaptive",
    "TemperatureProbe",
    "SurrogateAligner",
    "BasinRewinder",
)
BASELINES = (
    "weight norm",
    "activation variance",
    "ablation",
    "linear probing of units",
    "integrated gradients",
    "permutation importance of inputs",
    "optimal inputs",
    "random",
)
MEAN_RANK = "mean rank of the same probes"
#: where a probe was expected to fail before anything was run, and why
EXPECTED = {
    "AblationProbe": ("easy cue", "cancelling pairs"),
    "ActivationProbe, selectivity": ("easy cue", "class tree"),
    "ActivationProbe, correlation": ("easy cue", "unread units"),
    "ActivationProbe, class_variance": ("easy cue", "unread units"),
    "ActivationProbe, explainability": ("teacher, classes", "unread units"),
    "HessianSpectrum, flat alignment": ("teacher, classes", "teacher, numbers"),
    "HessianSpectrum, response": ("teacher, classes", "teacher, numbers"),
    "HessianSpectrum, curvature": ("easy cue", "cancelling pairs"),
    "HessianSpectrum, curvature, adaptive": ("easy cue", "cancelling pairs"),
    "TemperatureProbe": ("easy cue", "teacher, classes"),
    "SurrogateAligner": ("teacher, classes", "teacher, numbers"),
    "PruningPath": ("easy cue", "unread units"),
    "UniversalityProbe": ("easy cue", "unread units"),
    "ModeConnectivityProbe": ("easy cue", "unread units"),
    "BasinRewinder": ("easy cue", "teacher, classes"),
    "UnitConsensus": ("easy cue", "cancelling pairs"),
}
#: an area that is aimed at, one below which a score is of no use, and a difference of none
GOOD, USELESS, EQUAL = 0.8, 0.65, 0.02
#: seeds that a verdict needs
FEWEST = 9


class Mean(NamedTuple):
    """A mean over seeds with its 95 % interval."""

    n: int
    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        """NaN where there are none, and no interval of a single one."""
        values = np.asarray(values, dtype=float)
        if len(values) < 2:
            return cls(len(values), values.mean() if len(values) else np.nan, np.nan, np.nan)
        return cls(len(values), values.mean(), *map(float, mean_bounds(values)))

    def as_area(self):
        """With ends in [0, 1], as the intervals of few seeds reach beyond."""
        return self._replace(low=max(0.0, self.low), high=min(1.0, self.high))

    def __str__(self):
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]" if self.n > 1 else "-"


class Areas:
    """Areas of one set, by score and seed."""

    def __init__(self, kept, name):
        self.by_score, self.n_real, self.n_undefined = {}, [], 0
        for group, cells in kept["cells"].get(name, {}).items():
            for seed, cell in cells.items():
                if cell is None:
                    continue
                threshold = SHOWN.get(name, next(iter(cell["n_real"])))
                if group == "one network":
                    self.n_real.append(cell["n_real"][threshold])
                    self.n_undefined += threshold not in cell["areas"]
                for score, value in cell["areas"].get(threshold, {}).items():
                    self.by_score.setdefault(score, {})[seed] = value

    def mean(self, score):
        return Mean.of(list(self.by_score.get(score, {}).values())).as_area()

    def difference(self, score, other):
        """Paired over the seeds that both have."""
        a, b = self.by_score.get(score, {}), self.by_score.get(other, {})
        return Mean.of([a[seed] - b[seed] for seed in a if seed in b])

    def best(self, scores):
        """The score of the greatest mean, in hindsight, or None.

        Scores that have half of the seeds at least are compared, on those that all of them have.
        """
        known = [s for s in scores if s in self.by_score]
        most = max((len(self.by_score[s]) for s in known), default=0)
        full = [s for s in known if 2 * len(self.by_score[s]) >= most]
        common = set.intersection(*(set(self.by_score[s]) for s in full)) if full else set()
        if not common:
            return None
        return max(full, key=lambda s: np.mean([self.by_score[s][seed] for seed in common]))


def single_probes():
    return [name for name in PROBES if name != "UnitConsensus"]


# --- verdicts ---------------------------------------------------------------------------------


def supported(kept, probe):
    """Sets where a probe's area is .8 at least and above the best baseline's."""
    found = []
    for name in SETS:
        areas = Areas(kept, name)
        best = areas.best(BASELINES)
        mean, more = areas.mean(probe), areas.difference(probe, best)
        if mean.n >= FEWEST and mean.mean >= GOOD and more.low > 0:
            found.append(name)
    return found


def verdict(difference):
    """Better, equal or worse, where the interval says so."""
    if difference.n < FEWEST:
        return f"not decided by {difference.n} seeds"
    if difference.low > 0:
        return "better"
    if difference.high < 0:
        return "worse"
    if difference.low > -EQUAL and difference.high < EQUAL:
        return "equal"
    return "not decided"


# --- tables -----------------------------------------------------------------------------------


def page(kept):
    """The whole page, line by line."""
    yield "# Which scores find the real units of planted networks\n"
    yield (
        "Written by `benchmarks/planted_scores.py`, where it is said how. Area under the ROC curve "
        "(AUC) of a score against the units that are real, among those that are alive, on 500 rows "
        "that nothing was trained on: 1 is perfect, .5 is chance. Means over seeds with 95 % "
        "intervals. *Less the best baseline*: paired on the same networks, with the baseline that "
        "has the greatest mean on the same seeds, so that hindsight is in its favour; `random` is "
        "none. `AblationProbe` and the baseline *ablation* are one score. The defaults of "
        "`UnitConsensus` were chosen on the seeds 100 to 105, which are not among these. "
        f"Last run on {kept.get('date', 'no day')} with "
        + ", ".join(f"{name} {version}" for name, version in kept.get("versions", {}).items())
        + ".\n"
    )
    for name in SETS:
        yield from _set(kept, name)
    yield from _verdicts(kept)
    yield from _failures(kept)
    yield from _consensus(kept)
    yield from _thresholds(kept)


def _set(kept, name):
    areas = Areas(kept, name)
    yield f"## {name[0].upper()}{name[1:]}\n"
    real = np.array(areas.n_real)
    few = f" In {areas.n_undefined} networks none or all are, and these are left out."
    numbers = f" {np.mean(real):.1f} units are real." if len(real) else " Not run."
    yield f"{SETS[name]}.{numbers}{few * bool(areas.n_undefined)}\n"
    best = areas.best(BASELINES[:-1])
    yield "| score | seeds | AUC | less the best baseline |"
    yield "|---|---|---|---|"
    for score in (*PROBES, MEAN_RANK, *BASELINES):
        mean = areas.mean(score)
        if not mean.n:
            continue
        more = "the best one" if score == best else areas.difference(score, best)
        kind = "" if score in PROBES else "baseline: "
        label = f"consensus by the {score}" if score == MEAN_RANK else f"{kind}{score}"
        yield f"| {label} | {mean.n} | {mean} | {more} |"
    yield ""


def _verdicts(kept):
    yield "## Where a probe is supported\n"
    yield (
        f"An AUC of {GOOD:g} at least, and above that of the best baseline by an interval. Not run "
        f"or fewer than {FEWEST} seeds is no support. It fails where the interval of its AUC is "
        f"below {USELESS:g}, whether that was expected or not.\n"
    )
    yield "| probe | supported by | fails on |"
    yield "|---|---|---|"
    for probe in PROBES:
        fails = [name for name in SETS if Areas(kept, name).mean(probe).high < USELESS]
        said = "; ".join(supported(kept, probe)) or "not supported here"
        yield f"| {probe} | {said} | {'; '.join(fails) or 'none of those run'} |"
    yield ""


def _failures(kept):
    yield "## Where a probe was expected to fail\n"
    yield (
        "Two sets a probe, written down after a look at seeds 100 and 101 and before any of those "
        f"reported. It fails where the interval of its AUC is below {USELESS:g}.\n"
    )
    yield "| probe | set | AUC | fails |"
    yield "|---|---|---|---|"
    for probe, names in EXPECTED.items():
        for name in names:
            mean = Areas(kept, name).mean(probe)
            said = "not run" if mean.n < 2 else "yes" if mean.high < USELESS else "no"
            yield f"| {probe} | {name} | {mean} | {said} |"
    yield ""


def _consensus(kept):
    yield "## The consensus and the best single probe\n"
    yield (
        "The single probe is that of the greatest mean on the same seeds, by hindsight; in the "
        "second half, of the three that the consensus is made of. *Equal* is an interval within "
        f"{EQUAL:g}.\n"
    )
    yield "| set | against | its AUC | consensus | difference | verdict |"
    yield "|---|---|---|---|---|---|"
    own = ("AblationProbe", "ActivationProbe, correlation", "HessianSpectrum, curvature, adaptive")
    for others in (single_probes(), own):
        for name in SETS:
            areas = Areas(kept, name)
            best = areas.best(others)
            more = areas.difference("UnitConsensus", best)
            cells = name, best, areas.mean(best), areas.mean("UnitConsensus"), more, verdict(more)
            yield "| " + " | ".join(str(cell) for cell in cells) + " |"
    yield ""


def _thresholds(kept):
    yield "## Other thresholds of a real unit\n"
    yield "| score | " + " | ".join(f"{n}, {t}" for n in SHOWN for t in ("0.8", "0.95")) + " |"
    yield "|---|" + "---|" * 4
    for score in (*PROBES, *BASELINES):
        cells = []
        for name in SHOWN:
            for threshold in ("0.8", "0.95"):
                found = [
                    cell["areas"][threshold][score]
                    for group in kept["cells"].get(name, {}).values()
                    for cell in group.values()
                    if cell and score in cell["areas"].get(threshold, {})
                ]
                cells.append(str(Mean.of(found).as_area()))
        yield f"| {score} | " + " | ".join(cells) + " |"


# --- sentences of the user guide --------------------------------------------------------------

#: the scores that a page speaks of, the default first
SENTENCES = {
    "UnitConsensus": ("UnitConsensus",),
    "AblationProbe": ("AblationProbe",),
    "ActivationProbe": (
        "ActivationProbe, selectivity",
        "ActivationProbe, correlation",
        "ActivationProbe, class_variance",
    ),
    "HessianSpectrum": (
        "HessianSpectrum, flat alignment",
        "HessianSpectrum, curvature, adaptive",
    ),
    "TemperatureProbe": ("TemperatureProbe",),
    "SurrogateAligner": ("SurrogateAligner",),
    "PruningPath": ("PruningPath",),
    "UniversalityProbe": ("UniversalityProbe",),
    "ModeConnectivityProbe": ("ModeConnectivityProbe",),
    "BasinRewinder": ("BasinRewinder",),
}


#: page of the user guide that quotes a probe's own row
PAGES = {
    "UnitConsensus": "consensus",
    "AblationProbe": "probes",
    "ActivationProbe": "probes",
    "HessianSpectrum": "eigenspace",
    "ModeConnectivityProbe": "connectivity",
    "BasinRewinder": "rewinding",
    "SurrogateAligner": "surrogate",
    "TemperatureProbe": "temperature",
    "UniversalityProbe": "universality",
    "PruningPath": "pruning",
}


def with_quotation(text, probe, quotation):
    """A page with the paragraph below ``% measured: PROBE`` replaced."""
    marked = re.compile(rf"^% measured: {probe}\n+(?:[^\n%#].*\n)*", flags=re.MULTILINE)
    lines = "\n".join(textwrap.wrap(quotation, 120, break_on_hyphens=False))
    found, n = marked.subn(lambda _: f"% measured: {probe}\n\n{lines}\n", text)
    assert n == 1, f"the page of {probe} has {n} lines '% measured: {probe}'"
    return found


def sentences(kept):
    """What each page says of its probe on the two teachers, and where it is supported."""
    return {name: _sentence(kept, scores) for name, scores in SENTENCES.items()}


def compared(kept):
    """How the consensus compares with the best single probe of every set, in a sentence."""
    found = {}
    for name in SETS:
        areas = Areas(kept, name)
        best = areas.best(single_probes())
        more = areas.difference("UnitConsensus", best)
        if more.n >= FEWEST:
            found.setdefault(verdict(more), []).append(f"{name} ({best}: {more})")
    said = "; ".join(f"{how} on {', '.join(where)}" for how, where in sorted(found.items()))
    return (
        "Its AUC less that of the single probe which is the best one in hindsight: "
        f"{said or 'not run'}."
    )


def _sentence(kept, scores):
    parts = []
    for score in scores:
        label = score.split(", ", 1)[1] if ", " in score and len(scores) > 1 else ""
        for name in SHOWN:
            areas = Areas(kept, name)
            mean = areas.mean(score)
            if mean.n > 1:
                best = areas.best(BASELINES[:-1])
                parts.append(
                    f"{label + ': ' if label else ''}{mean} for a {name.replace(', ', ' of ')} "
                    f"(best baseline, {best}: {areas.mean(best).mean:.2f}; {mean.n} seeds)"
                )
    if not parts:
        return "On planted networks it was not run (`benchmarks/results/planted_scores.md`)."
    where = sorted({name for score in scores for name in supported(kept, score)})
    decided = [n for n in SETS if any(Areas(kept, n).mean(s).n >= FEWEST for s in scores)]
    last = f"{len(decided)} of the {len(SETS)} sets with {FEWEST} seeds or more"
    said = f"on {'; '.join(where)}" if where else "on none: not supported here"
    return (
        f"AUC for the real units of planted networks: {'; '.join(parts)}. At {GOOD:g} and above "
        f"the best baseline it is {said} ({last}; `benchmarks/results/planted_scores.md`)."
    )
