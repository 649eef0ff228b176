"""Files that somebody else has made: what was found by attacking, and siblings of each kind."""

import importlib
import json
import os
import sys
import threading

import joblib
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import SAMClassifier, load, save
from sklflat.exceptions import CheckpointError, DamagedFileWarning
from sklflat.storage import RunStore, known_types, read, write
from sklflat.storage.decoding import decode
from sklflat.storage.objects import encode
from tests.storage.test_files import crafted, signed

X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
QUICK = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
KEY = "a" * 16


@pytest.fixture
def path(tmp_path):
    return tmp_path / "estimator.safetensors"


@pytest.fixture
def table(path):
    """A saved estimator, as arrays and entries, and a function that loads a changed one."""
    save(SAMClassifier(**QUICK).fit(X, y), path)
    arrays, info = read(path)

    def attack(entries=None, arrays=arrays):
        changed = info if entries is None else {"object": {"root": {"r": 0}, "entries": entries}}
        write(path, arrays, changed)
        return load(path)

    attack.entries, attack.arrays = info["object"]["entries"], arrays
    return attack


def test_every_known_type_exists():
    for name, (module, own) in known_types._TABLE.items():
        found = getattr(importlib.import_module(module), own)
        assert known_types.name_of(found) == name
        assert known_types.type_called(name, ()) is found


def entry_of(entries, kind, name=None):
    return next(e for e in entries if e[0] == kind and name in (None, e[1]))


def state_of_net(entries):
    """Names and values of the parts of a saved net."""
    own = entry_of(entries, "own", "net")
    return entries[own[2]["r"]]


# --- code -------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["criterion", "module", "perturbation"])
@pytest.mark.parametrize(
    "name",
    [
        "sklflat.storage.store.RunStore",
        "sklflat.storage.RunStore",
        "sklflat.training.stacking.search._TrainedFits",
        "StackedSearchCV",
        "torch.nn.Linear",
        "SAMClassifier",
        "sklearn.pipeline.Pipeline",
    ],
)
def test_no_class_of_a_file_is_called(table, tmp_path, monkeypatch, part, name):
    monkeypatch.chdir(tmp_path)
    entries = table.entries
    keys, values = state_of_net(entries)[1:]
    entries.append(["class", name])
    values[keys.index(part)] = {"r": len(entries) - 1}
    before = sorted(os.listdir())
    with pytest.raises(CheckpointError):
        table(entries)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("extra", ["criterion__cache_dir", "initialize", "fit", "callbacks"])
def test_a_net_has_no_other_parts(table, extra):
    keys, values = state_of_net(table.entries)[1:]
    keys.append(extra)
    values.append("cache")
    with pytest.raises(CheckpointError):
        table(table.entries)


class Shell:
    def __reduce__(self):
        return os.system, ("touch RAN",)


@pytest.mark.parametrize("cls", ["sklearn.pipeline.Pipeline", "ModeConnectivityProbe"])
def test_places_for_files_are_neither_saved_nor_loaded(path, tmp_path, monkeypatch, cls):
    monkeypatch.chdir(tmp_path)
    pipeline = make_pipeline(StandardScaler(), SAMClassifier(**QUICK), memory=str(tmp_path / "m"))
    save(pipeline.fit(X, y), path)
    assert load(path).memory is None
    joblib.dump(Shell(), tmp_path / "output.pkl")
    place = "memory" if "Pipeline" in cls else "cache_dir"
    with pytest.raises(CheckpointError, match="files are to be kept"):
        decode({}, {"root": {"r": 0}, "entries": [["object", cls, [[place, "m"]]]]})
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize(
    "name",
    [
        "torch.testing._internal.common_utils.TestCase",
        "torch.utils.tensorboard.SummaryWriter",
        "torch._dynamo",
        "sklearn.externals.array_api_compat.torch.Tensor",
        "sklearn.svm._classes.SVC",
        "antigravity.x",
        "expecttest.TestCase",
        "sklflat.report.x",
    ],
)
@pytest.mark.parametrize("kind", ["class", "object", "layer", "bunch", "torch dtype"])
def test_a_name_is_judged_before_anything_is_imported(tmp_path, monkeypatch, name, kind):
    (tmp_path / "expecttest.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "expecttest", raising=False)
    before = set(sys.modules)
    more = {"class": [], "object": [[]], "layer": [[], [], [], [], True, []], "bunch": [[]]}
    with pytest.raises(CheckpointError):
        decode({}, {"root": {"r": 0}, "entries": [[kind, name, *more.get(kind, [])]]})
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("cls", "attribute"),
    [
        ("SAMClassifier", "predict"),
        ("SAMClassifier", "__class__"),
        ("SAMClassifier", "_fitting"),
        ("sklearn.preprocessing.StandardScaler", "transform"),
        ("MLP", "forward"),
        ("torch.nn.Linear", "_forward_hooks"),
        ("torch.nn.Linear", "_modules"),
        ("torch.nn.Linear", "training"),
        ("Record", "add_loss"),
        ("Units", "unheard_of"),
    ],
)
def test_attributes_are_data_that_the_type_declares(cls, attribute):
    layer = cls in ("MLP",) or cls.startswith("torch")
    entry = ["layer", cls, [], [], [], [], True] if layer else ["object", cls]
    with pytest.raises(CheckpointError):
        decode({}, {"root": {"r": 0}, "entries": [[*entry, [[attribute, 1]]]]})


