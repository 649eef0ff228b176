"""Joblib's workers, which end with the process that has started them.

A worker imports this file before it has work, so nothing heavy is imported here.
"""

import os
import threading
import time
from typing import Any

from joblib import Parallel

#: seconds between looks at whether the parent lives
_EVERY = 1.0


def parallel(n_jobs: int | None, **options: Any) -> Parallel:
    """``joblib.Parallel`` whose workers end within seconds of this process, however that ends."""
    return Parallel(n_jobs, initializer=_end_with_parent, initargs=(os.getpid(),), **options)


def _end_with_parent(owner: int) -> None:
    """Let this worker end after the process that has started it.

    Parameters
    ----------
    owner : int
        Number of the process that gives the work. Workers that another one has started, such as
        those of a cluster, live on.
    """
    if os.getppid() != owner:
        return

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(_EVERY)
        os._exit(1)

    threading.Thread(target=watch, name="sklflat-parent", daemon=True).start()
