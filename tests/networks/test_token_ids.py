"""Token ids that an embedding does not have are named, wherever they are met."""

import numpy as np
import pytest
from torch import nn

from sklflat import ActivationProbe, SAMClassifier, from_module

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
IDS = np.random.RandomState(0).randint(0, 9, (300, 3))
Y = IDS[:, 0] > 4


def module():
    return nn.Sequential(
        nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2)
    )


def with_id(number, row):
    ids = IDS.copy()
    ids[row, 1] = number
    return ids


@pytest.mark.parametrize(("number", "span"), [(17, "from 0 to 17"), (-2, "from -2 to 8")])
@pytest.mark.parametrize("row", [0, 299], ids=["first row", "last row"])
def test_ids_out_of_range_are_named_with_the_size_of_the_embedding(number, span, row):
    ids = with_id(number, row)
    network = SAMClassifier(net=module(), max_iter=1, batch_size=50, shuffle=False)
    calls = {
        "fit": lambda: network.fit(ids, Y),
        "predict": lambda: network.fit(IDS, Y).predict(ids),
        "frozen": lambda: from_module(module(), classes=[0, 1]).predict(ids),
        "probe": lambda: ActivationProbe(from_module(module(), classes=[0, 1])).fit(ids, Y),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=r"Embedding\(9, 4\).*Give the embedding") as caught:
            call()
        assert str(number) in str(caught.value).split(",")[0]
        assert span in str(caught.value) or row == 0  # of the first rows alone there are fewer


def test_other_errors_of_indices_stay_as_they_are():
    class Wrong(nn.Module):
        def forward(self, X):
            return [X][1]

    from sklflat.networks.token_ids import token_ids_named

    with pytest.raises(IndexError, match="list index"), token_ids_named(Wrong()):
        Wrong()(1)
