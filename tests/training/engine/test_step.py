"""One step: what it keeps from the last is of this mask, precision and device."""

import torch

from sklflat.training.engine.step import PerturbedStep


def test_the_mask_as_numbers_is_of_the_mask_as_it_is_now():
    step = PerturbedStep(None, mask=torch.tensor([True, False]))
    w = torch.zeros(2)
    assert step._mask_like(w).tolist() == [1.0, 0.0]
    assert step._mask_like(w) is step._mask_like(w)
    assert step._mask_like(w.double()).dtype == torch.float64
    step.mask[1] = True
    assert step._mask_like(w).tolist() == [1.0, 1.0]
    step.mask = None
    assert step._mask_like(w) is None
