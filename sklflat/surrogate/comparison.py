"""Outputs of surrogate and network, and where they differ, as columns with names."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.surrogate.student import Student
from sklflat.surrogate.teacher import Answers


def compared(student: Student, features: NDArray, network: Answers) -> NDArray[np.float64]:
    """Columns (n_samples, 2 n_outputs + 2), which :func:`compared_names` names.

    Parameters
    ----------
    student : Student
    features : ndarray of shape (n_samples, n_features)
    network : Answers
        What the network says about the same rows.
    """
    surrogate = student.answers(features)
    if network.classes is None:
        outputs = [surrogate.values, network.values]
        differ = np.linalg.norm(surrogate.values - network.values, axis=1)
    else:
        outputs = [student.proba(features), network.proba]
        differ = (surrogate.codes != network.codes).astype(float)
    return np.column_stack([*outputs, differ, network.margin])


def compared_names(classes: NDArray | None, n_outputs: int) -> NDArray:
    """Names of the columns.

    Parameters
    ----------
    classes : ndarray of shape (n_outputs,) or None
        None for regressors.
    n_outputs : int

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.surrogate.comparison import compared_names
    >>> compared_names(None, 1).tolist()
    ['surrogate', 'network', 'disagreement', 'margin']
    >>> compared_names(np.array(["no", "yes"]), 2).tolist()[:2]
    ['surrogate[no]', 'surrogate[yes]']
    """
    outputs: Any = range(n_outputs) if classes is None else classes
    several = classes is not None or n_outputs > 1
    names = [
        f"{who}[{output}]" if several else who
        for who in ("surrogate", "network")
        for output in outputs
    ]
    return np.array([*names, "disagreement", "margin"], dtype=object)
