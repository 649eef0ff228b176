"""What a training reads that is no parameter of it: what torch and NumPy are set to, and are."""

import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn
import skorch
import torch
from torch.nn.modules import module as modules
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from sklflat.storage.libraries import is_users, name_of
from sklflat.training.engine.scikit_learn_adam import ScikitLearnAdam

#: where torch looks up what it calls, so that something else may have been put there
_PATCHABLE: tuple[Any, ...] = (
    *(torch, torch.nn.functional, torch.nn.init, torch.Tensor),
    *(torch.optim.Optimizer, torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, ScikitLearnAdam),
    *(v for v in vars(torch.nn).values() if isinstance(v, type)),
)
#: modules of torch.backends whose attributes are settings
_BACKENDS = ("cudnn", "mkldnn")


def settings() -> list[Any]:
    """Versions, settings of torch and NumPy, hooks and modes of all modules, and patches."""
    return [
        [library.__version__ for library in (torch, np, sklearn, skorch)],
        [torch.get_default_dtype(), str(torch.get_default_device())],
        [torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()],
        [torch.is_deterministic_algorithms_warn_only_enabled(), torch.is_anomaly_enabled()],
        [torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")],
        [torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")],
        [torch.is_grad_enabled(), torch.is_inference_mode_enabled()],
        [torch._C._get_deterministic_fill_uninitialized_memory(), _flushes_denormals()],
        [torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()],
        [
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
        ],
        [torch.__future__.get_overwrite_module_params_on_conversion()],
        [torch.__future__.get_swap_module_params_on_conversion()],
        dict(_backends()),
        np.geterr(),
        _get_current_function_mode_stack(),
        _get_current_dispatch_mode_stack(),
        [list(v.values()) for k, v in vars(modules).items() if _is_hooks_of_all(k, v)],
        _patches(),
    ]


def _flushes_denormals() -> bool:
    """Whether numbers near zero are taken for zero; torch can be told so, but not asked."""
    return not torch.full((8,), 1e-310, dtype=torch.float64, device="cpu").mul(2.0).any()


def _backends() -> Iterator[tuple[str, Any]]:
    for name in _BACKENDS:
        backend = getattr(torch.backends, name)
        for key, value in vars(type(backend)).items():
            if hasattr(type(value), "__set__") and key[:2] != "__":
                yield f"{name}.{key}", str(getattr(backend, key))
    matmul, einsum = torch.backends.cuda.matmul, torch.backends.opt_einsum
    yield "reduction", matmul.allow_fp16_reduced_precision_reduction
    yield "reduction of bfloat16", matmul.allow_bf16_reduced_precision_reduction
    yield "einsum", [einsum.enabled, einsum.strategy]
    yield "nnpack", torch._C._get_nnpack_enabled()


def _is_hooks_of_all(name: str, value: Any) -> bool:
    """Whether a global of torch holds hooks of all modules."""
    return name.startswith("_global_") and isinstance(value, dict)


def _patches() -> list[Any]:
    """Names of what torch calls, as they stand now, and what of it is the user's."""
    names, found = [], []
    for home in _PATCHABLE:
        for key, value in vars(home).items():
            if is_users(value):
                found.append([key, value])
            elif isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
                names.append(f"{key} {name_of(value)}")
    return ["\n".join(names), found]
