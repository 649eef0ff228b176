"""One-hot encoders hand indices to C code, so what a file says of them has to be consistent."""

import numpy as np
import pytest
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from sklflat import SAMClassifier, load, save
from sklflat.exceptions import CheckpointError
from sklflat.storage.decoding import decode
from sklflat.storage.objects import encode

NUMBERS = np.array([[1.0, 5.0], [2.0, 5.0], [np.nan, 7.0], [1.0, 5.0], [2.0, 5.0], [3.0, 6.0]])
TEXTS = np.array([["a", "x"], ["b", "x"], ["a", "y"], ["c", "x"], ["a", "y"]])
MIXED = np.array([["a", 1], [None, 2], ["b", 1]], dtype=object)
SETTINGS = [
    {},
    {"drop": "first"},
    {"drop": "if_binary"},
    {"min_frequency": 2, "handle_unknown": "infrequent_if_exist"},
    {"max_categories": 2, "drop": "first", "handle_unknown": "infrequent_if_exist"},
    {"handle_unknown": "ignore", "sparse_output": False, "dtype": np.int8},
]


@pytest.mark.parametrize("X", [NUMBERS, TEXTS, MIXED])
@pytest.mark.parametrize("settings", SETTINGS)
def test_an_encoder_goes_through_a_file(X, settings):
    encoder = OneHotEncoder(**settings).fit(X)
    again = decode(*encode(encoder))
    for dense in (encoder, again):
        dense.sparse_output = False
    np.testing.assert_array_equal(again.transform(X), encoder.transform(X))
    assert again.get_params() == encoder.get_params()


def test_a_pipeline_of_text_goes_through_a_file(tmp_path):
    y = [0, 1, 0, 1, 0]
    model = make_pipeline(OneHotEncoder(), SAMClassifier((3,), max_iter=2, random_state=0))
    save(model.fit(TEXTS, y), tmp_path / "x.safetensors")
    again = load(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(again.predict_proba(TEXTS), model.predict_proba(TEXTS))


@pytest.mark.parametrize("kind", ["number", np.number, np.floating, np.float64, "float64"])
def test_columns_chosen_by_type_go_through_a_file(tmp_path, kind):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4, 5], "b": [3, 1, 2, 5, 4], "c": list("xyxyx")})
    columns = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include=kind)), (OneHotEncoder(), ["c"])
    )
    model = make_pipeline(columns, SAMClassifier((3,), max_iter=2, random_state=0))
    save(model.fit(frame, [0, 1, 0, 1, 0]), tmp_path / "x.safetensors")
    again = load(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    chooses = again[0].transformers[0][2]
    assert chooses.dtype_include == kind
    assert chooses(frame) == model[0].transformers[0][2](frame)


def changed(encoder, name, value):
    vars(encoder)[name] = value
    return encoder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("_n_features_outs", value) for value in ([1, 1], [4, 4], [4], [-4, 11], [4.0, 3.0], 7)),
        ("_n_features_outs", np.array([4, 3])),
        ("n_features_in_", 1),
        ("categories_", [np.arange(4.0)[::-1].copy(), np.arange(3.0)]),
        ("categories_", [np.array([1.0, 1.0, 2.0, 3.0]), np.arange(3.0)]),
        ("categories_", [np.array([np.nan, 1.0, 2.0, 3.0]), np.arange(3.0)]),
        ("categories_", [np.array([1.0, 2.0, np.nan, np.nan]), np.arange(3.0)]),
        ("categories_", [np.arange(5.0), np.arange(3.0)]),
        ("_drop_idx_after_grouping", np.array([0, None], dtype=object)),
        ("_drop_idx_after_grouping", np.array([-1, 0], dtype=object)),
        ("_infrequent_enabled", True),
        ("_infrequent_enabled", 1),
    ],
)
def test_parts_that_are_of_another_encoder_are_refused(name, value):
    encoder = OneHotEncoder().fit(NUMBERS)
    with pytest.raises(CheckpointError, match="OneHotEncoder"):
        decode(*encode(changed(encoder, name, value)))


@pytest.mark.parametrize("mapping", [[0, 9, 1, 1], [0, -1, 1, 1], [0.0, 1.0, 1.0, 1.0], [0, 1]])
def test_mappings_of_rare_categories_are_checked(mapping):
    encoder = OneHotEncoder(max_categories=2, handle_unknown="infrequent_if_exist").fit(NUMBERS)
    decode(*encode(encoder))
    encoder._default_to_infrequent_mappings[0] = np.array(mapping)
    with pytest.raises(CheckpointError, match="OneHotEncoder"):
        decode(*encode(encoder))


def test_the_encoder_inside_of_another_estimator_is_checked():
    bins = KBinsDiscretizer(5, encode="onehot-dense", strategy="uniform").fit(NUMBERS[:, 1:])
    decode(*encode(bins))
    bins._encoder._n_features_outs = [1]
    with pytest.raises(CheckpointError, match="OneHotEncoder"):
        decode(*encode(bins))


def test_a_list_that_is_filled_later_is_checked_as_it_ends():
    """A list of categories that holds the encoder itself is empty while the encoder is made."""
    arrays, info = encode(OneHotEncoder().fit(NUMBERS))
    named = info["entries"][0][2]
    categories = next(node["r"] for name, node in named if name == "categories_")
    info["entries"][categories][1].append({"r": 0})
    for root in (0, categories):
        with pytest.raises(CheckpointError):
            decode(arrays, {"root": {"r": root}, "entries": info["entries"]})
