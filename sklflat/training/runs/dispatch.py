"""Units of work for joblib's workers, one of which may be lost."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pickle import PicklingError

from joblib import delayed

from sklflat._workers import parallel
from sklflat.exceptions import LostWorkerWarning, warn
from sklflat.training.runs.training import Training

#: how often a unit is begun before the loss of its workers is an error
_ATTEMPTS = 3

#: trains all of a unit, in place
Work = Callable[[Sequence[Training]], None]


def dispatch(
    trainings: Sequence[Training],
    units: Sequence[list[int]],
    n_jobs: int | None,
    work: Work,
) -> Iterator[int]:
    """Have units of trainings done by joblib's workers; yields trainings as they end.

    A worker that is killed is replaced, and what was not finished is begun anew, three times at
    most. What cannot be sent to workers, or back, is done in this process.

    Parameters
    ----------
    trainings : sequence of Training
    units : sequence of list of int
        Positions of trainings that one worker does.
    n_jobs : int or None
    work : callable
        ``work(unit)`` trains a list of trainings in place; can be pickled.
    """
    left = dict(enumerate(units))
    for attempt in range(_ATTEMPTS):
        calls = [delayed(_do)(k, [trainings[i] for i in unit], work) for k, unit in left.items()]
        try:
            for k, ended in parallel(n_jobs, return_as="generator_unordered")(calls):
                for i, done in zip(left.pop(k), ended, strict=True):
                    trainings[i].take(done)
                    yield i
            return
        except BrokenProcessPool:
            if attempt + 1 == _ATTEMPTS:
                raise
            warn(
                f"A worker process was lost; {len(left)} of {len(units)} units are begun anew.",
                LostWorkerWarning,
            )
        except PicklingError as error:
            warn(
                f"n_jobs={n_jobs} is not used: the network cannot be pickled to worker processes "
                f"({error.__cause__ or error}). All is trained in this process.",
                LostWorkerWarning,
            )
            for unit in left.values():
                work([trainings[i] for i in unit])
                yield from unit
            return


def _do(k: int, unit: list[Training], work: Work) -> tuple[int, list[Training]]:
    work(unit)
    return k, unit
