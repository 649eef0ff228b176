"""Errors of torch and skorch in training, in words that say what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sklflat.networks.token_ids import token_ids_named

NO_BATCH = (
    "An epoch of training had no batch: batch_size is above the number of samples, and the "
    "iterator drops the last, smaller batch. Lower batch_size, or leave drop_last=False."
)

_ONE_SAMPLE = (
    "Batch normalisation met a batch of one sample, which has no variance. Choose another "
    "batch_size, so that no single sample is left over, or iterator_train__drop_last=True."
)


@contextmanager
def in_plain_words(net: Any, batches: Any = None) -> Iterator[None]:
    """Within, known errors say what to do.

    Parameters
    ----------
    net : skorch.NeuralNet
        The net that is trained.
    batches : iterable of batches, default=None
        What it is trained on.

    Raises
    ------
    ValueError
        If batch normalisation meets a single sample, a token id is out of range, or a callback
        reads from the history what this training does not record, such as a validation loss.
    """
    try:
        with token_ids_named(net, getattr(getattr(batches, "dataset", None), "X", None)):
            yield
    except ValueError as error:
        if "Expected more than 1 value per channel" in str(error):
            raise ValueError(_ONE_SAMPLE) from error
        raise
    except KeyError as error:
        history = net.history
        missing = re.search(r"Key '?(.+?)'? was not found in history", str(error))
        if missing is None:
            raise
        kept = sorted(k for k in history[-1] if k != "batches") if len(history) else []
        raise ValueError(
            f"A callback reads {missing[1]!r}, which this training does not record: it has {kept}. "
            "Validation losses need a skorch net with a train_split; else let the callback "
            "monitor 'train_loss'."
        ) from error
