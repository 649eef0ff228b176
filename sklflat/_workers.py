"""Joblib's workers, which end with the process that has started them.

A worker imports this file before it has work, so nothing heavy is imported here.
"""

import os
import socket
import threading
import time
from typing import Any

from joblib import Parallel

#: seconds between looks at whether the parent lives
_EVERY = 1.0


def parallel(n_jobs: int | None, **options: Any) -> Parallel:
    """``joblib.Parallel`` whose workers end within seconds of this process, however that ends."""
    return Parallel(n_jobs, initializer=_end_with_parent, initargs=_this_process(), **options)


def _this_process() -> tuple[int, str]:
    return os.getpid(), socket.gethostname()


def _end_with_parent(owner: int, host: str) -> None:
    """Let this worker end after the process that has started it.

    Parameters
    ----------
    owner : int
        Number of the process that gives the work. Workers that another one has started, such as
        those of a cluster, live on.
    host : str
        The machine that it runs on.
    """
    if os.getppid() != owner:
        if host == socket.gethostname() and not _is_alive(owner):
            os._exit(1)  # it has ended before this worker got here
        return

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(_EVERY)
        os._exit(1)

    threading.Thread(target=watch, name="sklflat-parent", daemon=True).start()


def _is_alive(process: int) -> bool:
    """Whether a process of this machine runs; one that nobody has waited for yet does not."""
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:  # another user's, or a system without /proc
        return True
