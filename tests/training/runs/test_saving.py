"""Saved estimators come back as they were; files cannot run code."""

import functools
import json
import os
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    SAMClassifier,
    SAMRegressor,
    from_module,
    load,
    save,
)
from sklflat.exceptions import CheckpointError
from sklflat.storage import decoding, files
from sklflat.storage.decoding import decode
from sklflat.storage.objects import encode
from tests._stacks import DIGITS, LABELS

X, y = DIGITS[:150], LABELS[:150]
QUICK = {"max_iter": 3, "random_state": 0, "hidden_layer_sizes": (8,)}


class Own(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_features, n_outputs)
        self.layer.weight = nn.Parameter(self.layer.weight.detach() * 0.5)

    def forward(self, X):
        return self.layer(X)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "estimator.safetensors"


def sequential():
    return nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


def saved(path, estimator, **options):
    save(estimator, path)
    return load(path, **options)


CLASSIFIERS = {
    "default": lambda: SAMClassifier(**QUICK),
    "momentum": lambda: SAMClassifier(**QUICK, solver="sgd", variant="friendly", dropout=0.1),
    "early stopping": lambda: SAMClassifier(**QUICK, early_stopping=True),
    "layers": lambda: SAMClassifier(net=sequential(), max_iter=3, random_state=0),
    "float32": lambda: SAMClassifier(**QUICK, dtype="float32", rho=0.1),
    "pipeline": lambda: make_pipeline(StandardScaler(), SAMClassifier(**QUICK)),
    "strings": lambda: SAMClassifier(**QUICK, class_weight="balanced"),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_comes_back_bit_for_bit(path, name):
    labels = np.array(list("abcdefghij"))[y] if name == "strings" else y
    fitted = CLASSIFIERS[name]().fit(X, labels)
    again = saved(path, fitted)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(again.classes_, fitted.classes_)
    assert repr(again) == repr(fitted)
    if isinstance(fitted, SAMClassifier):
        assert again.loss_curve_ == fitted.loss_curve_
        for estimator in (again, fitted):  # and goes on as it would have
            estimator.set_params(warm_start=True, max_iter=2).fit(X, labels)
        np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_a_regressor_and_several_outputs(path):
    targets = np.column_stack([X.sum(1), X[:, 3]])
    fitted = SAMRegressor((8,), max_iter=3, random_state=np.random.RandomState(3)).fit(X, targets)
    np.testing.assert_array_equal(saved(path, fitted).predict(X), fitted.predict(X))


def test_a_data_frames_names_are_kept(path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"pixel{k}" for k in range(64)])
    fitted = SAMClassifier(**QUICK).fit(frame, y)
    again = saved(path, fitted)
    assert list(again.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(again.transform(frame), fitted.transform(frame))


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda e: ActivationProbe(e, random_state=0),
        lambda e: AblationProbe(e, random_state=0, n_null=20),
        lambda e: HessianSpectrum(e, random_state=0, n_components=3, n_null=20, density=True),
    ],
)
def test_a_probe_comes_back(path, make):
    probe = make(SAMClassifier(**QUICK)).fit(X, y)
    again = saved(path, probe)
    np.testing.assert_array_equal(again.transform(X), probe.transform(X))
    np.testing.assert_array_equal(again.unit_scores_, probe.unit_scores_)
    np.testing.assert_array_equal(again.p_values_, probe.p_values_)
    assert list(again.get_feature_names_out()) == list(probe.get_feature_names_out())
    name = probe.unit_names_[0]
    assert str(again.unit_card(name)) == str(probe.unit_card(name))


def test_a_bare_module_and_a_users_class_that_must_be_trusted(path):
    torch.manual_seed(0)
    frozen = from_module(sequential().eval(), classes=list(range(10)))
    np.testing.assert_array_equal(saved(path, frozen).predict_proba(X), frozen.predict_proba(X))
    own = SAMClassifier(net=Own, max_iter=3, random_state=0).fit(X, y)
    save(own, path)
    name = f"{Own.__module__}.Own"
    with pytest.raises(CheckpointError, match=rf"trusted=\('{name}',\)"):
        load(path)
    again = load(path, trusted=[name])
    np.testing.assert_array_equal(again.predict_proba(X), own.predict_proba(X))
    assert load(path, trusted=name).net is Own


def test_who_may_read_a_file_stays_the_same(path):
    clf = SAMClassifier(**QUICK).fit(X, y)
    save(clf, path)
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    path.chmod(0o600)
    save(clf, path)
    assert path.stat().st_mode & 0o777 == 0o600


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_class_of_the_running_script_is_said(path, monkeypatch):
    class Scripted(nn.Module):
        def __init__(self, n_features, n_outputs):
            super().__init__()
            self.layer = nn.Linear(n_features, n_outputs)

        def forward(self, X):
            return self.layer(X)

    Scripted.__module__, Scripted.__qualname__ = "__main__", "Scripted"
    monkeypatch.setattr(sys.modules["__main__"], "Scripted", Scripted, raising=False)
    own = {k: v for k, v in QUICK.items() if k != "hidden_layer_sizes"}
    clf = SAMClassifier(net=Scripted, **own).fit(X, y)
    with pytest.warns(UserWarning, match=r"__main__.Scripted is defined in the script.*a module"):
        save(clf, path)
    assert isinstance(load(path, trusted=["__main__.Scripted"]).module_, Scripted)


