"""Whether outputs of networks are the same."""

import torch
from torch import Tensor

from sklflat.networks.checks import relative_difference


def same_outputs(found: Tensor, right: Tensor, tol: float | None = None) -> bool:
    """Whether outputs are the same, those that are not finite included.

    Parameters
    ----------
    found, right : Tensor of shape (...)
    tol : float, default=None
        Largest difference, relative to the largest finite entry. What is not of
        floating point has to be equal. None: a thousand roundings.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.same_outputs import same_outputs
    >>> right = torch.tensor([1.0, float("nan"), float("inf")])
    >>> same_outputs(right + 1e-6, right, 1e-5), same_outputs(right.nan_to_num(), right, 1e-5)
    (True, False)
    """
    if not (right.is_floating_point() or right.is_complex()):
        tol = 0.0
    elif tol is None:
        tol = 1e3 * torch.finfo(right.dtype).eps
    return relative_difference(found.detach(), right.detach()) <= tol
