"""Names of torch's operations, sorted by what they do to the channels of a network.

An operation is known by the name of its function without underscores, so that ``F.relu``,
``torch.relu``, ``Tensor.relu`` and ``Tensor.relu_`` are one.
"""

from typing import Any

from torch import Tensor

from sklflat.networks.tracing import recurrent
from sklflat.networks.tracing.tensors import named

#: What makes a hidden layer; each works element by element, ``glu`` on two halves.
NONLINEARITIES = named("""
    relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish sigmoid tanh softplus softsign
    hardswish hardsigmoid hardtanh logsigmoid tanhshrink softshrink hardshrink threshold glu
""")

#: Rectifiers where their lower bound is 0.
BOUNDS = named("clamp clip clamp_min maximum max")

#: Out of reach: what these compute inside is not shown. The output of layers on sequences is.
RECURRENT = named("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell")

#: What is counted when a module runs: all that may be a nonlinearity, and what ``nn.Identity``
#: in place of one comes after.
EVENTS = NONLINEARITIES | BOUNDS | recurrent.LAYERS | {"linear"}

#: Other elements in row-major order than before: none.
RESHAPES = named("""
    view reshape flatten unflatten ravel squeeze unsqueeze view_as reshape_as atleast_1d
    atleast_2d atleast_3d
""")

#: Elements of the first argument at other places.
REARRANGEMENTS = named("""
    permute transpose t swapaxes swapdims movedim moveaxis T mT H mH adjoint expand expand_as
    broadcast_to chunk split tensor_split hsplit vsplit dsplit split_with_sizes unbind getitem
    select narrow index_select gather take_along_dim flip roll repeat repeat_interleave tile
    unfold pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle rot90 diagonal cat
    concat concatenate stack hstack vstack dstack
""")

#: Every element stays where it is; several arguments are broadcast.
ELEMENTWISE = named("""
    add sub subtract rsub radd mul multiply rmul div divide true_divide rdiv truediv rtruediv
    floor_divide pow rpow iadd isub imul idiv itruediv ipow neg negative abs absolute sign square
    sqrt rsqrt reciprocal exp expm1 log log1p log2 sin cos erf erfc clamp clip clamp_min clamp_max
    maximum minimum where lerp addcmul addcdiv masked_fill nan_to_num round floor ceil positive
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout weight_norm gt ge lt
    le eq ne logical_and logical_or logical_not bitwise_not
""")

#: What an augmented assignment calls, as in ``x += 1``.
AUGMENTED = named("iadd isub imul idiv itruediv ifloordiv imod ipow iand ior ixor")

#: The first argument again, wherever and however it is stored.
CASTS = named("""
    detach clone contiguous to type type_as float double half bfloat16 int long bool cpu cuda data
    real requires_grad
""")

#: What has only the shape of its arguments.
CONSTANTS = named("""
    zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full
    new_empty new_tensor zero fill
""")

#: What may bring values that left torch back into it.
IMPORTS = named("tensor as_tensor asarray from_numpy frombuffer from_dlpack")

#: Elementwise but for statistics of the whole, with a factor and a shift for each channel.
NORMS = named("""
    batch_norm layer_norm group_norm instance_norm rms_norm normalize local_response_norm
""")

#: One value for all elements along an axis.
REDUCTIONS = named("""
    mean sum amax amin max min median nanmean logsumexp prod std var
""")

#: Elements along an axis see each other and stay where they are.
MIXTURES = named("softmax log_softmax softmin cumsum cumprod logcumsumexp")

#: Operations on neighbouring positions of one channel.
POOLINGS = frozenset(
    f"{kind}{d}d"
    for kind in ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool", "lp_pool")
    for d in (1, 2, 3)
) | {"fractional_max_pool2d", "fractional_max_pool3d", "interpolate", "upsample"}

CONVOLUTIONS = frozenset(f"conv{kind}{d}d" for kind in ("", "_transpose") for d in (1, 2, 3))

#: Sums of products, affine if one factor is a parameter.
PRODUCTS = named("""
    linear matmul rmatmul mm bmm mv addmm addmv baddbmm einsum bilinear
    scaled_dot_product_attention
""")

#: Drawing from generators, always or in training.
DRAWS = named("""
    rand randn randint randperm rand_like randn_like randint_like bernoulli normal uniform random
    exponential geometric cauchy log_normal multinomial poisson gumbel_softmax fractional_max_pool2d
    fractional_max_pool3d
""")
DRAWS_IN_TRAINING = named("""
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout rrelu
    multi_head_attention_forward
""")

_ALIASES = {"log_sigmoid": "logsigmoid"}

_EVENT_OF = {
    spelling: name for name in EVENTS for spelling in (name, f"{name}_", f"_{name}")
} | _ALIASES


def name_of(func: Any) -> str:
    """The name of a function without underscores; of an attribute's getter, the attribute's."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return func.__self__.__name__
    name = name.strip("_")
    return _ALIASES.get(name, name)


def event_of(func: Any) -> str | None:
    """The name of a function that is counted, else None."""
    return _EVENT_OF.get(getattr(func, "__name__", ""))


def works_in_place(func: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an operation overwrites its first argument.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.tracing.operations import works_in_place
    >>> operations = torch.relu_, torch.relu, torch.Tensor.__iadd__, torch.Tensor.__rsub__
    >>> [works_in_place(func, {}) for func in operations]
    [True, False, True, False]
    """
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name_of(func) in AUGMENTED
    return bool(kwargs.get("inplace")) or name.endswith("_")


def is_zero(bound: Any) -> bool:
    """Whether a bound that cuts values is 0: then it makes a rectifier."""
    if isinstance(bound, Tensor):
        return int(bound.count_nonzero()) == 0
    return bound is not None and not isinstance(bound, bool) and bool(bound == 0)


def draws(name: str, kwargs: dict[str, Any]) -> bool:
    """Whether an operation may draw random numbers."""
    if name in DRAWS_IN_TRAINING:
        return bool(kwargs.get("training", True))  # functions of torch pass it by name
    return name in DRAWS or bool(kwargs.get("dropout_p"))
