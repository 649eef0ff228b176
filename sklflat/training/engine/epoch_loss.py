"""What skorch's default callbacks do for nets whose epochs the estimators run."""

from typing import Any

from skorch.callbacks import PassthroughScoring


class EpochLoss(PassthroughScoring):
    """skorch's mean of the batches' losses, which it looks up in all of the history each time.

    The time of that grows with the number of epochs, and in a stack, where an epoch of a small
    network takes a fraction of a millisecond, it is a large part of training.
    """

    best_score_: float

    def __init__(self) -> None:
        super().__init__("train_loss", on_train=True)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record the loss, and whether it is the best so far."""
        epoch = last_epoch(net)
        batches = [batch for batch in epoch["batches"] if self.name in batch]
        if not batches:
            return
        losses = [batch[self.name] for batch in batches]
        sizes = [batch["train_batch_size"] for batch in batches]
        total = sum(loss * size for loss, size in zip(losses, sizes, strict=True))
        loss = epoch[self.name] = float(total / sum(sizes))
        is_best = epoch[self.name + "_best"] = bool(loss < self.best_score_)
        if is_best:
            self.best_score_ = loss


def callback_settings(is_classifier: bool) -> dict[str, Any]:
    """Settings of skorch's default callbacks for a net whose epochs the estimator runs.

    It holds out no rows of skorch's, and nobody would see the table that it prints.
    """
    unused = ("valid_loss", "print_log", *(["valid_acc"] if is_classifier else []))
    none = {f"callbacks__{name}": None for name in unused}
    return {"callbacks__train_loss": EpochLoss(), **none}


def last_epoch(net: Any) -> dict[str, Any]:
    """The last entry of a net's history, which ``history[-1]`` copies all of the list for."""
    return next(reversed(net.history))
