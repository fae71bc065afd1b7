"""Recipes: TOML and back, settings by path, messages for what is wrong."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from zoo import recipes
from zoo.recipes import Recipe, RecipeError, Stage, schema
from zoo.recipes.check import check
from zoo.recipes.config import first_difference
from zoo.training import parts

NAMES = recipes.list_recipes()


@pytest.fixture
def demo() -> Recipe:
    return recipes.get("n2n-demo")


@pytest.mark.parametrize("name", NAMES)
def test_toml_and_back(name: str) -> None:
    recipe = recipes.get(name)
    text = recipes.to_toml(recipe)
    assert recipes.from_toml(text) == recipe
    assert recipes.to_toml(recipes.from_toml(text)) == text
    assert tomllib.loads(text)["name"] == name


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_can_be_run(name: str, tmp_path: Path) -> None:
    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipe.description
    if recipe.patch_craft is not None and recipe.patch_craft.synthetic is None:
        with pytest.raises(RecipeError, match="data: expected a folder of bursts"):
            check(recipe)
        recipe = dataclasses.replace(recipe, data=str(tmp_path))
    if recipe.patches is not None and recipe.stored_pairs:
        with pytest.raises(RecipeError, match="data: expected a folder of pairs of pictures"):
            check(recipe)
        recipe = dataclasses.replace(recipe, data=str(tmp_path))
    if recipe.stages[0].objective == "distillation":
        with pytest.raises(RecipeError, match="teacher: distillation needs the weights"):
            check(recipe)
        recipe = dataclasses.replace(recipe, teacher="runs/dbsn")
    if recipe.stages[0].sampler.noise == "stored" and recipe.stages[0].objective == "elbo":
        with pytest.raises(RecipeError, match="needs a file of pairs as data"):
            check(recipe)
        recipe = dataclasses.replace(recipe, data=str(tmp_path))
        with pytest.raises(RecipeError, match="noise_model: the loss 'noise-model' needs a file"):
            check(recipe)
        recipe = dataclasses.replace(recipe, noise_model="camera.safetensors")
    check(recipe)


def test_a_field_that_may_be_none_is_none_by_default() -> None:
    # An absent key means None in a file, so no other default is possible.
    kinds = [k for k in vars(schema).values() if dataclasses.is_dataclass(k)]
    assert len(kinds) >= 7
    for kind in kinds:
        hints = get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if type(None) in get_args(hints[field.name]):
                assert field.default is None, (kind, field.name)


def test_names_by_pattern() -> None:
    assert "n2n-demo" in NAMES
    assert recipes.list_recipes("n2n-*unet") == ["n2n-prelu-unet", "n2n-unet"]
    assert recipes.list_recipes("nothing*") == []


def test_from_a_file(tmp_path, demo) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(recipes.to_toml(demo), encoding="utf-8")
    assert recipes.get(path) == demo
    assert recipes.get(str(path)) == demo


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("seed=7", "seed", 7),
        ("stages.0.optimiser.lr=1", "stages.0.optimiser.lr", 1.0),
        ("stages.0.optimiser.betas=[0.5, 0.9]", "stages.0.optimiser.betas", (0.5, 0.9)),
        ("stages.0.optimiser.betas.1=0.5", "stages.0.optimiser.betas.1", 0.5),
        ("stages.0.sampler.noise=gaussian:25", "stages.0.sampler.noise", "gaussian:25"),
        ('stages.0.sampler.noise="gaussian:25"', "stages.0.sampler.noise", "gaussian:25"),
        ("stages.0.sampler.augment = true", "stages.0.sampler.augment", True),
        ("stages.0.sampler.pairs=none", "stages.0.sampler.pairs", None),
        ('stages.0.sampler={noise="brown:3"}', "stages.0.sampler.noise", "brown:3"),
        ("model_args.features=8", "model_args.features", 8),
        ("model_args.offset=0.5", "model_args.offset", 0.5),
        ("data=2026-01-01", "data", "2026-01-01"),
        ("data=a=b", "data", "a=b"),
        ("data=1\nseed=2", "data", "1\nseed=2"),
    ],
)
def test_setting(demo, setting, field, value) -> None:
    changed = recipes.override(demo, [setting])
    found = changed
    for key in field.split("."):
        if isinstance(found, dict):
            found = found[key]
        else:
            found = found[int(key)] if key.isdecimal() else getattr(found, key)
    assert found == value
    assert type(found) is type(value)
    assert recipes.from_toml(recipes.to_toml(changed)) == changed


def test_settings_apply_in_order(demo) -> None:
    assert recipes.override(demo, ["seed=1", "seed=2"]).seed == 2
    assert recipes.override(demo, []) is demo


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sed=1", r"sed: unknown key, nearest is 'seed' \(known: checkpoint, "),
        ("stages.0.optimiser.lrr=1", "stages.0.optimiser.lrr: unknown key, nearest is 'lr'"),
        ("seed=2.5", "seed: expected an integer, got 2.5"),
        ("seed=true", "seed: expected an integer, got True"),
        ("seed=none", "seed: expected an integer, got 'none'"),
        ("stages.0.optimiser.lr=fast", "lr: expected a number, got 'fast'"),
        ("stages.0.optimiser.nesterov=1", "nesterov: expected true or false, got 1"),
        ("stages.0.sampler.noise=25", "noise: expected a string, got 25"),
        ("stages.0.sampler.pairs=x", "pairs: expected an integer or none, got 'x'"),
        ("stages.0.optimiser.betas=[1, x]", "betas: expected a list of"),
        ("stages.0.optimiser.betas=['x']", "betas.0: expected a number, got 'x'"),
        ("stages.0.loss=mze", "loss: expected one of 'mse', .*; nearest is 'mse'"),
        ("stages.1.loss=mse", "stages.1: expected an index from 0 to 0, got '1'"),
        ("stages.x.loss=mse", "stages.x: expected an index from 0 to 0, got 'x'"),
        ("stages.0.steps.x=1", "stages.0.steps is a single value and has no parts"),
        ("model_args=8", "model_args: expected a table, got 8"),
        ("model_args.a={b=1}", "model_args.a: expected a string or an integer"),
        ("stages.0={}", "stages.0.steps: missing, it has no default"),
        ("seed", "setting 'seed': expected PATH=VALUE"),
        ("=1", "expected PATH=VALUE"),
        ("a..b=1", "expected PATH=VALUE"),
    ],
)
def test_wrong_setting(demo, setting, message) -> None:
    with pytest.raises(RecipeError, match=message):
        recipes.override(demo, [setting])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "mine.toml: not a TOML file"),
        ('name = "a"\nmodel = "b"', "mine.toml: stages: missing, it has no default"),
        ('nam = "a"', "mine.toml: nam: unknown key, nearest is 'name'"),
        ('name = "a"\nmodel = "b"\n[[stages]]\nsteps = "x"', "stages.0.steps: expected an integer"),
        ("name = 3", "mine.toml: name: expected a string, got 3"),
    ],
)
def test_wrong_file(tmp_path, text, message) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        recipes.get(path)


def test_no_such_recipe(tmp_path) -> None:
    with pytest.raises(RecipeError, match="unknown recipe 'n2n-dem': nearest are n2n-demo"):
        recipes.get("n2n-dem")
    with pytest.raises(RecipeError, match="none.toml: cannot read the recipe"):
        recipes.get(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="bytes.toml: cannot read the recipe"):
        recipes.get(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model=n2n-simpel", "^model: no network is called 'n2n-simpel'.*n2n-simple"),
        ("model_args.features=x", "^model_args.features: expected an integer, got 'x'"),
        ("model_args.features=true", "^model_args.features: expected an integer, got True"),
        ("model_args.init=xaviar", "^model_args.init: expected one of 'native', 'xavier'"),
        ("model_args.feature=3", "^model_args.feature: unknown key, nearest is 'features'"),
        ("model_args.rng=3", "^model_args.rng: unknown key"),
        ("stages=[]", "stages: expected at least one stage"),
        ("stages.0.steps=0", "stages.0.steps: expected at least 1, got 0"),
        ("stages.0.micro_batches=5", "micro_batches: expected a divisor of the batch of 32"),
        ("stages.0.objective=noise2nois", "stages.0.objective: expected one of noise2noise"),
        ("stages.0.sampler.noise=gausian:3", "stages.0.sampler.noise: .*'gaussian'"),
        ("validation.noise=gaussian:x", "validation.noise: "),
        ("stages.0.optimiser.lr=-1", "lr: expected a finite number of at least 0, got -1"),
        ("stages.0.optimiser.lr=nan", "lr: expected a finite number of at least 0, got nan"),
        ("stages.0.optimiser.betas=[0.9]", "betas: expected two numbers"),
        ("stages.0.schedule.factor=1.5", "schedule.factor: expected more than 0 and less than 1"),
        ("stages.0.schedule.fraction=2", "schedule.fraction: expected 0 to 1"),
        ("stages.0.schedule.milestones=[0.5,2]", "milestones.1: expected a share.*got 2"),
        ("stages.0.sampler.scales=[]", "sampler.scales: expected sizes from 0.1 to 1"),
        ("stages.0.sampler.scales=[1.0,3.0]", "sampler.scales: expected sizes from 0.1 to 1"),
        ("stages.0.schedule.min_lr=-3", "schedule.min_lr: expected a finite number of at least 0"),
        ("stages.0.schedule.cooldown=-3", "schedule.cooldown: expected a finite number of at"),
        ("stages.0.schedule.threshold=nan", "schedule.threshold: expected a finite number of at"),
        ("stages.0.optimiser.eps=-1", "optimiser.eps: expected a finite number of at least 0"),
        ("stages.0.sampler.gray=2", "sampler.gray: expected 0 to 1, got 2"),
        ("checkpoint.every=0", "checkpoint.every: expected at least 1"),
        ("seed=-1", "seed: expected a finite number of at least 0"),
    ],
)
def test_recipe_that_cannot_be_run(demo, setting, message) -> None:
    with pytest.raises(RecipeError, match=message):
        check(recipes.override(demo, [setting]))


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("n2n-unet", {"out_channels": 1}, "n2n-unet takes 3 channels and gives 1"),
        ("n2n-prelu-unet", {"depth": 1}, "model_args: .*depth: expected at least 2, got 1"),
        ("n2n-simple", {"features": 0}, "model_args: "),
    ],
)
def test_arguments_that_do_not_go_together(model, arguments, message, demo) -> None:
    recipe = dataclasses.replace(demo, model=model, model_args=arguments)
    check(recipe)
    with pytest.raises(RecipeError, match=message):
        parts.network(recipe)


def test_published_number_of_steps() -> None:
    stage = recipes.get("n2n-simple").stages[0]
    assert stage.steps == 5 * -(-50_000 // stage.batch)


def test_the_first_difference_is_told(demo) -> None:
    changed = recipes.override(demo, ["validation.noise=gaussian:3", "stages.0.batch=8"])
    assert first_difference(demo, demo) == ""
    assert first_difference(demo, changed) == "stages.0.batch: 32 -> 8"
    assert first_difference(changed, demo) == "stages.0.batch: 8 -> 32"
    changed = recipes.override(demo, ["validation.noise=gaussian:3"])
    assert first_difference(demo, changed) == "validation.noise: none -> gaussian:3"


def test_exchanging_needs_noisy_targets(demo) -> None:
    stage = Stage(steps=1, objective="noise2clean", sampler=schema.Sampler(swap=True))
    with pytest.raises(RecipeError, match="swap: only noise2noise"):
        check(dataclasses.replace(demo, stages=(stage,)))