# --- bombs ------------------------------------------------------------------------------------


def tower(kind, n, top):
    """Nested values that contain the one below twice, in a key or element."""
    below = [[kind, [{"r": k + 1}, {"r": k + 1}]] for k in range(1, n)]
    return [top, *below, [kind, []]]


@pytest.mark.parametrize("n", [20, 40, 400])
@pytest.mark.parametrize("kind", ["tuple", "frozenset", "list"])
@pytest.mark.parametrize(
    "top",
    [
        ["set", [{"r": 1}]],
        ["frozenset", [{"r": 1}]],
        ["dict", [{"r": 1}], [0]],
        ["ordered", [{"r": 1}], [0]],
        ["unknown", {"r": 1}],
        ["function", {"r": 1}],
        ["items", [1], "O", [{"r": 1}], False],
        ["class", {"r": 1}],
        ["object", "SAMClassifier", [["net", {"r": 1}]]],
    ],
)
def test_what_contains_itself_again_and_again_is_refused(n, kind, top):
    with pytest.raises(CheckpointError):
        decode({}, {"root": {"r": 0}, "entries": tower(kind, n, top)})


@pytest.mark.parametrize("dtype", ["<U200000000", "<U99999999", "|S2000000000", "V2000000000"])
@pytest.mark.parametrize("shape", [[1], [0], []])
def test_items_are_no_longer_than_the_file_could_hold(dtype, shape):
    nodes = [""] * int(np.prod(shape))
    with pytest.raises(CheckpointError):
        decode({}, {"root": {"r": 0}, "entries": [["items", shape, dtype, nodes, False]]})
    many = [["items", [100], "<U99999", [""] * 100, False] for _ in range(50)]
    top = ["list", [{"r": k + 1} for k in range(50)]]
    with pytest.raises(CheckpointError):
        decode({}, {"root": {"r": 0}, "entries": [top, *many]})


@pytest.mark.parametrize("top", ["set", "frozenset", "dict", "ordered"])
@pytest.mark.parametrize("step", [2**61 - 1, 2 * (2**61 - 1)])
def test_keys_that_all_have_one_hash_are_refused(top, step):
    keys = [k * step for k in range(1, 2000)]
    entry = [top, keys] if "set" in top else [top, keys, keys]
    with pytest.raises(CheckpointError, match="slow"):
        decode({}, {"root": {"r": 0}, "entries": [entry]})


@pytest.mark.parametrize(
    "name",
    [
        *("torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNNCell", "torch.nn.modules.rnn.RNNBase"),
        *("sklearn.linear_model.Lasso", "sklearn.linear_model.ElasticNet"),
        *("sklearn.preprocessing.PolynomialFeatures", "sklearn.svm.SVC"),
    ],
)
def test_types_whose_c_code_trusts_its_arrays_are_not_known(name):
    with pytest.raises(CheckpointError, match="trusted="):
        known_types.type_called(name, ())


def test_a_layer_that_is_not_known_can_be_trusted_by_name():
    name = known_types.name_of(nn.RNNCell)
    with pytest.raises(CheckpointError, match=rf"trusted=\('{name}',\)"):
        known_types.type_called(name, ())
    assert known_types.type_called(name, (name,)) is nn.RNNCell


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_jobs", 6),
        ("n_jobs", -1),
        ("_sklearn_output_config", {"r": 1}),
        ("memory", "m"),
    ],
)
def test_nothing_is_started_or_imported_later(name, value):
    own = ["object", "sklearn.pipeline.FeatureUnion", [[name, value]]]
    if name == "memory":
        own[1] = "sklearn.pipeline.Pipeline"
    if name.startswith("_"):
        own[1] = "sklearn.preprocessing.StandardScaler"
    table = [own, ["dict", ["transform"], ["polars"]]]
    with pytest.raises(CheckpointError):
        decode({}, {"root": {"r": 0}, "entries": table})


