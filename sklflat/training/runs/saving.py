"""Fitted estimators in files that run no code."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from skorch import NeuralNet, NeuralNetClassifier
from skorch.history import History

from sklflat.exceptions import CheckpointError
from sklflat.storage import files
from sklflat.storage.objects import HANDLERS, decode, encode
from sklflat.training.engine.net import PerturbedNet, PerturbedNetClassifier, PerturbedNetMixin
from sklflat.training.engine.randomness import RandomStream

_OPTIMIZERS = {cls.__name__: cls for cls in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)}
_NETS = {"NeuralNet": PerturbedNet, "NeuralNetClassifier": PerturbedNetClassifier}


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator as one safetensors file.

    Estimators of this package can be saved, and pipelines around them; with networks of torch's
    layers or of your own classes. Of a search, save ``best_estimator_``. The file holds arrays and
    JSON, is written whole or not at all, and carries a checksum.

    Parameters
    ----------
    estimator : estimator
    path : path
        Replaced if it exists.

    Raises
    ------
    TypeError
        If a part, such as a function, a callback or a user's own skorch net, cannot be stored;
        says which.
    StorageError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import sklflat
    >>> X, y = [[0.0], [1.0], [0.1], [0.9]] * 3, ["a", "b", "a", "b"] * 3
    >>> clf = sklflat.SAMClassifier((4,), solver="sgd", learning_rate_init=0.5, tol=1.0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "clf.safetensors")
    ...     sklflat.save(clf, path)
    ...     again = sklflat.load(path)
    >>> bool((again.predict_proba(X) == clf.predict_proba(X)).all())
    True
    """
    arrays, info = encode(estimator)
    files.write(path, arrays, {"object": info})


def load(path: str | os.PathLike[str], *, trusted: Sequence[str] = ()) -> Any:
    """Load an estimator that ``save`` wrote; no code of the file's choice is run.

    Parameters
    ----------
    path : path
    trusted : sequence of str, default=()
        Full names (``"package.module.Class"``) of your own classes that the file may name, as a
        network's class. Naming one lets its module be imported.

    Returns
    -------
    estimator : estimator

    Raises
    ------
    CheckpointError
        If the file is damaged, crafted, of a newer version, or names a class that is not trusted.
    """
    if isinstance(trusted, str):
        trusted = (trusted,)
    arrays, info = files.read(path)
    if not isinstance(info, dict) or set(info) != {"object"}:
        raise CheckpointError(f"{path} holds no estimator, but another kind of data.")
    return decode(arrays, info["object"], tuple(trusted))


def _to_state(net: Any) -> dict[str, Any]:
    """What a net of the estimators' own making consists of."""
    kind = net._extends
    if kind not in (NeuralNet, NeuralNetClassifier) or net.callbacks:
        raise TypeError(
            "A net with callbacks or of a skorch class of your own cannot be stored, as these are "
            "code. Use pickle, or save module_.state_dict() by safetensors."
        )
    (group,) = net.optimizer_.param_groups
    options = {k: v for k, v in group.items() if k != "params"}
    memory = [dict(net.optimizer_.state.get(p, {})) for p in group["params"]]
    names = {id(p): name for name, p in net.module_.named_parameters()}
    return {
        "kind": kind.__name__,
        "module": net.module_,
        "criterion": net.criterion_,
        "classes": getattr(net, "classes", None),
        "optimizer": type(net.optimizer_).__name__,
        "options": options,
        "trained": [names[id(p)] for p in group["params"]],
        "memory": memory,
        "own": {k: getattr(net, k) for k in ("perturbation", "l2", "mask", "snapshots_at", "seed")},
        "device": str(net.device),
        "random": net.random_stream_.__getstate__(),
        "steps": net.steps_.__getstate__(),
        "snapshots": net.snapshots_,
        "fast_path": net.fast_path_,
        "history": [dict(row) for row in net.history.to_list()],
    }


def _from_state(state: dict[str, Any]) -> Any:
    optimizer = _OPTIMIZERS[state["optimizer"]]
    own = dict(state["own"])
    if state["kind"] == "NeuralNetClassifier":
        own["classes"] = state["classes"]
    device = state["device"]
    if device.startswith("cuda") and not torch.cuda.is_available():
        device = "cpu"
    net = _NETS[state["kind"]](
        state["module"],
        criterion=state["criterion"],
        optimizer=optimizer,
        train_split=None,
        verbose=0,
        callbacks__print_log=None,
        device=device,
        **own,
    ).initialize()
    parameters = dict(net.module_.named_parameters())
    trained = [parameters[name] for name in state["trained"]]
    known = set(optimizer([torch.nn.Parameter(torch.zeros(1))]).param_groups[0])
    net.optimizer_ = optimizer(trained)
    options = {k: v for k, v in state["options"].items() if k in known}
    net.optimizer_.param_groups[0].update(options)
    for p, memory in zip(trained, state["memory"], strict=True):
        if memory:
            net.optimizer_.state[p] = memory
    net.random_stream_ = RandomStream.__new__(RandomStream)
    net.random_stream_.__setstate__(state["random"])
    vars(net.steps_).update(state["steps"])
    net.snapshots_ = state["snapshots"]
    net.fast_path_ = state["fast_path"]
    net.history_ = History(state["history"])
    return net


HANDLERS["net"] = (lambda value: isinstance(value, PerturbedNetMixin), _to_state, _from_state)
