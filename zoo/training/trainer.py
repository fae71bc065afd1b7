"""The one training loop: it owns time, log, schedule, validation and checkpoints.

Everything that decides the outcome is a function of the recipe and the step number, so a run that
is killed and resumed passes through the same numbers, bit for bit, as one that is not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.backend import module_for, to_device, to_host
from minigrad.replay import noises
from zoo import registry
from zoo.machine import differences, environment
from zoo.objectives.base import Batch, split
from zoo.progress import Progress
from zoo.recipes.config import first_difference, from_toml, to_toml
from zoo.recipes.schema import Recipe
from zoo.training import parts, watch
from zoo.training.ahead import Ahead
from zoo.training.contents import change
from zoo.training.disk import TrainError, disk
from zoo.training.feeds import feed
from zoo.training.judging import judge_all, judge_noisy
from zoo.training.position import Position
from zoo.training.run import Found, Run


class Trainer:
    """A recipe trained on one device, in one run folder (`run`, set before `fit`)."""

    run: Run

    def __init__(self, recipe: Recipe, device: str, progress: Progress) -> None:
        """Make the network and read the pictures; nothing is written.

        Raises RecipeError, and what the network and the readers raise for wrong arguments.
        """
        self.recipe, self.device, self.progress = recipe, device, progress
        self.xp = module_for(device)
        self.environment = environment(device)
        self.network = parts.network(recipe).to(device)
        self.teacher = parts.teacher(recipe)
        parts.check_stages(recipe, self.network, self.teacher)
        self.feed = feed(recipe, self.network)
        self.validation = self.feed.validation
        parts.take_scale(recipe, self.network, self.feed.batches(0))
        self.position = Position()
        self.kept: dict[str, float] = {}  # metrics of the weights that were written, with "step"
        self.saved = -1  # step of the newest checkpoint
        self.whole = True  # between two steps: what is in memory is a state to go on from
        self.changed = ""  # what differs from the machine of the checkpoint
        self.begun = time.monotonic()
        self._start_stage(0)

    def begin(self) -> None:
        """Take up the weights that the recipe starts from; a run that is resumed has its own.

        Raises RecipeError where they cannot be had.
        """
        told = parts.take_start(self.recipe, self.network)
        if told:
            self.progress.say(told)
        self._begin_stage()

    # --- stages -------------------------------------------------------------------------------

    def _start_stage(self, number: int) -> None:
        """Objective, optimiser, schedule and data of a stage, all fresh; the network goes on."""
        self.number = number
        self.stage = stage = self.recipe.stages[number]
        self.first = sum(s.steps for s in self.recipe.stages[:number])
        again = self.position.restarts
        self.objective = parts.objective(self.recipe, number, self.network, self.teacher, again)
        self.objective.astype(self.recipe.dtype).to(self.device)
        parts.choose_statistics(stage, self.network)
        self.optimiser, self.factors = parts.optimiser(stage, self.objective.trained())
        self.schedule = parts.schedule(stage)
        self.batches = Ahead(self.feed.batches(number))
        self._clear_watch()

    def _begin_stage(self) -> None:
        """What the objective does before its first step; a resumed stage has that behind it."""
        self.objective.begin(self.feed.batches(self.number))

    def _clear_watch(self) -> None:
        # Of the objective's outputs since the last log line.
        self.total = self.xp.zeros(len(self.objective.logged), np.float64)
        self.bad = self.xp.zeros((), np.int64)  # first step whose loss was not finite, 0 for none
        self.least = self.xp.full((), np.inf)  # of the divergences, where a collapse is looked for

    def _stage_at(self, step: int) -> int:
        """The number of the stage that the step after `step` steps belongs to."""
        ends = np.cumsum([stage.steps for stage in self.recipe.stages])
        return min(int(np.searchsorted(ends, step, side="right")), len(ends) - 1)

    # --- the loop -----------------------------------------------------------------------------

    def fit(self, stop: Callable[[], bool]) -> str:
        """Train to the end, or until `stop()` says so; returns "finished" or "stopped".

        An exception between two steps leaves a checkpoint too, unless numbers are not finite.
        """
        try:
            # Numbers that overflow are found by `_stop_if_bad`, which names step and layer.
            with np.errstate(all="ignore"):
                if self.position.step == 0 and not self.position.before:
                    self.whole = False
                    self._validate(record=True)
                    self.whole = True
                    self._save()
                self._prepare(stop)
                while not self.over and not stop():
                    self._advance(record=True)
                self._save_if_new()
                self._finish()
        except BaseException:
            with contextlib.suppress(TrainError):  # the first cause is the one to tell
                if self.whole and self._first_bad() == 0:
                    self._save_if_new()
            raise
        finally:
            self.progress.stop()
            self.batches.close()
        return "finished" if self.over else "stopped"

    @property
    def over(self) -> bool:
        """Whether the last step is done, or nothing has improved for too long."""
        return self.position.ended or self.position.step == self.recipe.steps

    def _prepare(self, stop: Callable[[], bool]) -> None:
        """Have the feed do what comes before the first batch; the log tells it once."""
        told = self.feed.prepare(self.run.folder, self.progress, stop)
        if told is not None and self.position.step == 0:
            self.run.log.write(self._line("targets", **told))
        self.progress.start(self.recipe.steps, self.position.step)

    def _advance(self, record: bool) -> None:
        """One step, and whatever is due after it; `record` False writes nothing."""
        number = self._stage_at(self.position.step)
        if number != self.number:
            self.whole = False
            self.batches.close()
            self._start_stage(number)
            self._begin_stage()
            self.whole = record
        stage, local = self.stage, self.position.step - self.first
        micro = self._parts(local)
        images = sum(len(part[0]) for part in micro)
        self.whole = False
        self.rate = self.schedule.lr(local)
        for group, factor in zip(self.optimiser.groups, self.factors, strict=True):
            group["lr"] = factor * self.rate
        self.objective.anneal(local / stage.steps)
        for noise in noises(self.objective):  # a draw hangs on the step, not on the draws before it
            noise.at(self.position.step)
        outputs = self.objective.training_step(micro, self.optimiser)
        self.position.step += 1
        self.position.images += images
        loss, step = outputs[0], self.position.step
        self.total += self.xp.stack(outputs)
        if stage.elbo.collapse:
            self.least = self.xp.minimum(self.least, outputs[self.objective.logged.index("kl")])
        self.bad = self.xp.where((self.bad == 0) & ~self.xp.isfinite(loss), step, self.bad)
        local += 1
        ends = local == stage.steps
        if local % stage.log_every == 0 or ends:
            self._log(local, record)
            if record and stage.elbo.collapse and float(self.least) < stage.elbo.collapse:
                self._begin_again()
                return
        if local % self.recipe.validation.every == 0 or ends:
            self._validate(record)
        self.whole = record
        if record:
            self.progress.step(step, images)
            if step % self.recipe.checkpoint.every == 0:
                self._save()

    def _begin_again(self) -> None:
        """From the first step with other weights, since the latent map has fallen out of use.

        Raises TrainError: it has done so too often.
        """
        position, limit = self.position, self.stage.elbo.restarts
        if position.restarts >= 2 * limit:
            raise TrainError(f"{self.run.folder}: the latents fell out of use {2 * limit} times")
        self.progress.say(f"step {position.step}: the latents are out of use; beginning anew")
        self.run.log.write(self._line("restart", kl=float(self.least)))
        self.run.forget_checkpoints()
        self.batches.close()
        position.begin_again()
        fresh = parts.network(self.recipe, position.restarts).to(self.device)
        self.network.load_state_dict(fresh.state_dict())
        self._start_stage(0)
        self.whole = True
        self._save()

    def _parts(self, local: int) -> list[Batch]:
        batch = self.batches(local, last=local + 1 == self.stage.steps)
        arrays = tuple(to_device(array, self.device) for array in batch)
        return split(arrays, self.stage.micro_batches)

    def _log(self, local: int, record: bool) -> None:
        """One line: the mean loss, and what else the objective tells, since the line before."""
        since = (local - 1) % self.stage.log_every + 1
        means = (to_host(self.total) / since).tolist()
        told = dict(zip(self.objective.logged, means, strict=True))
        self.total = self.xp.zeros_like(self.total)
        if not record:
            return
        self._stop_if_bad()
        self.run.log.write(self._line("train", **told, lr=self.rate))
        self.run.timing.write(self._time("train"))
        self.progress.show(loss=told["loss"])

    def _judge(self) -> dict[str, float]:
        return judge_all(self.objective, self.validation, self.recipe.validation.batch)

    def _validate(self, record: bool) -> None:
        """Judge the network on the validation set and tell the schedule."""
        if record:
            self._stop_if_bad()
        found = self._judge()
        position = self.position
        if not position.before:
            position.before = judge_noisy(self.validation)
            self._note(record, "noisy", position.before)
        self._note(record, "validation", found)
        if position.step == 0:
            position.after = found
            return
        how = self.recipe.validation
        self.schedule.observe(found[how.metric])
        if position.note(found, how) and record and how.weights == "best":
            self._write_weights(found)

    def _note(self, record: bool, kind: str, values: dict[str, float]) -> None:
        if record:
            self.run.log.write(self._line(kind, **values))
            self.run.timing.write(self._time(kind))
            self.progress.show(psnr=values.get("psnr_images"))

    def _line(self, kind: str, **values: Any) -> dict[str, Any]:
        where = {"step": self.position.step, "images": self.position.images}
        return {"kind": kind, "stage": self.number, **where, **values}

    def _time(self, kind: str) -> dict[str, Any]:
        where = {"step": self.position.step, "images": self.position.images}
        return {"kind": kind, **where, "seconds": round(time.monotonic() - self.begun, 3)}

    # --- files --------------------------------------------------------------------------------

    def _save_if_new(self) -> None:
        if self.position.step != self.saved:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint, unless a number in it is not finite: then stop."""
        self._stop_if_bad()
        arrays = {f"objective.{k}": v for k, v in self.objective.state_dict().items()}
        arrays |= {f"optimiser.{k}": v for k, v in self.optimiser.state_dict().items()}
        arrays["loop.total"] = self.total
        state = {
            **vars(self.position),
            "stage": self.number,
            "least": min(float(self.least), 1e300),  # not infinite: checkpoints hold numbers
            "seed": self.recipe.seed,
            "schedule": self.schedule.state_dict(),
            "recipe": to_toml(self.recipe),
            "pictures": self.feed.contents,
            "environment": self.environment,
        }
        self.run.save(self.position.step, arrays, state)
        self.saved = self.position.step

    def resume(self, found: Found) -> None:
        """Go on from a checkpoint, and cut the logs to it.

        Raises TrainError, before anything is changed, when the recipe or the pictures are not
        those of the checkpoint.
        """
        self._require_same(found.state)
        for line in self.run.take_up(found):
            self.progress.say(line)
        self._restore(found)

    def _require_same(self, state: dict[str, Any]) -> None:
        """The recipe and the contents of the pictures, wherever these are now."""
        then = from_toml(state["recipe"], "the checkpoint's recipe")
        own = self.recipe
        files = ("data", "start", "teacher", "noise_model")
        moved = dataclasses.replace(then, **{name: getattr(own, name) for name in files})
        told = first_difference(moved, self.recipe)
        if told:
            raise TrainError(
                f"{self.run.config}: changed since the checkpoint of step {state['step']}: {told}; "
                f"train by it into a new folder: zoo train {self.run.config} --out NEW",
                exit_code=2,
            )
        told = change(state.get("pictures") or self.feed.contents, self.feed.contents)
        if told:
            where = self.recipe.data or "the bundled photographs"
            raise TrainError(
                f"{self.run.folder}: the pictures in {where} are not those of the checkpoint of "
                f"step {state['step']}: {told}",
                exit_code=2,
            )

    def _restore(self, found: Found) -> None:
        arrays, state = found.arrays, found.state
        self.batches.close()
        self.position = Position.of(state)
        self._start_stage(state["stage"])
        self.objective.load_state_dict(_under("objective", arrays))
        self.optimiser.load_state_dict(_under("optimiser", arrays))
        self.schedule.load_state_dict(state["schedule"])
        self.total = to_device(arrays["loop.total"].reshape(-1), self.device)
        self.least = self.xp.full((), state.get("least", np.inf))
        self.saved = self.position.step
        self.changed = differences(state["environment"], self.environment)

    def _finish(self) -> None:
        """Write the weights of the last step, unless those of the best one are there already."""
        best = self.position.best
        if self.recipe.validation.weights == "best" and best and self.run.weights.exists():
            self.kept = dict(best)
            return
        # Where a run was stopped no validation is due, and so none is logged.
        self._write_weights(self.position.after if self.over else self._judge())

    def _write_weights(self, judged: dict[str, float]) -> None:
        """Write model.safetensors for `zoo.load`; `judged`: the metrics of these very weights."""
        position, recipe = self.position, self.recipe
        self.objective.ready()
        named = recipe.with_weights(lambda path: Path(path).name)
        named = dataclasses.replace(named, data=recipe.data and Path(recipe.data).name)
        text = {
            "noise": self.stage.sampler.noise,
            "recipe": to_toml(named),
            "step": str(position.step),
            "images": str(position.images),
            "validation_step": str(position.step),
            **{f"validation_{name}": f"{value:.6g}" for name, value in judged.items()},
        }
        with disk(self.run.weights):
            registry.save(self.run.weights, self.network, text)
        self.kept = {**judged, "step": position.step}

    # --- numbers that are not finite ----------------------------------------------------------

    def _first_bad(self) -> int:
        """The first step whose loss is not finite or, by the parameters, will not be; else 0."""
        if bad := int(self.bad):
            return bad
        values = [p.value for p in self.network.parameters()]
        good = all(watch.all_finite(value) for value in values)
        return 0 if good else self.position.step + 1

    def _stop_if_bad(self) -> None:
        """Stop when a loss or a parameter is not finite, naming the step and the layer."""
        bad = self._first_bad()
        if bad:
            self.whole = False
            raise TrainError(f"{self.run.folder}: {self._diagnosis(bad)}")

    def _diagnosis(self, bad: int) -> str:
        """Go back to the newest checkpoint, train up to the bad step and look into it."""
        self.progress.say(f"the loss of step {bad} is not finite; looking for the layer")
        stage, found = self.number, self.run.newest()
        if found is None:
            return f"step {bad}: the loss is not finite"
        self._restore(found)
        while self.position.step < bad - 1:
            self._advance(record=False)
        if self._stage_at(self.position.step) != self.number:
            self._start_stage(stage)
            self._begin_stage()
        local = self.position.step - self.first
        self.objective.anneal(local / self.stage.steps)
        cause = watch.find(self.objective, self._parts(local))
        return (
            f"step {bad}: the loss is not finite; first not finite: {cause}. "
            f"The checkpoint of step {self.saved} is good, and would come to the same. Train with "
            f"a lower rate: zoo train {self.run.config} --out NEW "
            f"--set stages.{self.number}.optimiser.lr={self.stage.optimiser.lr / 10:g}"
        )


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    start = prefix + "."
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
