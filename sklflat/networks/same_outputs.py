"""Whether outputs of networks are the same."""

import torch
from torch import Tensor


def same_outputs(found: Tensor, right: Tensor, tol: float | None = None) -> bool:
    """Whether outputs are the same, those that are not finite included.

    Parameters
    ----------
    found, right : Tensor of shape (...)
    tol : float, default=None
        Largest difference, relative to the largest finite entry of ``right``. What is not of
        floating point has to be equal. None: a thousand roundings.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.same_outputs import same_outputs
    >>> right = torch.tensor([1.0, float("nan"), float("inf")])
    >>> same_outputs(right + 1e-6, right, 1e-5), same_outputs(right.nan_to_num(), right, 1e-5)
    (True, False)
    """
    if found.shape != right.shape:
        return False
    if not (right.is_floating_point() or right.is_complex()):
        return torch.equal(found, right)
    found, right = found.detach(), right.detach()
    tol = 1e3 * torch.finfo(right.dtype).eps if tol is None else tol
    known = right.isfinite()
    scale = float(right[known].abs().max()) if bool(known.any()) else 0.0
    return torch.allclose(found, right, rtol=0.0, atol=tol * scale, equal_nan=True)
