"""Every transformer of scikit-learn in a pipeline: read elsewhere as it was, or refused."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.pipeline import make_pipeline
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances

from sklflat import SAMClassifier, load, save
from sklflat.exceptions import CheckpointError

X, y = make_classification(120, 6, random_state=0)
X = np.abs(X)

#: they take no table beside which there is a y, or nothing of this one is left
NO_TABLE = {
    *("CCA", "PLSCanonical", "PLSRegression", "PLSSVD"),  # return a pair where y is given
    *("DictVectorizer", "FeatureHasher", "HashingVectorizer", "TfidfVectorizer", "CountVectorizer"),
    *("IsotonicRegression", "KernelCenterer", "PatchExtractor", "SparseCoder", "TSNE", "MDS"),
    *("LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer", "SpectralEmbedding"),
    *("MissingIndicator", "SelectFdr", "SelectFpr", "SelectFwe"),
}
#: hold functions or what C code keeps to itself; the page on saving names them
REFUSED = {
    *("BisectingKMeans", "Isomap", "KNeighborsTransformer", "LocallyLinearEmbedding"),
    *("RadiusNeighborsTransformer", "SplineTransformer"),
}
TRANSFORMERS = dict(all_estimators(type_filter="transformer"))
_LOADS = """
import sys
import numpy as np
from sklflat import load
for line in sys.stdin.read().splitlines():
    path, *trusted = line.split()
    X = np.load(path + ".X.npy")
    np.save(path + ".there.npy", load(path, trusted=trusted).predict_proba(X))
"""


def loaded(path):
    """What is loaded, and the names that have to be trusted for it."""
    trusted = []
    while True:
        try:
            return load(path, trusted=trusted), trusted
        except CheckpointError as error:
            name = re.search(r"trusted=\('([^']+)',\)", str(error))
            if name is None or name[1] in trusted:
                raise
            trusted.append(name[1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pipelines_with_every_transformer(tmp_path):
    refused, untried, lines, expected = set(), set(), [], {}
    for name, cls in TRANSFORMERS.items():
        network = SAMClassifier((6,), max_iter=2, random_state=0)
        try:
            pipeline = make_pipeline(next(iter(_construct_instances(cls))), network).fit(X, y)
        except Exception:
            untried.add(name)
            continue
        path = tmp_path / name
        try:
            save(pipeline, path)
        except TypeError:
            assert not path.exists()
            refused.add(name)
            continue
        expected[name] = pipeline.predict_proba(X)
        np.testing.assert_array_equal(loaded(path)[0].predict_proba(X), expected[name])
        np.save(f"{path}.X.npy", X)
        lines.append(" ".join([str(path), *loaded(path)[1]]))
    assert untried <= NO_TABLE
    assert refused == REFUSED & set(TRANSFORMERS)
    assert len(expected) >= 55
    subprocess.run([sys.executable, "-c", _LOADS], input="\n".join(lines), text=True, check=True)
    for name, there in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.there.npy"), there)


def test_the_page_names_those_that_are_refused():
    page = Path(__file__).parents[2] / "docs" / "saving_and_loading.md"
    for name in REFUSED:
        assert f"`{name}`" in page.read_text()


def test_matrices_by_columns_come_back_as_they_lay(tmp_path):
    """Products in another order of the sums would differ in the last bits."""
    from sklearn.decomposition import PCA

    pipeline = make_pipeline(PCA(4), SAMClassifier((6,), max_iter=2)).fit(X, y)
    pipeline[0].components_ = np.asfortranarray(pipeline[0].components_)
    save(pipeline, tmp_path / "pipeline")
    again = load(tmp_path / "pipeline")
    assert again[0].components_.flags.f_contiguous
    np.testing.assert_array_equal(again.predict_proba(X), pipeline.predict_proba(X))


@pytest.mark.parametrize("tree", ["kd_tree", "ball_tree"])
def test_what_c_code_keeps_to_itself_is_refused(tree, tmp_path):
    from sklearn.neighbors import KNeighborsTransformer

    pipeline = make_pipeline(KNeighborsTransformer(algorithm=tree), SAMClassifier(max_iter=2))
    with pytest.raises(TypeError, match=r"_tree cannot be stored: a (KD|Ball)Tree is more than"):
        save(pipeline.fit(X, y), tmp_path / "pipeline")
