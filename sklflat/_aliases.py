"""Public import paths of modules that have moved; each gives what its new place gives.

``sklflat.connectivity.matching.match_weights`` is ``sklflat.matching.match_weights``. What was not
documented has no alias.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: former module -> where its public names are
MOVED = {
    "sklflat.connectivity.barrier_table": "sklflat.paths",
    "sklflat.connectivity.barriers": "sklflat.paths",
    "sklflat.connectivity.matching": "sklflat.matching",
    "sklflat.connectivity.path_losses": "sklflat.paths",
    "sklflat.connectivity.path_training": "sklflat.paths",
    "sklflat.connectivity.paths": "sklflat.paths",
    "sklflat.connectivity.repair": "sklflat.paths",
    "sklflat.connectivity.state": "sklflat.networks.state",
    "sklflat.training.dispatch": "sklflat.training.runs",
    "sklflat.training.perturbations.looks": "sklflat.training.perturbations.subspace_check",
    "sklflat.training.stacked": "sklflat.training.stacking",
}

#: public names that are now called otherwise: (former module, former name) -> name
RENAMED = {("sklflat.training.perturbations.looks", "Look"): "SubspaceCheck"}


class Finder(MetaPathFinder, Loader):
    """Imports former modules as windows on those that took their place."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a former module; None for all others."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Let a former module look its names up in the new one."""

        def get(name: str) -> Any:
            if name == "__path__":  # it has no modules inside
                raise AttributeError(name)
            return getattr(
                import_module(MOVED[module.__name__]), RENAMED.get((module.__name__, name), name)
            )

        module.__getattr__ = get  # type: ignore[method-assign]
        module.__doc__ = f"Moved to :mod:`{MOVED[module.__name__]}`."


def install() -> None:
    """Make former paths importable."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
