"""What a recipe is made of: frozen dataclasses, each field with its unit and its meaning.

Every field has a plain type, so that a TOML file or `--set stages.0.optimiser.lr=0.1` can be
checked against it. A field that may be None has None as its default: in a file an absent key is
None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

Value = str | int | float | bool | list[int] | list[float] | list[str]
"""What a free argument (of a model or an objective) may hold in a TOML file."""

STORED = "stored"
"""In place of a noise law: the pictures of a file of pairs are noisy as they are."""


@dataclass(frozen=True)
class Optimiser:
    """SGD, Adam or Adamax with PyTorch's meaning of every argument; Keras' form of Adam, whose
    epsilon stands elsewhere (1e-7 by its default) and whose clock counts all steps of the stage.

    rates: factors on the learning rate of parts of the network, by name, such as `sigma_n = 10.0`;
    0 leaves a part as it is.
    clip: the largest norm of all gradients together; longer ones are made that long. None for any.
    """

    kind: Literal["sgd", "adam", "adamax", "keras-adam"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.0  # SGD
    nesterov: bool = False  # SGD
    weight_decay: float = 0.0
    betas: tuple[float, ...] = (0.9, 0.999)  # Adam, Adamax
    eps: float = 1e-8  # Adam, Adamax
    rates: dict[str, float] = field(default_factory=dict)
    clip: float | None = None


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes, from `optimiser.lr` on.

    constant: never. plateau: times `factor` when the validation metric has not improved for more
    than `patience` validations. ramp-down: lr * (0.5 + 0.5 cos(pi u))^2, u from 0 to 1 over the
    last `fraction` of the steps. cosine: from lr to min_lr over all steps. warm_up: the first
    steps, in which the rate of any kind is entered linearly. multi-step: times `factor` at each of
    the `milestones`, which are shares of the stage, 0 to 1. exponential: lr * factor^(step /
    period), without stairs.
    """

    kind: Literal["constant", "plateau", "ramp-down", "cosine", "multi-step", "exponential"] = (
        "constant"
    )
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0
    fraction: float = 0.3
    milestones: tuple[float, ...] = ()
    warm_up: int = 0
    period: int = 1000  # steps


@dataclass(frozen=True)
class Sampler:
    """Where training pairs come from: random crops of the photographs, seen twice through `noise`.

    noise: a law such as "gaussian:0-55" (units of 1/255) or "subpixel:8" (each pixel is one drawn
    from an 8x8 block of a larger crop); the clean picture comes with it. "stored": whole pictures
    of a file of pairs, noisy as they are (`Recipe.data` is the file).
    scales: each picture is there at each of these sizes, 1 being its own, so that the network sees
    coarser and finer texture.
    pairs: number of different pairs to draw before they come again; None for never. Of stored
    pairs the first so many at most; None for all.
    """

    noise: str = "subpixel:8"
    size: int = 32  # pixels, height and width of what the network sees
    pairs: int | None = None
    scales: tuple[float, ...] = (1.0,)
    augment: bool = False  # flips and turns, the same for input and target
    gray: float = 0.0  # share of the pairs that are gray, with the same noise in all channels
    recolour: bool = False  # other black and white points for every second crop
    swap: bool = False  # noise2noise: exchange input and target at random
    shuffle: bool = False  # stored pairs: another order in every epoch


@dataclass(frozen=True)
class PatchCraft:
    """How bursts of noisy frames become training pairs; the defaults are those published for
    synthetic noise. See `zoo.patch_craft`.

    The frames are those of the bursts in `Recipe.data`, noisy as they are where the sampler's noise
    is "stored"; else they are clean, and its law is added to each. With `synthetic`, so many bursts
    are made of the photographs in `data`: shifted and turned crops. Tiles have the sampler's size.

    filter: leave out the pairs whose target does not fit (`std_num`, `bins` set the threshold).
    """

    patch: int = 33  # pixels, side of a patch
    reach: int = 37  # pixels, the largest displacement that is searched
    skip: int = 1  # pixels between displacements
    second: int | None = None  # reach of a second search with step 1
    stride: int = 30  # pixels between tiles
    copies: int = 1  # augmented copies of a tile
    frames: int = 7
    replicate: bool = False  # every frame of a burst is the input once, not the middle one alone
    images: int | None = None  # patch-craft images that the statistics look at; None for all
    filter: bool = True
    bins: int = 50_001
    std_num: float = 3.0
    strict_official: bool = False  # lose the tiles that the published training lost
    synthetic: int | None = None
    size: int = 230  # pixels, height and width of a synthetic frame
    shift: int = 4  # pixels
    rotation: float = 0.0  # degrees
    hard: float = 0.0  # share of the bursts whose other frames show another place


@dataclass(frozen=True)
class Likelihood:
    """How the objectives `blind-spot` and `blind-spot-sigma` weigh the noise.

    noise_reward: r of `MAPLoss` (gray, loss "map"): r sqrt(sigma_n) is taken off the loss, so that
    of two splits of the variance the one with more noise wins. The authors' code mentions 0.1, and
    runs without.
    minimum: the least determinant of a covariance that the logarithm takes (colour); 1e-6 in the
    authors' code, below which lies all noise of less than 25 of 255.
    measure_noise (`blind-spot-sigma`): the level of the noise begins, whatever the first weights,
    at how far the pixels of the first batch lie from mu, noise and error together.
    """

    noise_reward: float = 0.0
    minimum: float = 1e-18
    measure_noise: bool = False


