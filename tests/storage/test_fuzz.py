"""Some 20,000 changed files, a sixth of them in the slow job: nothing runs or escapes."""

import importlib
import json
import random
import resource
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklflat import (
    AblationProbe,
    ActivationProbe,
    FlatNoiseClassifier,
    FlatNoiseRegressor,
    HessianSpectrum,
    ModeConnectivityProbe,
    SAMClassifier,
    SAMRegressor,
    TemperatureClassifier,
    TemperatureProbe,
    from_module,
    load,
    save,
)
from sklflat.exceptions import CheckpointError
from sklflat.storage import RunStore, files
from sklflat.training.runs import Training
from sklflat.training.stacking import train

X, y = make_moons(80, noise=0.2, random_state=0)
QUICK = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}
PROBE = {"n_null": 20, "n_units": 1, "random_state": 0}

MADE = {
    "classifier": lambda: SAMClassifier(**QUICK, variant="friendly", early_stopping=True),
    "regressor": lambda: SAMRegressor(**QUICK, solver="sgd"),
    "noise": lambda: FlatNoiseClassifier(**QUICK),
    "noise regressor": lambda: FlatNoiseRegressor(**QUICK),
    "ablation": lambda: AblationProbe(SAMClassifier(**QUICK), **PROBE),
    "activation": lambda: ActivationProbe(SAMClassifier(**QUICK), **PROBE),
    "spectrum": lambda: HessianSpectrum(
        SAMClassifier(**QUICK), n_components=2, density=True, spectral_measures=True, **PROBE
    ),
    "temperature probe": lambda: TemperatureProbe(SAMClassifier(**QUICK), n_bootstrap=5, **PROBE),
    "connectivity": lambda: ModeConnectivityProbe(SAMClassifier(**QUICK), n_points=3, **PROBE),
    "module": lambda: from_module(layers().eval(), classes=[0, 1]),
    "layers": lambda: SAMClassifier(net=layers(), max_iter=2, random_state=0),
    "temperature": lambda: TemperatureClassifier(SAMClassifier(**QUICK), temperature=2.0),
    "pipeline": lambda: make_pipeline(StandardScaler(), SAMClassifier(**QUICK)),
}

#: names that must not be reached, numbers out of range, and what is of another kind
OTHERS = [
    *(None, True, False, -1, 0, 1, 2**31, 2**53 - 1, -(2**31), 10**6, 1.5, float("nan"), 1e308),
    *("", "x", "os.system", "torch.hub.load", "subprocess.Popen", "sklflat.storage.RunStore"),
    *("torch.testing._internal.common_utils.TestCase", "sklearn.svm.SVC", "antigravity", "this"),
    *("_dynamo", "cuda:99", "<U200000000", "<f8", "O", "nan", "inf", "1e999", "0" * 5000),
    *("fit", "predict", "__class__", "__dict__", "memory", "cache_dir", "_modules", "forward"),
    *([], {}, [[]], {"r": 0}, {"r": 1}, {"r": -1}, {"r": 10**9}, {"r": None}, {"x": 1}),
    *(["tuple", [{"r": 0}, {"r": 0}]], ["class", "SAMClassifier"], ["class", "torch.nn.Linear"]),
    *(
        ["own", "net", {"r": 0}],
        ["object", "SAMClassifier", []],
        ["object", "ModeConnectivityProbe", []],
    ),
]
KINDS = ["int", "float", "list", "tuple", "set", "dict", "object", "layer", "class", "own", "items"]
KINDS += ["array", "tensor", "random state", "generator", "device", "dtype", "function", "bunch"]


def layers():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    )


def places(tree, found=None):
    """Every container of a JSON tree with each of its keys."""
    found = [] if found is None else found
    for key in range(len(tree)) if isinstance(tree, list) else list(tree):
        found.append((tree, key))
        if isinstance(tree[key], (list, dict)):
            places(tree[key], found)
    return found


