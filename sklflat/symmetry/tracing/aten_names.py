"""Names of ATen operations, sorted by what they do to labels."""

from typing import Any

import torch


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Elements of the arguments at other places: done to the labels, too.
REARRANGEMENTS = _words("""
    view _unsafe_view reshape permute transpose t expand squeeze unsqueeze slice select split
    split_with_sizes unsafe_split unsafe_split_with_sizes unbind cat stack flip roll index_select
    gather repeat channel_shuffle native_channel_shuffle pixel_shuffle pixel_unshuffle unfold
    diagonal alias _reshape_alias narrow tile movedim index take rot90 _reshape_copy view_copy
""")

#: The first argument again.
COPIES = _words("clone detach contiguous _to_copy lift_fresh to positive")

#: Element by element, though ATen does not tag them so.
ELEMENTWISE = _words("""
    hardswish _prelu_kernel prelu dropout native_dropout addcmul addcdiv where masked_fill lerp
    rsub threshold softshrink hardshrink hardsigmoid logit clamp_min clamp_max log_sigmoid_forward
    rrelu_with_noise heaviside
""")

#: Element by element, but no nonlinearity: what they make is not looked at as a unit's activation.
ARITHMETIC = _words("""
    add sub mul div rsub neg clone where masked_fill addcmul addcdiv lerp pow sqrt rsqrt reciprocal
    exp log abs square eq ne lt gt le ge logical_not bitwise_not dropout native_dropout
""")

#: A symmetric function of all elements along some axes.
REDUCTIONS = _words("""
    mean sum amax amin max min prod logsumexp var std var_mean std_mean norm linalg_vector_norm
    any all median nanmean
""")

#: Divided by a symmetric function of the elements along an axis.
NORMALISATIONS = _words("_softmax _log_softmax softmax log_softmax _safe_softmax")

#: Windows over the last axes.
WINDOWS = {
    "max_pool2d_with_indices": 2,
    "max_pool3d_with_indices": 3,
    "avg_pool2d": 2,
    "avg_pool3d": 3,
    "_adaptive_avg_pool2d": 2,
    "_adaptive_avg_pool3d": 3,
    "adaptive_max_pool2d": 2,
    "adaptive_max_pool3d": 3,
    "upsample_nearest1d": 1,
    "upsample_nearest2d": 2,
    "upsample_bilinear2d": 2,
    "upsample_bicubic2d": 2,
    "upsample_linear1d": 1,
    "upsample_nearest3d": 3,
    "reflection_pad1d": 1,
    "reflection_pad2d": 2,
    "replication_pad1d": 1,
    "replication_pad2d": 2,
    "max_unpool2d": 2,
}

#: What has only the shape of its arguments, or none.
CONSTANTS = _words("""
    empty empty_like zeros zeros_like ones ones_like full full_like new_zeros new_ones new_full
    new_empty arange eye scalar_tensor rand_like randn_like zero fill empty_strided linspace
""")

#: Nothing is done to the elements of the arguments.
MOVES = REARRANGEMENTS | COPIES | CONSTANTS


def is_elementwise(name: str, func: Any) -> bool:
    """Whether an operation is a function of single elements."""
    return name in ELEMENTWISE or torch.Tag.pointwise in func.tags
