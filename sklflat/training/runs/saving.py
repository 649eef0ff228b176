"""Fitted estimators in files that run no code."""

import json
import os
from collections.abc import Sequence
from typing import Any

import torch
from skorch import NeuralNet, NeuralNetClassifier
from skorch.history import History

from sklflat.exceptions import CheckpointError, warn
from sklflat.storage import files
from sklflat.storage.decoding import DEVICE, decode, expect
from sklflat.storage.objects import HANDLERS, Handler, classes_in, encode, is_key
from sklflat.training.engine.epoch_loss import callback_settings
from sklflat.training.engine.net import PerturbedNet, PerturbedNetClassifier, PerturbedNetMixin
from sklflat.training.engine.updates import MOMENTS
from sklflat.training.perturbations.base import Perturbation
from sklflat.training.runs.checkpoint_checks import (
    COUNTS,
    is_state,
    restore_generators,
    restore_optimizer,
    restore_steps,
)

_OPTIMIZERS = {cls.__name__: cls for cls in MOMENTS}
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
        Replaced if it exists; who may read it stays the same.

    Raises
    ------
    TypeError
        If a part, such as a function, a callback or a user's own skorch net, cannot be stored or
        could not be loaded again; says which.
    StorageError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        If a class is defined in the running script or notebook, where another one will not find it.

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
    names = classes_in(info)
    try:
        decode(arrays, json.loads(json.dumps(info)), names)
    except CheckpointError as error:
        raise TypeError(f"{type(estimator).__name__} cannot be stored: {error}") from error
    own = [name for name in names if name.startswith("__main__.")]
    if own:
        warn(
            f"{', '.join(own)} is defined in the script or notebook that runs now, so {path} can "
            "be loaded by such only as define it too. Move the class into a module."
        )
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


# --- the skorch net inside of an estimator ----------------------------------------------------


def _to_state(net: Any) -> dict[str, Any]:
    """What a net of the estimators' own making consists of."""
    kind = net._extends
    if kind not in (NeuralNet, NeuralNetClassifier) or net.callbacks:
        raise TypeError(
            "A net with callbacks or of a skorch class of your own cannot be stored, as these are "
            "code. Use pickle, or save module_.state_dict() by safetensors."
        )
    (group,) = net.optimizer_.param_groups
    names = {id(p): name for name, p in net.module_.named_parameters()}
    steps = net.steps_
    return {
        "kind": kind.__name__,
        "module": net.module_,
        "criterion": net.criterion_,
        "classes": getattr(net, "classes", None),
        "optimizer": type(net.optimizer_).__name__,
        "options": {k: v for k, v in group.items() if k != "params"},
        "trained": [names[id(p)] for p in group["params"]],
        "memory": [dict(net.optimizer_.state.get(p, {})) for p in group["params"]],
        "perturbation": net.perturbation,
        "l2": float(net.l2),
        "mask": net.mask,
        "snapshots_at": tuple(net.snapshots_at),
        "seed": int(net.seed),
        "device": str(net.device),
        "generators": [state.cpu() for state in net.random_stream_.get_state()],
        "counts": {name: int(getattr(steps, name)) for name in COUNTS},
        "remembered": steps.__getstate__()["state"],
        "snapshots": net.snapshots_,
        "fast_path": net.fast_path_,
        "history": [dict(row) for row in net.history.to_list()],
    }


def _from_state(state: Any) -> Any:
    """A net from parts that are checked one by one; none is called to make another."""
    expect(isinstance(state, dict) and set(state) == _PARTS, "a net has other parts")
    for name, kinds in _KINDS.items():
        expect(isinstance(state[name], kinds), f"a net's {name} is none")
    expect(
        state["kind"] in _NETS and state["optimizer"] in _OPTIMIZERS, "a net is of no known kind"
    )
    expect(DEVICE.match(state["device"]), "a device is unknown")
    plain = vars(state["perturbation"]).values() if state["perturbation"] is not None else ()
    expect(all(map(is_key, plain)), "a perturbation's parameters are none")
    own = {name: state[name] for name in ("perturbation", "l2", "mask", "snapshots_at", "seed")}
    if state["kind"] == "NeuralNetClassifier":
        own["classes"] = state["classes"]
    optimizer = _OPTIMIZERS[state["optimizer"]]
    net = _NETS[state["kind"]](
        state["module"],
        criterion=state["criterion"],
        optimizer=optimizer,
        train_split=None,
        verbose=0,
        **callback_settings(state["kind"] == "NeuralNetClassifier"),
        device=state["device"] if torch.cuda.is_available() else "cpu",
        **own,
    ).initialize()
    parameters = dict(net.module_.named_parameters())
    expect(set(state["trained"]) <= set(parameters), "a net trains what it does not have")
    net.optimizer_ = optimizer([parameters[name] for name in state["trained"]])
    restore_optimizer(net.optimizer_, state["options"], state["memory"])
    restore_generators(net.random_stream_, state["generators"])
    restore_steps(net, state["counts"], state["remembered"])
    expect(all(map(is_state, state["snapshots"].values())), "a net's snapshots are none")
    net.snapshots_ = state["snapshots"]
    net.fast_path_ = state["fast_path"]
    expect(all(isinstance(row, dict) for row in state["history"]), "a net's history is none")
    net.history_ = History(state["history"])
    return net


#: parts of a net, and the kinds that they may be of
_KINDS: dict[str, Any] = {
    "kind": str,
    "module": torch.nn.Module,
    "criterion": torch.nn.Module,
    "optimizer": str,
    "options": dict,
    "trained": list,
    "memory": list,
    "perturbation": (Perturbation, type(None)),
    "l2": float,
    "mask": (torch.Tensor, type(None)),
    "snapshots_at": tuple,
    "seed": int,
    "device": str,
    "generators": list,
    "counts": dict,
    "remembered": (dict, type(None)),
    "snapshots": dict,
    "fast_path": str,
    "history": list,
}
_PARTS = {*_KINDS, "classes"}

HANDLERS["net"] = Handler(
    lambda value: isinstance(value, PerturbedNetMixin), _to_state, _from_state
)
