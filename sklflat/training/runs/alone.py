"""Trainings that are not stacked: one after the other, each kept under way if there is a place."""

import time
import warnings
from collections.abc import Sequence
from typing import Any

from sklflat.exceptions import CheckpointError, DamagedFileWarning, DivergenceError
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.runs.interrupts import deferred_interrupt
from sklflat.training.runs.run_directory import RunDirectory
from sklflat.training.runs.training import Training


def train_alone(unit: Sequence[Training], cache_dir: Any = None) -> None:
    """Train each to its end, from its checkpoint if it has one; an exception is kept.

    Parameters
    ----------
    unit : sequence of Training
    cache_dir : path, default=None
        Where trainings are kept: under way every two seconds, and when they have ended.

    Raises
    ------
    KeyboardInterrupt
        Where the user interrupts, after what is under way has been kept.
    """
    directory = RunDirectory(cache_dir, unit)
    for i, training in enumerate(unit):
        start = time.perf_counter()
        try:
            if isinstance(training.estimator, PerturbedEstimator):
                _run(i, training, directory)
            else:
                training.estimator.fit(training.X, training.y, **training.fit_params)
        except Exception as error:
            training.error = error
        training.seconds = time.perf_counter() - start


def _run(i: int, training: Training, directory: RunDirectory) -> None:
    """One training, epoch by epoch."""
    name, checkpoint = directory.unfinished(i)
    fitting = training.fitting(lambda net: checkpoint)
    try:
        epoch = next(fitting)
        while True:
            if directory.is_save_due:
                order = getattr(epoch.batches, "order", None)
                name = directory.save_stack([(i, training, order)], name)
            with deferred_interrupt() as interrupt:
                try:
                    epoch.run()
                except DivergenceError as error:
                    epoch = fitting.throw(error)
                else:
                    epoch = next(fitting)
            if interrupt.is_pending:
                order = getattr(epoch.batches, "order", None)
                directory.save_stack([(i, training, order)], name)
                raise KeyboardInterrupt
    except StopIteration:
        training.check_interrupted()
    except CheckpointError as error:
        if checkpoint is None:
            raise
        message = f"{error} It is trained anew."
        warnings.warn(message, DamagedFileWarning, stacklevel=2)
        directory.delete_stack(name)
        _run(i, training, directory)
        return
    finally:
        fitting.close()
    directory.save_result(i, training)
    directory.delete_stack(name)
