"""The command on claims that take no time: their numbers are drawn."""

import numpy as np

from sklflat.__main__ import main
from sklflat.exceptions import DivergenceError


def drawn(protocol, effect=1.0, diverges=lambda seed: False):
    """A measurement of random numbers: all that claims are better, by an effect, in every arm."""

    def measure(data, seed):
        if diverges(seed):
            raise DivergenceError(f"seed {seed}")
        rng = np.random.RandomState(seed + 7 * protocol.number)
        better = {c.arm for c in protocol.comparisons_on(data)}
        metrics = {c.metric for c in protocol.comparisons_on(data)}
        metrics |= {mediator for *_, mediator in protocol.mediators}
        arms = {name for c in protocol.comparisons_on(data) for name in (c.arm, c.against) if name}
        return {
            arm: {m: effect * (arm in better) + 0.1 * rng.normal() for m in sorted(metrics)}
            | {"accuracy": 0.9, "gradients": 100.0}
            for arm in sorted(arms)
        }

    return measure


def claims(tmp_path, *options, name="found.json"):
    """Run the command; the status and the path of its results."""
    path = tmp_path / name
    return main(["claims", "-o", str(path), *map(str, options)]), path