def changed(text, draw):
    """JSON with one to three changes: values, kinds, references, doubled and missing parts."""
    info = json.loads(text)
    for _ in range(draw.choice([1, 1, 2, 3])):
        here = places(info)
        tree, key = draw.choice(here)
        way = draw.random()
        if way < 0.5:
            tree[key] = draw.choice(OTHERS)
        elif way < 0.65:
            other, at = draw.choice(here)
            tree[key] = other[at]
        elif way < 0.75 and isinstance(tree[key], str):
            tree[key] = draw.choice(KINDS)
        elif way < 0.85 and isinstance(tree, list):
            del tree[key]
        elif way < 0.95 and isinstance(tree, list):
            tree.insert(key, tree[key])
        else:
            tree[key] = {"r": draw.randrange(60)}
        try:
            text = json.dumps(info)
        except ValueError:  # a tree inside of itself
            return text
    return text


def damaged(content, draw):
    """Bytes with flips, cuts, or a stretch of others."""
    content = bytearray(content)
    at = draw.randrange(len(content))
    way = draw.randrange(3)
    if way == 0:
        content[at] ^= 1 << draw.randrange(8)
    elif way == 1:
        del content[at:]
    else:
        content[at : at + draw.randrange(1, 30)] = draw.randbytes(draw.randrange(1, 30))
    return bytes(content)


#: what torch and scikit-learn load when they need it, whatever the file is
LAZY = ("torch._subclasses.schema_check_mode", "sklearn.utils._pprint")


class Watch:
    """Notes what a file made happen, while it is on."""

    EVENTS = ("import", "exec", "compile", "os.", "subprocess.", "socket.", "shutil.", "ctypes.")

    def __init__(self):
        self.on, self.seen, self.path = False, [], None
        for name in LAZY:
            importlib.import_module(name)
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if not self.on:
            return
        if event == "import" and arguments[0] in sys.modules:
            return
        if event == "open" and (str(arguments[0]) == self.path or type(arguments[0]) is int):
            return  # the file itself, by its path and then by its handle
        if event == "open" or event.startswith(self.EVENTS):
            self.seen.append((event, str(arguments)[:200]))


@pytest.fixture(scope="module")
def the_watch():
    return Watch()


@pytest.fixture
def watch(the_watch):
    the_watch.seen.clear()
    return the_watch


def attack(path, watch, check=lambda found: None):
    watch.path, watch.on = str(path), True
    start = time.process_time()  # of work: others may hold the processor
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = load(path)
    except CheckpointError:
        found = None
    finally:
        watch.on = False
    assert time.process_time() - start < 2
    assert watch.seen == []
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MADE)
def test_changed_files_of_estimators(tmp_path, watch, draws, name):
    path = tmp_path / "x.safetensors"
    estimator = MADE[name]()
    if name != "module":
        estimator.fit(X, X[:, 0] if "regressor" in name else y)
    save(estimator, path)
    load(path)  # what it imports is there
    content, (arrays, info) = path.read_bytes(), files.read(path)
    text = json.dumps(info)
    draw = random.Random(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k in range(draws(300, 1800)):
        if k % 4:
            files.write(path, arrays, json.loads(changed(text, draw)))
        else:
            path.write_bytes(damaged(content, draw))
        attack(path, watch)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 20 * len(content) + 50 * 2**20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("variant", ["sam", "friendly"])
def test_changed_files_of_kept_trainings(tmp_path, draws, variant):
    """A training that has ended, whose file was changed, gives the same or is trained anew."""

    def result():
        made = SAMClassifier((3,), variant=variant, max_iter=2, random_state=0)
        training = Training(made, X, y)
        list(train([training], cache_dir=tmp_path))
        assert training.error is None
        return made.predict_proba(X)

    expected = result()
    store = RunStore(tmp_path)
    (key,) = store.keys()
    arrays, info = store.get(key)
    text, draw = json.dumps(info), random.Random(variant)
    for _ in range(draws(60, 300)):
        forged = {name: array.copy() for name, array in arrays.items()}
        if draw.random() < 0.3:  # weights are numbers, and any numbers are weights
            name = draw.choice([n for n in forged if not n.startswith("module/")])
            forged[name] = draw.choice([forged[name].ravel()[:-1], np.zeros(3), np.ones((2, 2))])
        store.put(key, forged, json.loads(changed(text, draw)))
        np.testing.assert_array_equal(result(), expected)
