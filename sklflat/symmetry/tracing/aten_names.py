"""Names of ATen operations, sorted by what they do to labels."""

from typing import Any

import torch

from sklflat.networks.tracing.tensors import named

#: Elements of the arguments at other places: done to the labels, too.
REARRANGEMENTS = named("""
    view _unsafe_view reshape permute transpose t expand squeeze unsqueeze slice select split
    split_with_sizes unsafe_split unsafe_split_with_sizes unbind cat stack flip roll index_select
    gather repeat channel_shuffle native_channel_shuffle pixel_shuffle pixel_unshuffle unfold
    diagonal alias _reshape_alias narrow tile movedim index take rot90 _reshape_copy view_copy
""")

#: The first argument again.
COPIES = named("clone detach contiguous _to_copy lift_fresh to positive")

#: Element by element, though ATen does not tag them so.
ELEMENTWISE = named("""
    hardswish _prelu_kernel prelu dropout native_dropout addcmul addcdiv where masked_fill lerp
    rsub threshold softshrink hardshrink hardsigmoid logit clamp_min clamp_max log_sigmoid_forward
    rrelu_with_noise heaviside
""")

#: Element by element, but no nonlinearity: what they make is not looked at as a unit's activation.
ARITHMETIC = named("""
    add sub mul div rsub neg clone where masked_fill addcmul addcdiv lerp pow sqrt rsqrt reciprocal
    exp log abs square eq ne lt gt le ge logical_not bitwise_not dropout native_dropout
""")

#: A symmetric function of all elements along some axes.
REDUCTIONS = named("""
    mean sum amax amin max min prod logsumexp var std var_mean std_mean norm linalg_vector_norm
    any all median nanmean
""")

#: Divided by a symmetric function of the elements along an axis.
NORMALISATIONS = named("_softmax _log_softmax softmax log_softmax _safe_softmax")

#: Windows over as many of the last axes as the name says.
WINDOWS = named("""
    max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d _adaptive_avg_pool2d
    _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d
    upsample_nearest2d upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_nearest3d
    reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d max_unpool2d
""")

#: What has only the shape of its arguments, or none.
CONSTANTS = named("""
    empty empty_like zeros zeros_like ones ones_like full full_like new_zeros new_ones new_full
    new_empty arange eye scalar_tensor rand_like randn_like zero fill empty_strided linspace
""")

#: Nothing is done to the elements of the arguments.
MOVES = REARRANGEMENTS | COPIES | CONSTANTS


def is_elementwise(name: str, func: Any) -> bool:
    """Whether an operation is a function of single elements."""
    return name in ELEMENTWISE or torch.Tag.pointwise in func.tags
