"""Cells of a run, one claim, data set and seed each: measured by workers and kept as they end."""

import hashlib
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import delayed
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from sklflat._version import __version__
from sklflat._workers import parallel
from sklflat.claims import data, networks
from sklflat.claims.protocol import protocol_hash
from sklflat.claims.registry import CLAIMS
from sklflat.exceptions import DivergenceError, collected_warnings
from sklflat.storage import RunStore, fingerprint

__all__ = ["Cell", "measure_all", "versions"]


@dataclass(frozen=True)
class Cell:
    """One claim on one data set with one seed.

    Attributes
    ----------
    claim : int
    data : str
    seed : int
    """

    claim: int
    data: str
    seed: int

    @property
    def key(self) -> str:
        """Of protocol, code, versions and cell: by it the numbers are kept."""
        claim = CLAIMS[self.claim]
        own = [Path(str(module.__file__)) for module in (claim.module, networks, data)]
        code = [source_hash(path) for path in (*rooms_below(), *own)]
        place = [self.claim, self.data, self.seed]
        return fingerprint([protocol_hash([claim.protocol]), code, versions(), place])


def rooms_below() -> list[Path]:
    """Folders and pages of the package that claims are measured with."""
    package = Path(__file__).parents[1]
    return sorted(p for p in package.iterdir() if p.name not in ("claims", "__pycache__"))


@lru_cache
def source_hash(path: Path) -> str:
    """Of the Python files below a folder, with their names, or of one file."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(path.parent)}\n".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


@lru_cache
def versions() -> dict[str, str]:
    """What numbers may depend on."""
    libraries = ("numpy", "scipy", "scikit-learn", "skorch", "torch")
    return {
        "sklflat": __version__,
        **{name: version(name) for name in libraries},
        "python": platform.python_version(),
    }


def measure_cell(cell: Cell) -> dict[str, Any]:
    """The numbers of a cell, as JSON can hold them.

    Returns
    -------
    record : dict
        ``arms``, the metrics by arm, None if the training diverged; ``diverged``, the reason or
        None; ``warnings``, how often each kind was given.
    """
    with one_thread(), collected_warnings(_are_of_training) as said:
        try:
            arms, diverged = CLAIMS[cell.claim].measure(cell.data, cell.seed), None
        except DivergenceError as error:
            arms, diverged = None, str(error)
    counted = Counter(warning.category.__name__ for warning in said)
    return {
        "seed": cell.seed,
        "arms": None if arms is None else {a: _rounded(m) for a, m in arms.items()},
        "diverged": diverged,
        "warnings": dict(sorted(counted.items())),
    }


def _are_of_training(category: type[Warning]) -> bool:
    """Whether it is a kind of warning that trainings and probes give."""
    ours = DivergenceError.__module__
    return issubclass(category, ConvergenceWarning) or category.__module__ == ours


def _rounded(metrics: dict[str, float]) -> dict[str, float | None]:
    """Six digits; None for what is not finite."""
    return {k: float(f"{v:.6g}") if np.isfinite(v) else None for k, v in metrics.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread, so that sums are added up in one order whatever the number of workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def measure_all(
    cells: Sequence[Cell], store: RunStore | None, n_jobs: int | None
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Cells as they end; first those that are kept already.

    Parameters
    ----------
    cells : sequence of Cell
    store : RunStore or None
        Keeps every cell as it ends.
    n_jobs : int or None
        Of joblib.

    Yields
    ------
    cell : Cell
    record : dict
        See :func:`measure_cell`.
    """
    left = []
    for cell in cells:
        key = None if store is None else cell.key
        kept = None if store is None or key is None else store.get(key)
        if kept is None:
            left.append((cell, key))
        else:
            yield cell, kept[1]
    directory = None if store is None else str(store.directory)
    calls = (delayed(_measured)(cell, key, directory) for cell, key in left)
    yield from parallel(n_jobs, return_as="generator_unordered", batch_size=1)(calls)


def _measured(cell: Cell, key: str | None, directory: str | None) -> tuple[Cell, dict[str, Any]]:
    record = measure_cell(cell)
    if directory is not None and key is not None:
        RunStore(directory).put(key, {}, record)
    return cell, record