@dataclass(frozen=True)
class Elbo:
    """How the objective `elbo` weighs what a clean picture leaves of the noisy one, and what its
    latent maps cost.

    noise_std: standard deviation of the noise in units of 1/255, for the loss "gaussian"; 0 takes
    that of the pictures. free_bits: nats that each map of each picture has free. analytical_kl:
    the divergence exactly, else from the sample. annealing: share of the stage over which the
    weight of the divergence rises from 0 to 1.
    collapse: divergence, in nats for a pixel, below which training begins anew with other weights:
    the latent map is not used and will not be; 0 for never. restarts: how often that may happen;
    after that, as often again, the divergence is annealed.
    """

    noise_std: float = 25.0
    free_bits: float = 0.0
    analytical_kl: bool = True
    annealing: float = 0.0
    collapse: float = 0.0
    restarts: int = 20


@dataclass(frozen=True)
class Patches:
    """How pictures become the patches that the objectives `patch-*` learn from.

    Each picture is seen whole through the sampler's law, then cut into patches as the network cuts
    it; the patches of all pictures are shuffled anew in every epoch. With the noise "stored" the
    data is a folder of pairs (`zoo.data.paired_files`).
    draws: how often noise is drawn for a picture; the epochs take them in turn.
    crop: side of the middle of each picture that is used, in pixels; None for all of it.
    """

    draws: int = 1
    crop: int | None = None


@dataclass(frozen=True)
class Subspace:
    """How the objectives `patch-*` weigh their terms.

    temperature: of the contrastive loss (0.1), in `patch-experts` the lowest one (0.25); None for
    these. kld_weight: of the divergence over the channels of a pixel; 0 takes off a brightening of
    1.5 grey levels. classifier_input: what the classifier is trained on. prior_weight: of the
    divergence from the prior. balance: of the divergence of the batch's clusters from equal shares.
    joint: in `patch-experts` the encoder learns too; rounds: how strictly its decoders get equal
    shares of each batch, 0 for not at all. l1, l2: penalty on the convolutions' weights,
    0.01 both in the authors' code, which does not use it.
    """

    temperature: float | None = None
    kld_weight: float = 1.0
    classifier_input: Literal["reconstruction", "noisy"] = "reconstruction"
    prior_weight: float = 0.01
    balance: float = 0.0
    joint: bool = False
    rounds: int = 3
    l1: float = 0.0
    l2: float = 0.0


@dataclass(frozen=True)
class Stage:
    """One stretch of training: an objective, its data, its optimiser.

    batch images a step, computed as `micro_batches` equal parts whose gradients are added.
    statistics: what batch norms divide by: those of the batch, or their running ones, which then
    stay as they are. The second suits a start that is to be adapted: the network that is trained is
    the one that will be used, and no step is lost on finding it again.
    """

    steps: int
    objective: str = "noise2noise"
    loss: Literal[
        "mse",
        "half_squared_error",
        "l1",
        "l0",
        "masked_mse",
        "map",
        "dbsn",
        "gaussian",
        "noise-model",
        "sum",
        "mean",
        "reconstruction",
        "cross_entropy",
        "gated",
    ] = "mse"
    batch: int = 32
    micro_batches: int = 1
    statistics: Literal["batch", "running"] = "batch"
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    sampler: Sampler = Sampler()
    likelihood: Likelihood = Likelihood()
    elbo: Elbo = Elbo()
    subspace: Subspace = Subspace()
    log_every: int = 25  # steps


@dataclass(frozen=True)
class Validation:
    """How often the network is judged, and on what: tiles of pictures kept out of training.

    noise: the law used on the tiles; None for the sampler's own.
    metric: what schedule, best weights and patience go by: the MSE, or for the objective `elbo`
    its loss on the noisy tiles, which needs no clean ones.
    patience: validations without a new best after which training ends; None for never.
    weights: which weights become model.safetensors, the last or those of the best validation.
    """

    every: int = 125  # steps
    images: int = 200
    size: int | None = None  # pixels; None for the sampler's
    noise: str | None = None
    seed: int = 1
    batch: int = 100
    weights: Literal["last", "best"] = "last"
    metric: Literal["mse", "loss"] = "mse"
    patience: int | None = None


@dataclass(frozen=True)
class Checkpoints:
    """How often the state of training is saved; the last two are kept."""

    every: int = 500  # steps


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a training run.

    patch_craft: how bursts become pairs, for the objective of that name.
    patches: how pictures become patches, for the objectives `patch-*` of `psl-ae`.
    model, model_args: name and constructor arguments of the network.
    data: folder of pictures, or file of stored pairs; None for the bundled photographs.
    start: weights that training begins with: a file, a run folder, or the name of bundled weights;
    None for random ones.
    teacher: weights of the blind-spot network that the objective `distillation` learns from, named
    in the same ways.
    noise_model: file of the noise model that the loss "noise-model" takes.
    """

    name: str
    model: str
    stages: tuple[Stage, ...]
    model_args: dict[str, Value] = field(default_factory=dict)
    description: str = ""
    seed: int = 0
    data: str | None = None
    start: str | None = None
    teacher: str | None = None
    noise_model: str | None = None
    dtype: Literal["float32", "float64"] = "float32"
    patch_craft: PatchCraft | None = None
    patches: Patches | None = None
    validation: Validation = Validation()
    checkpoint: Checkpoints = Checkpoints()

    @property
    def steps(self) -> int:
        """Optimiser steps over all stages."""
        return sum(stage.steps for stage in self.stages)

    def with_weights(self, change: Callable[[str], str]) -> Recipe:
        """The recipe with the names of weights, as far as it has any, changed."""
        start, teacher, noise_model = (
            None if name is None else change(name)
            for name in (self.start, self.teacher, self.noise_model)
        )
        return replace(self, start=start, teacher=teacher, noise_model=noise_model)

    @property
    def stored_pairs(self) -> bool:
        """Whether it learns from a file of pairs that are noisy as they are."""
        return any(stage.sampler.noise == STORED for stage in self.stages)
