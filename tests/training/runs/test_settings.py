"""What a training reads without being given it: settings of torch and NumPy, hooks, patches."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules import module as modules

from sklflat import SAMClassifier
from sklflat.training.runs import Training
from sklflat.training.runs.run_directory import _key
from sklflat.training.runs.settings import settings

X, y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
backends = torch.backends


def key():
    return _key(Training(SAMClassifier(random_state=0), X, y), {})


#: a function that changes a setting, what to call it with, and what it was
SETTINGS = {
    "default dtype": (torch.set_default_dtype, torch.float64, torch.float32),
    "precision of products": (torch.set_float32_matmul_precision, "medium", "highest"),
    "deterministic algorithms": (torch.use_deterministic_algorithms, True, False),
    "denormals": (torch.set_flush_denormal, True, False),
    "anomaly detection": (torch.autograd.set_detect_anomaly, True, False),
    "gradients": (torch.set_grad_enabled, False, True),
    "fast path of attention": (backends.mha.set_fastpath_enabled, False, True),
    "attention": (backends.cuda.enable_math_sdp, False, True),
    "NNPACK": (backends.nnpack.set_flags, False, True),
    "einsum": (
        lambda v: setattr(backends.opt_einsum, "strategy", v),
        *("optimal", backends.opt_einsum.strategy),
    ),
    "oneDNN": (lambda v: setattr(backends.mkldnn, "enabled", v), False, True),
    "cuDNN": (lambda v: setattr(backends.cudnn, "benchmark", v), True, False),
    "memory that is not filled": (
        lambda v: setattr(torch.utils.deterministic, "fill_uninitialized_memory", v),
        *(False, True),
    ),
    "errors of NumPy": (lambda v: np.seterr(**v), {"over": "raise"}, {"over": "warn"}),
    "autocast": (lambda v: torch.set_autocast_enabled("cpu", v), True, False),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_another_setting_is_another_key(name):
    change, new, old = SETTINGS[name]
    before = key()
    change(new)
    try:
        assert key() != before
    finally:
        change(old)
    assert key() == before


@pytest.mark.parametrize(
    "kind",
    [
        *("module_forward_hook", "module_forward_pre_hook", "module_full_backward_hook"),
        *("module_parameter_registration_hook", "module_buffer_registration_hook"),
    ],
)
def test_a_hook_of_all_modules_is_another_key(kind):
    before = key()
    handle = getattr(modules, f"register_{kind}")(lambda *args: None)
    try:
        assert key() != before
    finally:
        handle.remove()
    assert key() == before


@pytest.mark.parametrize(
    ("home", "name"),
    [
        *((nn.functional, "linear"), (nn.functional, "cross_entropy"), (torch, "relu")),
        *((torch.Tensor, "relu"), (torch.Tensor, "__add__"), (nn.init, "uniform_")),
        *((nn.Linear, "forward"), (nn.Module, "__call__"), (torch.optim.Adam, "step")),
    ],
)
@pytest.mark.parametrize("new", [lambda *args: 0, torch.tanh, nn.functional.relu])
def test_what_stands_in_for_a_function_of_torch_is_another_key(monkeypatch, home, name, new):
    before = key()
    with monkeypatch.context() as patch:
        patch.setattr(home, name, new)
        assert key() != before
    assert key() == before


def test_a_mode_that_torch_is_in_is_another_key():
    before = key()
    with torch.device("meta"):
        assert key() != before
    assert key() == before


def test_settings_name_the_versions_that_numbers_depend_on():
    assert {torch.__version__, np.__version__} <= set(settings()[0])
