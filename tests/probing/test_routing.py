"""Sample weights and groups reach a probe in a pipeline by scikit-learn's metadata routing."""

import numpy as np
import pytest
import sklearn
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from sklflat import ActivationProbe, SAMClassifier
from tests._estimators import IRIS, SPECIES

WEIGHT = np.arange(150) % 3 + 0.0


def probe():
    network = SAMClassifier((6,), max_iter=30, learning_rate_init=0.02, random_state=0)
    return ActivationProbe(network, n_units=2, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_pipeline_routes_weights_to_a_probe():
    with sklearn.config_context(enable_metadata_routing=True):
        last = LogisticRegression().set_fit_request(sample_weight=False)
        asking = probe().set_fit_request(sample_weight=True, groups=True)
        model = Pipeline([("probe", asking), ("last", last)])
        model.fit(IRIS, SPECIES, sample_weight=WEIGHT)
        with pytest.raises(UnsetMetadataPassedError, match="ActivationProbe"):
            Pipeline([("probe", probe()), ("last", last)]).fit(IRIS, SPECIES, sample_weight=WEIGHT)
    alone = probe().fit(IRIS, SPECIES, sample_weight=WEIGHT)
    np.testing.assert_array_equal(model[0].unit_scores_, alone.unit_scores_)
    unweighted = probe().fit(IRIS, SPECIES)
    assert not np.array_equal(model[0].unit_scores_, unweighted.unit_scores_)
