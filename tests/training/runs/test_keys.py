"""Whatever a training reads is in its key, or it is not kept.

One thing is changed at a time in a module of the user's; the network that reads it is given as a
class, a factory and an instance.
"""

import importlib
import sys
import textwrap
import warnings
from itertools import product

import numpy as np
import pytest

from sklflat import SAMClassifier
from sklflat.training.runs import Training
from sklflat.training.runs.run_directory import _key
from tests._slow import slow_unless

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
    "wrapped function": "def k(z):\n    return z\nk.__wrapped__ = lambda z: z + {v}",
    "argument of a generic base": (
        "T = typing.TypeVar('T')\nclass B(typing.Generic[T]):\n    pass\n"
        "class k(B[typing.Literal[{v}]]):\n    pass"
    ),
    "match_args": "class k:\n    a = b = 0\n    __match_args__ = (['a', 'b'][{v} - 1],)",
    "other name of a member": "class k(enum.Enum):\n    a = 1\n    b = 2\n    c = {v}",
    "attribute of a member": "class E(enum.Enum):\n    a = 1\nk = E.a\nk.scale = {v}",
    "attribute of an enum": "class k(enum.Enum):\n    a = 1\nk.scale = [{v}]",
    "cached method of an enum": (
        "class k(enum.Enum):\n    a = 1\n    @functools.lru_cache\n"
        "    def f(self):\n        return {v}"
    ),
    "subclass of property": (
        "class P(property):\n    def __get__(self, o, t=None):\n        return {v}\nk = P(max)"
    ),
    "subclass of partial": (
        "class P(functools.partial):\n    def __call__(self, z):\n        return {v}\nk = P(max)"
    ),
    "subclass of a random state": (
        "class P(np.random.RandomState):\n    def rand(self):\n        return {v}\nk = P(0)"
    ),
    "subclass of bytearray": "class A(bytearray):\n    pass\nk = A(b'')\nk.a = {v}",
    "subclass of a path": "import pathlib\nclass P(type(pathlib.Path())):\n    a = {v}\nk = P('/')",
    "subclass of a module": "class M(types.ModuleType):\n    a = {v}\nk = M('m')",
    "order of categories": (
        "import pandas as pd\norder = [['a', 'b'], ['b', 'a']][{v} - 1]\n"
        "k = pd.Series(pd.Categorical(['a'], categories=order))"
    ),
    "name of a column": "import pandas as pd\nk = pd.Series([1], name='n{v}')",
    "name of an index": (
        "import pandas as pd\nk = pd.Series([1], index=pd.Index([0], name='n{v}'))"
    ),
    "attrs of a table": "import pandas as pd\nk = pd.DataFrame()\nk.attrs['a'] = {v}",
    "gradient of a tensor": "k = torch.ones(1, requires_grad=True)\nk.grad = torch.tensor([{v}.0])",
    "strides of a tensor": "k = torch.ones(2, 2)\nif {v} == 2:\n    k = k.t()",
    "order of an array": "k = np.asarray(np.ones((2, 2)), order='CF'[{v} - 1])",
    "view of an array": "a = np.ones(3)\nk = (a, a[:] if {v} == 1 else a.copy())",
    "part of another view": "a = np.zeros(6)\nk = (a, a[{v} : {v} + 2])",
    "tensor and array in one memory": (
        "a = np.ones(3)\nk = (a, torch.from_numpy(a if {v} == 1 else a.copy()))"
    ),
    "bound of a type variable": "k = typing.TypeVar('T', bound=[int, str][{v} - 1])",
    "what a new type is of": "k = typing.NewType('T', [int, str][{v} - 1])",
    "annotated object": "class O:\n    a = {v}\nk = typing.Annotated[int, O()]",
    "which of two alike refers to itself": (
        "class A:\n    pass\ndef make(o):\n    def f():\n        return o.g\n    return f\n"
        "a, b = A(), A()\nk, f = make(a), make(b)\na.g, b.g = f, [k, f][{v} - 1]"
    ),
    "registered subclass": (
        "import abc\nclass A(abc.ABC):\n    pass\nclass B:\n    pass\n"
        "if {v} == 1:\n    A.register(B)\nk = A"
    ),
    "registered operator": (
        "@torch.library.custom_op('keys{v}::f', mutates_args=())\n"
        "def f(z: torch.Tensor) -> torch.Tensor:\n    return z + {v}\n"
        "k = torch.ops.keys1.f"
    ),
    "singledispatch": (
        "@functools.singledispatch\ndef k(z):\n    return z\n"
        "@k.register\ndef _(z: int):\n    return {v}"
    ),
    "descriptor": (
        "class D:\n    def __get__(self, o, t=None):\n        return o.a\n"
        "class k:\n    d, a = D(), {v}"
    ),
    "init_subclass": (
        "class B:\n    def __init_subclass__(cls, a):\n        cls.a = a\n"
        "class k(B, a={v}):\n    pass"
    ),
    "code of a text": "k = {{}}\nexec('a = {v}\\ndef f(z): return z + a', k)\nk = k['f']",
    "vmap": "k = torch.vmap(lambda z: z + {v})",
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
    "getattr of a module's getattr": "import helper_of_keys as h\n        z = getattr(h, 'lazy')",
    "globals of a function": "z = z + type(self).forward.__globals__['E'].a",
    "frame": "import sys\n        z = z + sys._getframe().f_globals['E'].a",
    "subclasses": "z = z + [c.a for c in nn.Module.__subclasses__()][0]",
    "annotations": "z = z + len(type(self).forward.__annotations__)",
    "resolved name": "import pkgutil\n        z = z + pkgutil.resolve_name('helper_of_keys:a')",
    "open of a path": "import pathlib\n        z = z + len(pathlib.Path('x').open().read())",
    "clock": "import datetime\n        z = z + datetime.datetime.now().hour",
    "whether there is a file": "import os\n        z = z + os.path.exists('x')",
    "hash of a text": "z = z + hash('a') % 5",
    "secrets": "import secrets\n        z = z + secrets.randbelow(2)",
    "program": "import subprocess\n        z = z + subprocess.run('x').returncode",
}
#: uses of what lies outside, and could change without a change of the code
OUTSIDE = [name for name, use in USES.items() if "{v}" not in use and "helper" not in use]
#: what is done to an instance whose class stays the same
AFTERWARDS = {
    "attribute": "net.k = [{v}]",
    "dictionary that is called hooks": "net.my_hooks = {{'k{v}': 1}}",
    "which hook takes keywords": (
        "f = max\nnet.register_forward_hook(f, with_kwargs={v} == 1)\n"
        "net.register_forward_hook(f, with_kwargs={v} == 2)"
    ),
    "which hook is always called": (
        "f = max\nnet.register_forward_hook(f, always_call={v} == 1)\n"
        "net.register_forward_hook(f, always_call={v} == 2)"
    ),
    "backward hook": "net.register_full_backward_hook(lambda *a: {v})",
    "hook after accumulation": (
        "net.layer.weight.register_post_accumulate_grad_hook(lambda p: {v})"
    ),
    "buffer in the memory of a parameter": (
        "w = net.layer.weight.detach()\nnet.register_buffer('k', w if {v} == 1 else w.clone())"
    ),
    "persistence of a buffer": "net.register_buffer('k', torch.ones(1), persistent={v} == 1)",
    "parametrization": (
        "class P(nn.Module):\n    def forward(self, w):\n        return {v} * w\n"
        "nn.utils.parametrize.register_parametrization(net.layer, 'weight', P())"
    ),
    "weight norm": "nn.utils.parametrizations.weight_norm(net.layer, dim={v} - 1)",
    "pruning": (
        "from torch.nn.utils import prune\nprune.l1_unstructured(net.layer, 'weight', amount={v})"
    ),
    "name of a parameter": "net.k = nn.ParameterDict({{'a{v}': nn.Parameter(torch.ones(1))}})",
    "traced module": "net.k = torch.fx.symbolic_trace(nn.Dropout(0.{v}))",
    "lazy module": "net.k = nn.LazyLinear({v})",
    "patched forward": "net.forward = lambda X: X + {v}",
    "gradient": "net.layer.weight.grad = torch.full((2, 2), {v}.0)",
    "memory format": (
        "if {v} == 1:\n    net.k = nn.Conv2d(2, 2, 2).to(memory_format=torch.channels_last)\n"
        "else:\n    net.k = nn.Conv2d(2, 2, 2)\nfor p in net.k.parameters():\n"
        "    nn.init.ones_(p)"
    ),
    "sparse format": "import scipy.sparse as s\nnet.k = s.eye(2, format=['csr', 'csc'][{v} - 1])",
    "transformer of scikit-learn": (
        "from sklearn.preprocessing import FunctionTransformer\n"
        "net.k = FunctionTransformer(lambda x: x + {v})"
    ),
}
CASES = {
    **{f"global {k}": {"head": v, "use": "z = (z, k)[0]"} for k, v in GLOBALS.items()},
    **{f"body {k}": {"body": v} for k, v in CLASS_BODIES.items()},
    **{f"init {k}": {"init": v} for k, v in INITS.items()},
    **{f"forward {k}": {"use": v} for k, v in USES.items()},
}
PLAIN = {"head": "", "body": "", "init": "", "use": ""}
HELPER = "a = {v}\ndef f():\n    return {v}\ndef __getattr__(name):\n    return {v}\n"


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