@pytest.mark.parametrize("key", ["_compiled_call_impl", "call_super_init", "dump_patches"])
def test_a_layer_has_no_attributes_of_torchs_own(key):
    entry = ["layer", "torch.nn.Identity", [], [], [], [], True, [[key, {"r": 1}]]]
    with pytest.raises(CheckpointError):
        decode({}, {"root": {"r": 0}, "entries": [entry, ["class", "torch.nn.Softmax"]]})


# --- files ------------------------------------------------------------------------------------


def promptly(function, *arguments):
    """The error of a call that must not wait for anybody."""
    found = []

    def call():
        try:
            found.append(function(*arguments))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(30)
    assert found, "it waits"
    return found[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_only_regular_files_are_opened(path, tmp_path):
    os.mkfifo(path)
    assert isinstance(promptly(load, path), CheckpointError)
    assert isinstance(promptly(load, "/dev/zero"), CheckpointError)
    assert isinstance(promptly(load, tmp_path), CheckpointError)
    store = RunStore(tmp_path / "store")
    os.mkfifo(store.path(KEY))
    os.unlink(store.directory / "store.safetensors")
    os.mkfifo(store.directory / "store.safetensors")
    assert isinstance(promptly(RunStore, store.directory), RunStore)
    with pytest.warns(DamagedFileWarning, match="no regular file"):
        assert store.get(KEY) is None
    assert (store.directory / f"{KEY}.damaged").exists()  # nothing is deleted


def test_a_file_of_holes_takes_no_memory(path):
    with open(path, "wb") as file:
        file.truncate(200 * 2**30)
    assert isinstance(promptly(load, path), CheckpointError)
    header = {"a": {"dtype": "F64", "shape": [2**34], "data_offsets": [0, 2**37]}}
    own = {"__metadata__": {"sklflat": "", "schema": "1", "checksum": "0" * 32}}
    content = crafted({**own, **header})
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(len(content) + 2**37)
    assert isinstance(promptly(load, path), CheckpointError)


@pytest.mark.parametrize("name", [".x.tmp", f".{KEY}.safetensors.1-01234567.tmp", ".a.tmp"])
def test_what_is_no_file_of_ours_is_not_cleaned_up(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / ".mine.tmp").write_text("kept")
    os.utime(tmp_path / ".mine.tmp", (0, 0))
    RunStore(tmp_path)
    assert (tmp_path / name).is_dir()
    assert (tmp_path / ".mine.tmp").exists()


@pytest.mark.parametrize("shape", [[2**61, 0], [0, 2**61], [2**31, 2**31, 0], [0] * 33, [2**62, 0]])
def test_shapes_that_overflow_are_damage(tmp_path, shape):
    content = signed({"a": {"dtype": "F64", "shape": shape, "data_offsets": [0, 0]}})
    store = RunStore(tmp_path)
    store.path(KEY).write_bytes(content)
    with pytest.raises(CheckpointError):
        read(store.path(KEY))
    with pytest.warns(DamagedFileWarning):
        assert store.get(KEY) is None


@pytest.mark.parametrize("text", [r'"\ud800"', r'{"\udfff": 1}', r'["\ud800x"]'])
def test_halves_of_characters_are_damage(tmp_path, text):
    store = RunStore(tmp_path)
    for content in (signed({}, text=text), crafted(b'{"\\ud800": 1}')):
        store.path(KEY).write_bytes(content)
        with pytest.warns(DamagedFileWarning):
            assert store.get(KEY) is None


def test_a_long_header_needs_arrays(path):
    path.write_bytes(signed({}, text=json.dumps("x" * (2**20 + 1000))))
    with pytest.raises(CheckpointError, match="too long"):
        read(path)
    write(path, {}, "x" * 2**21)  # what is long is an array of its own
    assert read(path)[1] == "x" * 2**21


# --- values for C -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        *({2: pos} for pos in (10**6, -(2**31), 625, -1, 1.0, True, None, "0")),
        *({3: has} for has in (2, -1, True)),
        *({4: gauss} for gauss in ("nan", "inf", "0x", 1.0)),
        {1: "4"},
    ],
)
def test_states_of_random_generators_are_checked(table, change):
    own = SAMClassifier(**{**QUICK, "random_state": np.random.RandomState(0)}).fit(X, y)
    arrays, info = encode(own)
    entry = entry_of(info["entries"], "random state")
    for place, value in change.items():
        entry[place] = value
    with pytest.raises(CheckpointError):
        decode(arrays, info)
