"""What a path shows, in words."""

from typing import Any

import numpy as np

from sklflat.probing.sample import Sample
from sklflat.pruning.judge import effective_rows, finest_drop, rows_to_resolve
from sklflat.pruning.table import PathTable

#: with fewer judged rows no number of units is decided on
MIN_JUDGED = 20


def shortage(table: PathTable, judged: Sample, smallest: int, n_living: int, tol: float) -> str:
    """Why less is selected than might be expected; empty where nothing is to be said."""
    if smallest == 0:
        return (
            f"All units are negligible: with every one of them silenced the {table.score_name} is "
            f"{table.path.scores[0]:.3g}, within tol={tol:g} of the whole network's "
            f"{table.full_score:.3g}. One unit is selected, as a transformer needs a column."
        )
    what = "judged rows" if table.n_groups is None else f"{table.parts} of judged rows"
    if table.n_independent < MIN_JUDGED:
        return (
            f"{table.n_independent} {what} are too few to decide how many units are needed (at "
            f"least {MIN_JUDGED}), so all are selected. Give more rows or a greater holdout, or "
            "say n_units=."
        )
    if smallest < n_living or n_living == 1:
        return ""
    n = effective_rows(judged) if table.n_groups is None else table.n_groups
    if judged.trained.classes is not None and finest_drop(n) > tol:
        wanted = f"{rows_to_resolve(tol)} {'rows' if table.n_groups is None else table.parts}"
        remedy = f"Judge on {wanted} at least, or raise" if tol > 0 else "Raise"
        return (
            f"tol={tol:g} is below what {n:.0f} {what} can resolve: even if no prediction "
            f"changed, they could not exclude a drop of {finest_drop(n):.2g}. So no smaller "
            f"number is shown to be enough, and all units are selected. {remedy} tol."
        )
    i = _next_below(table, smallest)
    return (
        f"Already with {table.sizes[i]} of the units the network is not shown to be within "
        f"tol={tol:g} of the whole one, so all are selected. The upper end of the drop is "
        f"{table.path.high[i]:.2g} there: with that as tol, or more judged rows, fewer may do."
    )


def findings(path: Any, own: float, n_living: int) -> tuple[str, ...]:
    """Sentences about a fitted path, of whose units n_living are alive.

    ``own`` is the score of the selected units.
    """
    table, n_units, n = path.path_, len(path.order_), path.n_units_
    name, how = table.score_name, "the output layer refitted" if path.refit else "nothing refitted"
    kept = f"{n} of {n_units} units are kept, the others silenced at their means"
    if n == n_units:
        kept = f"All {n_units} units are kept"
    said = [
        f"{kept}, {how}: {name} {own:.3f} on {table.n_judged} rows that neither trained nor chose, "
        f"where the whole network has {table.full_score:.3f}."
    ]
    if n in table.sizes:
        said += _drop(path)
    if path.n_units == "auto" and table.n_independent >= MIN_JUDGED:
        said += _where_reading_ended(table, n, path.tol)
    if n >= n_living:
        alive = "" if n_living == n_units else " that are alive"
        said.append(f"All {n} units{alive} were kept, so there is no other set of as many.")
        return tuple(said)
    random, p = path.random_scores_, path.p_value_
    matters = "so it matters which" if p <= 0.05 else "so it is not shown to matter which"
    said.append(
        f"Of {len(random)} random sets of {n} units, of mean {name} {random.mean():.3f}, "
        f"{np.count_nonzero(random >= own - 1e-12)} do as well (p = {p:.3f}), {matters}."
    )
    return tuple(said)


def _drop(path: Any) -> list[str]:
    """What the selected number costs, beside the baselines."""
    table, n = path.path_, path.n_units_
    row = table.at(n)
    within = "no more than" if row["high"] <= path.tol else "not shown to be within"
    said = [
        f"The drop is {_three(row['drop'])}, 95 % interval {_three(row['low'])} to "
        f"{_three(row['high'])}: {within} tol={path.tol:g}."
    ]
    i = int(np.flatnonzero(table.sizes == n)[0])
    return said + [
        f"By {baseline} as many units have {curve.scores[i]:.3f}; the 95 % interval of how "
        f"much less is {_three(curve.low[i])} to {_three(curve.high[i])}."
        for baseline, curve in table.baselines.items()
    ]


def _where_reading_ended(table: PathTable, n: int, tol: float) -> list[str]:
    """Why the selected number is not smaller, though a smaller one may be within tol."""
    if not (table.sizes < n).any() or table.smallest_within(tol) < n:
        return []
    i = _next_below(table, n)
    said = (
        f"Numbers are read from all units downwards, and {table.sizes[i]} is the first that is "
        f"not shown to be within tol={tol:g}."
    )
    within = table.sizes[:i][table.path.high[:i] <= tol]
    if len(within):
        said += (
            f" Further down, {within[0]} would be by its own interval; of many intervals one may "
            "be low by chance, so it is not selected."
        )
    return [said]


def _next_below(table: PathTable, n: int) -> int:
    """Position of the greatest number of units below n."""
    return int(np.flatnonzero(table.sizes < n)[-1])


def _three(value: float) -> str:
    """Three decimals, without the sign of a zero."""
    return f"{round(value, 3) + 0.0:.3f}"
