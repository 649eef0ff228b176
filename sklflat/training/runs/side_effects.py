"""What a training changes beside its weights; it is then not kept, as weights are all that is."""

from typing import Any

from torch import nn

from sklflat.storage import fingerprint
from sklflat.storage.outside import UnkeyableError

#: what torch has in every module; hooks are looked at where there are some
_FRESH = set(vars(nn.Module()))
_WEIGHTS = {"_parameters", "_modules", "training"}


class SideEffects:
    """The code that a training runs, and its module's state beside weights, at one time.

    Parameters
    ----------
    code : object
        What was given for a network: a class, a factory, an instance.
    known : dict of int to str
        Fingerprints by id, so that what many trainings share is looked at once.
    """

    def __init__(self, code: Any, known: dict[int, str]) -> None:
        self._code = _fingerprint_once(code, known)
        self._beside: dict[str, Any] = {}

    def begin(self, module: nn.Module) -> None:
        """Note the state of the module before its training."""
        self._beside = _beside_weights(module)

    def changed(self, code: Any, module: nn.Module, known: dict[int, str]) -> str | None:
        """What is another now than it was; None if nothing is.

        Parameters
        ----------
        code : object
        module : Module
        known : dict of int to str
            Fingerprints by id, of the same time.
        """
        now = _beside_weights(module)
        for name in [*self._beside, *now]:
            if self._beside.get(name) != now.get(name):
                return f"module_.{name}"
        is_changed = self._code != _fingerprint_once(code, known)
        return "what the code of the network reads" if is_changed else None


def _fingerprint_once(code: Any, known: dict[int, str]) -> str | None:
    if code is None:
        return None
    if id(code) not in known:
        known[id(code)] = fingerprint(code)
    return known[id(code)]


def _beside_weights(module: nn.Module) -> dict[str, Any]:
    """Names and fingerprints of what a module and its parts hold and a state dict does not.

    What has no fingerprint equals nothing.
    """
    weights = [*module.parameters(), *module.state_dict(keep_vars=True).values()]
    given = [*module.modules(), *weights]
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        is_plain = type(part).__module__.startswith(("torch.nn.modules.", "sklflat."))
        own = {k: v for k, v in vars(part).items() if k not in _WEIGHTS}
        own = {k: v for k, v in own.items() if (v if k in _FRESH else not is_plain)}
        for key, value in own.items():
            try:
                found[f"{name}.{key}".lstrip(".")] = fingerprint(value, given=given)
            except UnkeyableError:
                found[f"{name}.{key}".lstrip(".")] = object()
    return found
