"""Trainings that are not stacked: one after the other, each kept under way if there is a place."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sklflat.exceptions import DivergenceError
from sklflat.training.engine.epochs import Epoch, Fitting, next_epoch
from sklflat.training.engine.interrupts import Interrupt, deferred_interrupt
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
        training.run(partial(_train_kept, i, directory))


def _train_kept(i: int, directory: RunDirectory, training: Training) -> None:
    fitting, epoch = training.begin(directory.checkpoint_alone(i))
    finish(i, training, fitting, epoch, directory)


def finish(
    i: int, training: Training, fitting: Fitting, epoch: Epoch | None, directory: RunDirectory
) -> None:
    """Run a training that has begun to its end, epoch by epoch, and keep how it ended.

    Parameters
    ----------
    i : int
        Its position in the directory.
    training : Training
    fitting, epoch
        What ``training.begin`` returned.
    directory : RunDirectory

    Raises
    ------
    KeyboardInterrupt
        Where the user interrupts, after what is under way has been kept.
    """
    name, interrupt = directory.name_alone(i), Interrupt()

    def save(epoch: Epoch) -> None:
        directory.save_stack([(i, training, getattr(epoch.batches, "order", None))], name)

    try:
        while epoch is not None:
            if directory.is_save_due:
                save(epoch)
            with deferred_interrupt() as interrupt:
                epoch = next_epoch(fitting, epoch, told=DivergenceError)
            if interrupt.is_pending:
                save(epoch)
                raise KeyboardInterrupt
    except StopIteration:
        pass
    except Exception:  # which is how it ends
        directory.delete_stack(name)
        raise
    finally:
        fitting.close()
    training.check_interrupted()
    directory.save_result(i, training)
    directory.delete_stack(name)
    if interrupt.is_pending:  # in the last epoch, which was not cut off
        raise KeyboardInterrupt
