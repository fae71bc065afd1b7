"""The measured receptive field against probing pixel by pixel, and against known values."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from minigrad import Composite, Conv2d, ConvTranspose2d, MaxPool2d, ReLU, Sequential, Upsample
from zoo.architectures import Denoiser
from zoo.inference.receptive import ReceptiveField, positive_copy, receptive_field


class Chain(Denoiser):
    """Layers in a row, on one channel."""

    channels = 1

    def __init__(self, *layers, multiple=1):
        self.layers = Sequential(*layers)
        self.multiple = multiple

    def wire(self, x):
        return self.layers(x)


def pooled_chain():
    """A pool of 3 with stride 2, between convolutions with uneven padding."""
    return Chain(
        Conv2d(1, 2, 3, padding=1),
        MaxPool2d(3, stride=2, padding=1),
        Conv2d(2, 2, (1, 5), padding=(0, 2)),
        Upsample(scale_factor=2),
        Conv2d(2, 1, 3, padding=1),
        multiple=2,
    )


def probed(model: Denoiser) -> ReceptiveField:
    """Brute force: a spike in each input pixel in turn, forward only, all output phases at once.

    On the positive network every max-pool lets a spike pass, so the outputs that move are exactly
    those whose field contains the pixel.
    """
    twin, m = positive_copy(model), model.grid
    reach = []
    for axis in (2, 3):
        margin = 12 * m if m > 1 else 40
        shape = [1, model.channels, m, m]
        shape[axis] = 2 * margin + m
        base = twin.forward(np.full(shape, 1.0))
        block = [slice(None)] * 4
        block[axis] = slice(margin, margin + m)
        seen = []
        for place in range(shape[axis]):
            spikes = np.full((m, *shape[1:]), 1.0)
            for across in range(
                m
            ):  # every pixel of this row or column, each in a picture of its own
                where = (across, slice(None), place, across)
                where = where if axis == 2 else (across, slice(None), across, place)
                spikes[where] = 4.0
            moved = twin.forward(spikes)[tuple(block)] != base[tuple(block)]
            if moved.any():
                seen.append(place)
        reach.append((margin - seen[0], seen[-1] - (margin + m - 1)))
    (top, bottom), (left, right) = reach
    return ReceptiveField((top, left), (bottom, right), m)


NARROW = {
    "simple": lambda: zoo.create("n2n-simple", features=2),
    "simple, nearest": lambda: zoo.create("n2n-simple", features=2, upsampling="nearest"),
    "prelu-unet, depth 2": lambda: zoo.create("n2n-prelu-unet", features=2, depth=2),
    "prelu-unet, separate": lambda: zoo.create(
        "n2n-prelu-unet", features=2, depth=2, share_blocks=False, stem_activation="relu"
    ),
    "dilated": lambda: Chain(Conv2d(1, 1, 3, padding=(2, 3), dilation=(2, 3)), ReLU()),
    "overlapping pools": pooled_chain,
    "dncnn": lambda: zoo.create("dncnn-s", features=2, depth=4),
    "dncnn, bias-free": lambda: zoo.create("bf-dncnn", features=2, depth=5),
    "dncnn, by deviations": lambda: zoo.create("pcst-dncnn", features=3, depth=4),
    "small unet": lambda: zoo.create("bf-unet", features=2),
    "small unet, residual": lambda: zoo.create("bf-unet", features=1, residual=True, bias=True),
    "recurrent": lambda: zoo.create("bf-rcnn", features=2, hidden=1, max_stage=3),
    "dense": lambda: zoo.create("bf-sdensenet", features=2, hidden=2, max_stage=2),
}


@pytest.mark.parametrize("name", NARROW)
def test_equals_brute_force(name):
    model = NARROW[name]()
    assert receptive_field(model) == probed(model)


def test_known_fields():
    def field(model):
        found = receptive_field(model)
        return found.before, found.after, found.size

    seventeen = Chain(*(Conv2d(1, 1, 3, padding=1) for _ in range(17)))
    assert field(seventeen) == ((17, 17), (17, 17), (35, 35))
    assert field(zoo.create("n2n-simple")) == ((0, 0), (0, 0), (4, 4))
    dilated = Chain(Conv2d(1, 1, 3, padding=(2, 3), dilation=(2, 3)))
    assert field(dilated) == ((2, 3), (2, 3), (5, 7))
    strided = Chain(Conv2d(1, 1, 2, stride=2), ConvTranspose2d(1, 1, 2, stride=2), multiple=2)
    assert field(strided) == ((0, 0), (0, 0), (2, 2))
    assert field(zoo.create("dncnn-s")) == ((17, 17), (17, 17), (35, 35))
    assert field(zoo.create("pcst-dncnn")) == ((20, 20), (20, 20), (41, 41))
    assert field(zoo.create("bf-unet")) == ((22, 22), (21, 21), (45, 45))
    assert field(zoo.create("bf-sdensenet")) == ((28, 28), (28, 28), (57, 57))


@pytest.mark.parametrize("name", ["dncnn-s", "bf-dncnn", "pcst-dncnn"])
def test_layers_of_the_positive_copy_average(name):
    """So a signal neither grows nor fades, however many layers there are."""
    twin = positive_copy(zoo.create(name, features=3, depth=12))
    noise = twin.residual(np.ones((1, twin.channels, 25, 25)))
    assert noise[0, 0, 12, 12] == pytest.approx(1, rel=1e-3)


def test_overlap_is_the_reach_rounded_up_to_the_grid():
    field = ReceptiveField(before=(0, 5), after=(4, 9), grid=4)
    assert field.halo == (0, 4, 8, 12)
    assert field.size == (8, 18)


def test_measuring_leaves_the_model_alone_and_is_kept():
    model = zoo.create("n2n-prelu-unet", features=2, depth=2, dtype=np.float32)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    first = receptive_field(model)
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
    assert model.training and model.dtype == np.float32
    assert receptive_field(zoo.create("n2n-prelu-unet", features=2, depth=2)) is first
    assert receptive_field(zoo.create("n2n-prelu-unet", features=2, depth=3)) is not first


def test_a_field_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("zoo.inference.receptive.LARGEST_STRIP", 64)
    chain = Chain(*(Conv2d(1, 1, 9, padding=4) for _ in range(9)))
    with pytest.raises(ValueError, match="exceeds 64 pixels"):
        receptive_field(chain)


def test_output_of_another_size_is_refused():
    class Half(Composite):
        channels, multiple = 1, 2

        def __init__(self):
            self.conv = Conv2d(1, 1, 2, stride=2)

        def wire(self, x):
            return self.conv(x)

    with pytest.raises(ValueError, match="Half: expected an output of height and width"):
        receptive_field(Half())