FORMS = ["class", "factory", "instance"]


def is_quick(name, form):
    """One form of every kind, and every form of a third of them."""
    return list(CASES).index(name) % 3 == FORMS.index(form)


@pytest.mark.parametrize(("name", "form"), slow_unless(is_quick, product(CASES, FORMS)))
def test_a_change_of_what_is_read_is_another_key_or_not_kept(user, name, form):
    keys = [key_of(net_of(user(v, "nets_of_keys", CASES[name]), form)) for v in (1, 2)]
    again = key_of(net_of(user(2, "nets_of_keys", CASES[name]), form))
    assert keys[0] is None or keys[0] != keys[1]
    assert again == keys[1]


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_lies_outside_is_not_kept(user, name):
    assert key_of(user(1, "nets_of_keys", CASES[f"forward {name}"]).Net) is None


@pytest.mark.parametrize("name", AFTERWARDS)
def test_a_change_of_an_instance_is_another_key_or_not_kept(user, name):
    keys = []
    for v in (1, 2, 2):
        module = user(v, "nets_of_keys", {})
        space = {**vars(module), "net": module.factory(), "__name__": "nets_of_keys"}
        exec(AFTERWARDS[name].format(v=v), space)
        keys.append(key_of(space["net"]))
    assert keys[0] is None or keys[0] != keys[1]
    assert keys[1] == keys[2]
