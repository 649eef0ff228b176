"""Masks, against magnitudes worked out by hand and against torch.nn.utils.prune."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import ParameterVector
from sklflat.rewinding import PrunableLayers, read_masks, write_masks


def network(seed=0):
    torch.manual_seed(seed)
    conv = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*conv, nn.LazyLinear(5)).append(nn.LayerNorm([5])).append(nn.Linear(5, 3))


def built(seed=0):
    module = network(seed)
    module(torch.zeros(2, 1, 4, 4))
    return module


def test_biases_and_normalisation_are_kept():
    layers = PrunableLayers.of(built())
    assert layers.names == ("0.weight", "4.weight", "6.weight")
    mask = layers.pruned(layers.full(), ParameterVector.of(built()).read(), 0.3)
    kept = dict(zip(built().state_dict(), [None] * 99, strict=False)).keys()
    assert {"0.bias", "1.weight", "5.weight"} <= kept
    outside = torch.ones(layers.n_parameters, dtype=torch.bool)
    for place in layers.places:
        outside[place] = False
    assert mask[outside].all()


def test_global_pruning_is_torchs():
    """torch.nn.utils.prune.global_unstructured removes the same weights, round after round."""
    module = built()
    layers = PrunableLayers.of(module)
    w, mask = ParameterVector.of(module).read(), layers.full()
    total = sum(p.stop - p.start for p in layers.places)
    pairs = [(module[0], "weight"), (module[4], "weight"), (module[6], "weight")]
    for kept in (0.75, 0.375):
        before = int(sum(mask[p].sum() for p in layers.places))
        mask = layers.pruned(mask, w, kept)
        n = before - round(kept * total)
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=n)
    theirs = read_masks(module)
    for name, own in layers.by_name(mask).items():
        np.testing.assert_array_equal(own, theirs[name])
    assert layers.remaining(mask) == pytest.approx(0.375, abs=1 / total)


def test_layer_by_layer_the_output_layer_loses_half_the_rate():
    layers = PrunableLayers.of(built())
    w = ParameterVector.of(built()).read()
    mask = layers.pruned(layers.full(), w, 0.8, "layerwise")
    sizes = [p.stop - p.start for p in layers.places]
    kept = [int(mask[p].sum()) for p in layers.places]
    assert kept == [round(0.8 * sizes[0]), round(0.8 * sizes[1]), round(0.9 * sizes[2])]
    for place in layers.places:  # those that are left are the largest
        assert w[place][mask[place]].abs().min() >= w[place][~mask[place]].abs().max()


def test_random_masks_have_as_many_weights_in_each_layer():
    layers = PrunableLayers.of(built())
    like = layers.pruned(layers.full(), ParameterVector.of(built()).read(), 0.3)
    random = layers.at_random(like, np.random.RandomState(0))
    assert [int(random[p].sum()) for p in layers.places] == [
        int(like[p].sum()) for p in layers.places
    ]
    assert not torch.equal(random, like)


def test_masks_go_to_torch_and_back():
    module = built()
    layers = PrunableLayers.of(module)
    mask = layers.pruned(layers.full(), ParameterVector.of(module).read(), 0.4)
    pruned = write_masks(module, layers.by_name(mask))
    assert prune.is_pruned(pruned)
    assert not prune.is_pruned(module)
    assert torch.equal(layers.from_names(read_masks(pruned)), mask)
    prune.remove(pruned[0], "weight")
    zero = ~torch.as_tensor(layers.by_name(mask)["0.weight"])
    assert (pruned[0].weight[zero] == 0).all()


def test_attention_is_pruned_too():
    layers = PrunableLayers.of(nn.TransformerEncoderLayer(4, 2, 8))
    assert "self_attn.in_proj_weight" in layers.names
    assert not any("norm" in name for name in layers.names)


def test_bad_masks():
    layers = PrunableLayers.of(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    w = torch.cat([torch.full((20,), 9.0), torch.full((10,), 1.0)])
    with pytest.raises(ValueError, match=r"1\.weight has none left.*sparsity"):
        layers.pruned(layers.full(), w, 0.5)
    with pytest.raises(ValueError, match=r"no weight '0\.bias'"):
        layers.from_names({"0.bias": np.ones(4)})
    with pytest.raises(UnsupportedNetworkError, match="no prunable weights"):
        PrunableLayers.of(nn.LayerNorm(3))


@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_many_small_rounds_remove_as_much_as_one(scope):
    """Of 100 rounds each would remove less than half a weight of the smallest layer."""
    layers = PrunableLayers.of(built())
    w, mask, kept = ParameterVector.of(built()).read(), layers.full(), 0.5 ** (1 / 100)
    for k in range(1, 101):
        mask = layers.pruned(mask, w, kept**k, scope, kept_of_output=kept**k)
    once = layers.pruned(layers.full(), w, 0.5, scope, kept_of_output=0.5)
    assert torch.equal(mask, once)
    assert layers.remaining(mask) == pytest.approx(0.5, abs=0.02)
