"""The demo's own training: a network and data small enough for one core and a few seconds."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.needs("torch", "sklearn")


def test_the_digits_are_parted_alike_in_every_session() -> None:
    """A second session validates on images that the first has not learnt from either."""
    from notifybot.demo.training import digits

    first, second = digits(), digits()

    assert (len(first[0]), len(first[1])) == (1438, 359)
    assert first[1].indices == second[1].indices
    assert not set(first[0].indices) & set(first[1].indices)


def test_the_network_has_two_thousand_weights_and_reads_one_digit_an_image() -> None:
    import torch

    from notifybot.demo.training import network

    model = network()

    assert sum(each.numel() for each in model.parameters()) == 1898
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
