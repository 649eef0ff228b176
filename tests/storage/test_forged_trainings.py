"""Kept trainings whose files somebody has changed: they are trained anew."""

import numpy as np
import pytest

from sklflat import SAMClassifier
from sklflat.exceptions import DamagedFileWarning
from sklflat.storage import RunStore, read, write
from sklflat.training.runs import Training
from sklflat.training.stacking import train

X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
QUICK = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}


def kept(tmp_path):
    """A kept training: its store, key, arrays and information; and a call that trains it again."""

    def again():
        training = Training(SAMClassifier(**QUICK), X, y)
        list(train([training], cache_dir=tmp_path))
        return training

    again()
    store = RunStore(tmp_path)
    (key,) = store.keys()
    return store, key, *store.get(key), again


FORGED = {
    "order": lambda a, i: a.update(order=np.arange(20)[::-1].astype(float)),
    "shape": lambda a, i: a.update({"module/output.bias": np.zeros(3)}),
    "dtype": lambda a, i: a.update({"module/output.bias": np.zeros(1, np.float32)}),
    "moment": lambda a, i: a.update({"optimizer/0/exp_avg": np.zeros(1)}),
    "unknown moment": lambda a, i: a.update({"optimizer/0/evil": np.zeros((2, 3))}),
    "step": lambda a, i: a.update({"optimizer/0/step": np.array(np.nan)}),
    "generator": lambda a, i: a.update({"generator/0": np.zeros(10, np.uint8)}),
    "keys": lambda a, i: a.update(random_state=np.zeros(10, np.uint32)),
    "position": lambda a, i: i["random_state"].__setitem__(0, 10**6),
    "rate": lambda a, i: i.update(rate=-1.0),
    "no rate": lambda a, i: i.update(rate=float("nan")),
    "count": lambda a, i: i["counts"].update(t=-5),
    "epochs": lambda a, i: i["record"].update(n_iter=10**6),
    "loss": lambda a, i: i["record"].update(loss_curve=["x"]),
    "end": lambda a, i: i["record"].update(ended="interrupted"),
    "end of another kind": lambda a, i: i["record"].update(ended=["converged"]),
    "field": lambda a, i: i["record"].update(more=1),
    "history": lambda a, i: i.update(history=[1]),
    "remembered": lambda a, i: a.update({"steps/m": np.zeros(2)}),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_forged_training_is_trained_anew(tmp_path, name):
    store, key, arrays, info, again = kept(tmp_path)
    right = again().estimator.predict_proba(X)
    FORGED[name](arrays, info)
    store.put(key, arrays, info)
    with pytest.warns(DamagedFileWarning):
        training = again()
    assert training.error is None
    np.testing.assert_array_equal(training.estimator.predict_proba(X), right)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_file_under_another_key_is_not_used(tmp_path):
    store, key, *_, again = kept(tmp_path)
    other = "b" * 32
    store.path(other).write_bytes(store.path(key).read_bytes())
    with pytest.warns(DamagedFileWarning, match="another key"):
        assert store.get(other) is None
    arrays, _ = read(store.path(key))
    write(store.path(key), arrays, {"key": key, "version": "0.0.1", "info": {}})
    assert store.get(key) is None  # of another version
    assert again().error is None
