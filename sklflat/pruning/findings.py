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
    best = table.path.high[1:-1].min(initial=np.inf)
    return (
        f"No smaller number of units is shown to be within tol={tol:g} of the whole network, so "
        f"all are selected. The least upper end of the drop is {best:.2g}: with that as tol, or "
        "more judged rows, fewer may do."
    )


def findings(path: Any, own: float) -> tuple[str, ...]:
    """Sentences about a fitted path; ``own`` is the score of the selected units."""
    table, n_units, n = path.path_, len(path.order_), path.n_units_
    name, how = table.score_name, "the output layer refitted" if path.refit else "nothing refitted"
    said = [
        f"{n} of {n_units} units are kept, the others silenced at their means, {how}: {name} "
        f"{own:.3f} on {table.n_judged} rows that neither trained nor chose, where the whole "
        f"network has {table.full_score:.3f}."
    ]
    if n in table.sizes:
        row = table.at(n)
        within = "no more than" if row["high"] <= path.tol else "not shown to be within"
        said.append(
            f"The drop is {_three(row['drop'])}, 95 % interval {_three(row['low'])} to "
            f"{_three(row['high'])}: "
            f"{within} tol={path.tol:g}."
        )
        for baseline, curve in table.baselines.items():
            i = int(np.flatnonzero(table.sizes == n)[0])
            said.append(
                f"By {baseline} as many units have {curve.scores[i]:.3f}; the 95 % interval of how "
                f"much less is {_three(curve.low[i])} to {_three(curve.high[i])}."
            )
    random, p = path.random_scores_, path.p_value_
    matters = "so it matters which" if p <= 0.05 else "so it is not shown to matter which"
    said.append(
        f"Of {len(random)} random sets of {n} units, of mean {name} {random.mean():.3f}, "
        f"{np.count_nonzero(random >= own - 1e-12)} do as well (p = {p:.3f}), {matters}."
    )
    return tuple(said)


def _three(value: float) -> str:
    """Three decimals, without the sign of a zero."""
    return f"{round(value, 3) + 0.0:.3f}"
