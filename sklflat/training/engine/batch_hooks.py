"""What of a skorch net is called for single batches, and so needs skorch's own step."""

from skorch.callbacks import Callback, EpochScoring, LRScheduler

#: hooks of callbacks and nets for single batches, and methods of nets that make up a step
BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")
OWN_STEPS = ("train_step", "train_step_single", "run_single_epoch", "_step_optimizer")


def listens_to_batches(callback: Callback) -> bool:
    """Whether a callback has to be called for single training batches."""
    if isinstance(callback, LRScheduler):
        return callback.step_every == "batch"
    if isinstance(callback, EpochScoring):
        return bool(callback.on_train and callback.use_caching)
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in BATCH_HOOKS)