def test_what_cannot_be_stored_is_named(path):
    class Local(Own):
        pass

    factory = functools.partial(Own, n_outputs=10)
    for net, match in [(factory, "net"), (Local, "Local"), (lambda n_features: Own(64, 10), "net")]:
        fitted = SAMClassifier(net=net, max_iter=1, random_state=0).fit(X, y)
        with pytest.raises(TypeError, match=match):
            save(fitted, path)
    assert not path.exists()


def test_shared_and_cyclic_references_and_plain_values():
    shared = [1]
    weight = nn.Parameter(torch.ones(2))
    value = {
        "twice": [shared, shared],
        "tied": [weight, weight],
        1.5: (float("nan"), float("-inf"), -0.0, 2**80, 3 + 4j),
        ("a", 1): {b"\x00", frozenset({1})},
        "arrays": [np.arange(3), np.array(["x", "yy"]), np.array([None, "z"]), np.float32(2)],
        "torch": [torch.float16, torch.device("cpu"), torch.ones(2, dtype=torch.bfloat16)],
        "other": [slice(1, None), range(3), np.dtype("f4"), nn.Linear, None, True, ""],
    }
    value["self"] = value
    again = decode(*encode(value))
    assert again["self"] is again
    assert again["twice"][0] is again["twice"][1]
    assert again["tied"][0] is again["tied"][1]
    assert repr(again) == repr(value)


def forged(entries, root=None, arrays=None):
    return arrays or {}, {"root": root or {"r": 0}, "entries": entries}


def forged_tables():
    """Tables that name what they must not, or refer to what is not there."""
    evil = ["os:system", "posix:system", "builtins:eval", "subprocess:Popen", "torch.hub:load"]
    evil += ["sklearn.utils:os", "torch.nn.modules.linear:torch", "sklflat:import_module", "os"]
    evil += ["sklflat.storage.files:os.system", "sklflat..x:y", "a b:c", ":", "x:y:z", 3, None]
    evil += ["sklearn.tests.test_base:T", "antigravity:x", "this:s", "sklearn.tree._tree:Tree"]
    evil += ["torch.utils.data:DataLoader", "sklflat.training.runs.saving:load", "__main__:Own"]
    tables = [[["object", name, [], None]] for name in evil]
    tables += [[["class", name]] for name in evil]
    tables += [
        [["tuple", [{"r": 0}]]],
        [["list", [{"r": 1}]]],
        [["list", [{"r": -1}]]],
        [["list", [{"r": True}]]],
        [["list", [{"x": 0}]]],
        [["list", 5]],
        [["unknown", 1]],
        [["reduce", "os:system", ["x"]]],
        [["own", "net", {"r": 1}], ["dict", []]],
        [["own", "other", None]],
        [["array", "7", False]],
        [["tensor", "0", True, True, False]],
        [["items", [2], "<f8", [1, 2], False]],
        [["items", [2**40], "O", [1], False]],
        [["float", "nonsense"]],
        [["bytes", "###"]],
        [["torch dtype", "hub"]],
        [["torch dtype", "load"]],
        [["device", "nowhere"]],
        [["range", [1, "x", None]]],
        [["function", "eval"]],
        [["random state", {"r": 1}], ["dict", []]],
        [["object", "torch.nn.modules.linear:Linear", [[1, 2]], None]],
        [["object", "torch.nn.modules.linear:Linear", 3, None]],
        [[]],
        [None],
        "entries",
        None,
        {"0": 1},
    ]
    tables.append([["list", [{"r": k + 1}]] for k in range(100_000)])
    return tables


@pytest.mark.slow
def test_forged_objects_are_refused_in_a_moment(path):
    """In little more than the time in which Python's own parser reads as much."""
    for entries in forged_tables():
        arrays, info = forged(entries)
        files.write(path, arrays, {"object": info})
        text = json.dumps(info)
        start = time.process_time()
        json.loads(text)
        parsed = time.process_time()
        with pytest.raises(CheckpointError):
            load(path)
        assert time.process_time() - parsed < 0.5 + 10 * (parsed - start)


def test_forged_objects_are_refused_and_run_no_code(path, tmp_path, monkeypatch):
    modules, made, make = set(sys.modules), [], decoding._Decoder._make

    def counted(self, k, *entry):
        made.append(k)
        make(self, k, *entry)

    monkeypatch.setattr(decoding._Decoder, "_make", counted)
    for entries in forged_tables():
        arrays, info = forged(entries)
        files.write(path, arrays, {"object": info})
        made.clear()
        with pytest.raises(CheckpointError):
            load(path)
        assert len(made) <= len(entries or ())  # each entry is looked at once at most
    new = {name.split(".")[0] for name in set(sys.modules) - modules}
    assert not new & {"antigravity", "this"}
    for info in (
        None,
        [],
        {},
        {"object": 1},
        {"object": {}},
        {"object": {"root": {}}},
        {"more": 1},
    ):
        files.write(path, {}, info)
        with pytest.raises(CheckpointError):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("n", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_random_changes_of_the_table_never_escape(path, n):
    """Any single value of the JSON table is replaced by others, with a right checksum."""
    save(SAMClassifier(**QUICK).fit(X[:40], y[:40] % 3), path)
    arrays, info = files.read(path)
    draw = np.random.RandomState(0)
    text = json.dumps(info)
    others = [None, -1, 10**9, "os:system", [], {}, {"r": 0}, {"r": 3}, "x", True]
    for _ in range(n):
        changed = json.loads(text)
        place = changed["object"]["entries"]
        while isinstance(place, list) and place:
            k = draw.randint(len(place))
            if not isinstance(place[k], list) or draw.rand() < 0.2:
                place[k] = others[draw.randint(len(others))]
                break
            place = place[k]
        files.write(path, arrays, changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load(path)
            except CheckpointError:
                continue
