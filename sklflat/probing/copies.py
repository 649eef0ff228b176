"""Networks that are said to come from several trainings, and are copies of one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sklflat.networks.same_outputs import same_outputs

__all__ = ["refuse_copies"]

#: how far apart two networks are at least, in the roundings of their precision
_ROUNDINGS = 100


def refuse_copies(found: Sequence[Tensor], where: str) -> None:
    """Raise if two networks are the same, so that one of them says nothing of another training.

    Parameters
    ----------
    found : sequence of Tensor
        What each network says of the same rows, or its weights. Those that do not vary, or are not
        finite, are not compared.
    where : str
        What was compared, and where the networks come from: for the message.

    Raises
    ------
    ValueError
        Names two of them by number.

    Examples
    --------
    >>> import torch
    >>> from sklflat.probing.copies import refuse_copies
    >>> refuse_copies([torch.arange(3.0), torch.ones(3), torch.ones(3)], "weights")
    >>> refuse_copies([torch.ones(3), torch.arange(3.0), torch.arange(3.0)], "weights")
    Traceback (most recent call last):
        ...
    ValueError: Networks 1 and 2 are the same one (weights equal up to rounding), and ...
    """
    for j, other in enumerate(found):
        for i, one in enumerate(found[:j]):
            varies = one.numel() > 1 and bool(one.isfinite().all()) and bool((one != one[:1]).any())
            eps = max(_eps(one), _eps(other))
            if varies and same_outputs(other.to(one), one, _ROUNDINGS * eps):
                raise ValueError(
                    f"Networks {i} and {j} are the same one ({where} equal up to "
                    "rounding), and what comes back in a copy says nothing. Give networks from "
                    "other trainings, each with a seed of its own."
                )


def _eps(values: Tensor) -> float:
    return float(torch.finfo(values.dtype).eps) if values.is_floating_point() else 0.0
