"""Whatever a training reads is in its key, or it is not kept.

One thing is changed at a time in a module of the user's; the network that reads it is given as a
class, a factory and an instance.
"""

import importlib
import sys
import textwrap
import warnings

import numpy as np
import pytest

from sklflat import SAMClassifier
from sklflat.training.runs import Training
from sklflat.training.runs.run_directory import _key

X, y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)

NETWORK = """
import collections, dataclasses, enum, functools, operator, types, typing
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
{head}

class Net(nn.Module):
    {body}

    def __init__(self, n_features=2, n_outputs=2):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        {init}
        with torch.no_grad():
            for p in self.parameters():
                p.fill_(0.5)

    def forward(self, X):
        z = self.layer(X)
        {use}
        return z

def factory(n_features=2, n_outputs=2):
    return Net()
"""

#: what is in the module, its class, __init__ and forward, with 1 and 2 for {v}
GLOBALS = {
    "number": "k = {v}",
    "float": "k = {v}.5",
    "list": "k = [{v}]",
    "nested list": "k = [[{v}]]",
    "tuple of lists": "k = ([{v}],)",
    "dict": "k = {{'a': {v}}}",
    "dict order": "k = {{{v}: 0, 3 - {v}: 0}}",
    "set": "k = {{{v}}}",
    "namespace": "k = types.SimpleNamespace(a={v})",
    "enum member": "class E(enum.Enum):\n    a = {v}\nk = E.a",
    "enum class": "class k(enum.Enum):\n    a = {v}",
    "flag": "class E(enum.IntFlag):\n    a = {v}\nk = E.a",
    "tensor": "k = torch.tensor({v})",
    "requires_grad of a tensor": "k = torch.ones(1, requires_grad={v} == 1)",
    "array": "k = np.array([{v}])",
    "array of objects": "k = np.array([{v}, 'a'], dtype=object)",
    "module instance": "k = nn.Dropout(0.{v})",
    "partial": "k = functools.partial(max, {v})",
    "builtin function": "k = {{1: max, 2: min}}[{v}]",
    "bound builtin": "k = [{v}].count",
    "torch function": "k = [F.relu, F.gelu][{v} - 1]",
    "ufunc": "k = [np.exp, np.log][{v} - 1]",
    "lambda": "k = lambda z: z + {v}",
    "function": "def k(z):\n    return z + {v}",
    "default": "def k(z, a={v}):\n    return z + a",
    "keyword default": "def k(z, *, a={v}):\n    return z + a",
    "attribute of a function": "def k(z):\n    return z + k.a\nk.a = {v}",
    "closure": "def make(a):\n    return lambda z: z + a\nk = make({v})",
    "closure over a list": "def make(a):\n    return lambda z: z + a[0]\nk = make([{v}])",
    "lru_cache": "@functools.lru_cache\ndef k(z):\n    return z + {v}",
    "wraps of a library's": "@functools.wraps(F.relu)\ndef k(z):\n    return z + {v}",
    "no_grad around one's own": "@torch.no_grad()\ndef k(z):\n    return z + {v}",
    "function that reads a global": "a = {v}\ndef k(z):\n    return z + a",
    "global two calls away": "a = [{v}]\ndef g(z):\n    return z + a[0]\ndef k(z):\n    g(z)",
    "operator": "k = operator.itemgetter({v})",
    "named tuple": "class T(typing.NamedTuple):\n    a: int\nk = T({v})",
    "dataclass": "@dataclasses.dataclass\nclass D:\n    a: int\nk = D({v})",
    "default of a dataclass": "@dataclasses.dataclass\nclass D:\n    a: int = {v}\nk = D",
    "instance with slots": "class S:\n    __slots__ = ('a',)\nk = S()\nk.a = {v}",
    "subclass of a list": "class L(list):\n    pass\nk = L([{v}])",
    "subclass of a dict": "class L(dict):\n    pass\nk = L(a={v})",
    "subclass of a float": "class L(float):\n    pass\nk = L({v})",
    "deque": "k = collections.deque([{v}])",
    "defaultdict": "k = collections.defaultdict(int, a={v})",
    "counter": "k = collections.Counter(a={v})",
    "bytes": "k = b'{v}'",
    "bytearray": "k = bytearray(b'{v}')",
    "range": "k = range({v})",
    "slice": "k = slice({v})",
    "dtype": "k = [torch.float32, torch.float64][{v} - 1]",
    "random state": "k = np.random.RandomState({v})",
    "generator": "k = np.random.default_rng({v})",
    "torch generator": "k = torch.Generator().manual_seed({v})",
    "metaclass": "class M(type):\n    a = {v}\nclass k(metaclass=M):\n    pass",
    "base class": "class B:\n    a = {v}\nclass k(B):\n    pass",
    "type": "k = [int, float][{v} - 1]",
    "mapping proxy": "k = types.MappingProxyType({{'a': {v}}})",
    "name of a part of the key, in a function": "code = {v}\ndef k(z):\n    return z + code",
    "another such name": "defaults = [{v}]\ndef k(z):\n    return z + defaults[0]",
    "code under such a name": "code = 1\ndef k(z):\n    return z + code + {v}",
    "call of an enum": "class k(enum.Enum):\n    a = 1\n    def __call__(self): return {v}",
    "generic alias": "class B:\n    def __class_getitem__(cls, i):\n        return {v}\nk = B[1]",
    "parts of an alias": "class B:\n    a = {v}\nk = list[B]",
    "metadata of a field": (
        "@dataclasses.dataclass\nclass k:\n"
        "    a: int = dataclasses.field(default=0, metadata=dict(v={v}))"
    ),
    "annotation": "class k:\n    a: 'v{v}' = 0",
    "index of a column": "import pandas as pd\nk = pd.Series([1, 2], index=[0, {v}])",
    "pattern": "import re\nk = re.compile('{v}')",
    "path": "import pathlib\nk = pathlib.Path('/{v}')\nhash(k)",
    "patched library": (
        "def reset(self):\n    return {v}\n"
        "class k(nn.Linear):\n    pass\nk.reset_parameters = reset"
    ),
    "bound method": "class C:\n    a = {v}\n    def f(self):\n        pass\nk = C().f",
    "autograd function": (
        "class k(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, z):\n"
        "        return z + {v}"
    ),
}
CLASS_BODIES = {
    "names of parts of the key": "bases = [{v}]",
    "class attribute, list": "k = [{v}]",
    "class attribute, dict": "k = {{'a': {v}}}",
    "class attribute, builtin": "k = {{1: max, 2: min}}[{v}]",
    "cached_property": "@functools.cached_property\n    def k(self):\n        return {v}",
    "partialmethod": (
        "def _f(self, a):\n        return a\n    k = functools.partialmethod(_f, {v})"
    ),
    "property": "@property\n    def k(self):\n        return {v}",
    "static method": "@staticmethod\n    def k():\n        return {v}",
    "class method": "@classmethod\n    def k(cls):\n        return {v}",
    "slots": "__slots__ = ('k{v}',)",
    "annotation with a value": "k: int = {v}",
    "singledispatch": ("@functools.singledispatchmethod\n    def k(self, a):\n        return {v}"),
}
INITS = {
    "plain attribute": "self.k = {v}",
    "function attribute": "self.k = [F.relu, F.gelu][{v} - 1]",
    "non-persistent buffer": ("self.register_buffer('k', torch.tensor({v}.0), persistent=False)"),
    "buffer": "self.register_buffer('k', torch.tensor({v}.0))",
    "requires_grad": "self.layer.bias.requires_grad_({v} == 1)",
    "forward hook": "self.register_forward_hook(lambda m, x, out: out + {v})",
    "forward pre hook": "self.layer.register_forward_pre_hook(lambda m, x: ({v} * x[0],))",
    "hook of a tensor": "self.layer.weight.register_hook(lambda g: {v} * g)",
    "training flag": "self.train({v} == 1)",
    "heads": "self.k = nn.MultiheadAttention(4, {v} * 2)",
    "activation of a layer": (
        "self.k = nn.TransformerEncoderLayer(4, 2, activation=['relu', 'gelu'][{v} - 1])"
    ),
    "norm first": "self.k = nn.TransformerEncoderLayer(4, 2, norm_first={v} == 1)",
    "padding mode": (
        "self.k = nn.Conv1d(1, 1, 3, padding=1, padding_mode=['zeros', 'circular'][{v} - 1])"
    ),
    "tied weights": (
        "self.k = nn.Linear(2, 2)\n        if {v} == 1: self.k.weight = self.layer.weight"
    ),
    "weight norm": ("if {v} == 1: nn.utils.parametrizations.weight_norm(self.layer)"),
    "order of layers": ("self.k = nn.Sequential(*[nn.ReLU(), nn.Tanh()][:: 3 - 2 * {v}])"),
    "patched method": "self.layer.forward = lambda X: X + {v}",
}
USES = {
    "constant": "z = z + {v}",
    "helper by attribute": "import helper_of_keys\n        z = z + helper_of_keys.f()",
    "helper from inside": "from helper_of_keys import f\n        z = z + f()",
    "inner function": "z = (lambda q: q + {v})(z)",
    "comprehension": "z = sum([z for _ in range({v})])",
    "method that reads a file": "import pathlib\n        z = pathlib.Path('{v}').read_text()",
    "file": "z = z + float(open('/dev/null').read() or {v})",
    "eval": "z = z + eval('{v}')",
    "getattr of a module": "import helper_of_keys as h\n        z = z + getattr(h, 'a')",
    "environment": "import os\n        z = z + int(os.environ.get('KEYS', {v}))",
}
CASES = {
    **{f"global {k}": {"head": v, "use": "z = (z, k)[0]"} for k, v in GLOBALS.items()},
    **{f"body {k}": {"body": v} for k, v in CLASS_BODIES.items()},
    **{f"init {k}": {"init": v} for k, v in INITS.items()},
    **{f"forward {k}": {"use": v} for k, v in USES.items()},
}
PLAIN = {"head": "", "body": "", "init": "", "use": ""}
HELPER = "a = {v}\ndef f():\n    return {v}\n"


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Writes the user's modules and imports them."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(v, name, case):
        parts = {k: text.format(v=v) for k, text in {**PLAIN, **case}.items()}
        (tmp_path / "helper_of_keys.py").write_text(HELPER.format(v=v))
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(NETWORK.format(**parts)))
        for module in (name, "helper_of_keys"):
            sys.modules.pop(module, None)
        importlib.invalidate_caches()
        importlib.import_module("helper_of_keys")
        return importlib.import_module(name)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield write
    for module in ("nets_of_keys", "helper_of_keys"):
        sys.modules.pop(module, None)


def key_of(net):
    training = Training(SAMClassifier(net=net, random_state=0), X, y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        key = _key(training, {})
    assert (key is None) == any("not kept" in str(w.message) for w in caught)
    return key


def net_of(module, form):
    return {"class": module.Net, "factory": module.factory, "instance": None}[
        form
    ] or module.factory()


@pytest.mark.parametrize("form", ["class", "factory", "instance"])
@pytest.mark.parametrize("name", CASES)
def test_a_change_of_what_is_read_is_another_key_or_not_kept(user, name, form):
    keys = [key_of(net_of(user(v, "nets_of_keys", CASES[name]), form)) for v in (1, 2)]
    again = key_of(net_of(user(2, "nets_of_keys", CASES[name]), form))
    assert keys[0] is None or keys[0] != keys[1]
    assert again == keys[1]
