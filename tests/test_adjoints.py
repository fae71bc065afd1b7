"""Vjps without PyTorch: <A x, y> = <x, A' y> for linear layers, differences for all."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.strategies import samples
from tests.table import COMPOSITES, NETWORKS
from validation.cases import Sample
from validation.numeric import adjoint, differences
from validation.rows import ROWS

IN_PROOF = True
LINEAR = [name for name, row in ROWS.items() if row.linear]
SMOOTH = [name for name, row in ROWS.items() if row.numeric]


@pytest.mark.parametrize("name", LINEAR)
def test_adjoint_identity(name: str) -> None:
    @given(samples(name, values="normal"))
    def check(sample: Sample) -> None:
        adjoint(sample)

    check()


@pytest.mark.parametrize("name", SMOOTH)
def test_differences_of_the_forward(name: str) -> None:
    @given(samples(name, values="away"))
    def check(sample: Sample) -> None:
        differences(sample)

    check()


# Of some 100,000 activations of n2n-unet one is always within a step of its kink.
@pytest.mark.parametrize("name", [*COMPOSITES, *(n for n in NETWORKS if n != "n2n-unet")])
def test_differences_of_composites(name: str) -> None:
    differences((COMPOSITES | NETWORKS)[name])


def test_every_linear_row_is_checked() -> None:
    assert {"Conv2d", "ConvTranspose2d", "Unfold", "Fold", "AvgPool2d", "Upsample"} <= {*LINEAR}
    assert {*ROWS} - {*SMOOTH} == {"HDRLoss"}  # its denominator is treated as a constant
