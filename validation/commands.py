"""What each command of `python -m validation` does. Each returns whether something failed."""

from __future__ import annotations

import sys
import tomllib
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from validation.report import Case, UsageError, table, to_json

DOCS = Path(__file__).resolve().parent.parent / "docs"


def show(cases: Sequence[Case], as_json: bool) -> bool:
    """Print the cases; returns whether one of them failed.

    Raises:
        UsageError: there are none: the pattern of `--only` matches nothing.
    """
    if not cases:
        raise UsageError("--only: no case of that name")
    if as_json:
        print(to_json(cases))
    else:
        Console().print(table(cases))
    return any(case.passed is False for case in cases)


def layers(options: Namespace) -> bool:
    """Every layer and loss against PyTorch; on a GPU also NumPy against CuPy."""
    from minigrad import resolve_device
    from validation.compare_devices import run_devices
    from validation.compare_layers import run_layers

    device = resolve_device(options.device)
    cases = run_layers(options.only, options.examples, options.seed, _say_aside)
    if device == "cuda":
        cases += run_devices(options.only, _say_aside)
    return show(cases, options.json)


def certify_own(options: Namespace) -> bool:
    """A layer of one's own."""
    from validation.certify import certify, load_object

    twin = load_object(options.twin, "--twin") if options.twin else None
    layer, arguments = load_object(options.layer, "certify"), _arguments(options.set)
    cases = certify(
        layer,
        options.input,
        arguments,
        twin=twin,
        bounds=tuple(options.range) if options.range else None,
        linear=options.linear,
        constant=options.constant,
        examples=options.examples,
        seed=options.seed,
        say=_say_aside,
    )
    return show(cases, options.json)


def _arguments(texts: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts as constructor arguments; VALUE is a TOML value, else a string."""
    arguments = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--set: expected KEY=VALUE, got {text!r}")
        try:
            found = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found = value
        arguments[key] = tuple(found) if isinstance(found, list) else found
    return arguments


def mutate(options: Namespace) -> bool:
    """Planted faults, and the checks that see them."""
    from validation.mutate import run_mutate

    return show(run_mutate(options.only, _say_aside), options.json)


def mutation(options: Namespace) -> bool:
    """The mutation score of the layers."""
    from validation.mutation import run_mutation

    found = run_mutation(options.only, options.processes, options.look, say=_say_aside)
    return show(found, options.json)


def models(options: Namespace) -> bool:
    """Every network against its twin."""
    from validation.compare_models import run_models

    return show(run_models(options.only, options.device, _say_aside), options.json)


def training(options: Namespace) -> bool:
    """Training side by side."""
    from validation.compare_training import run_training

    return show(run_training(options.only, options.device, _say_aside), options.json)


def devices(options: Namespace) -> bool:
    """NumPy against CuPy."""
    from minigrad import resolve_device
    from validation.compare_devices import run_devices

    resolve_device(options.device)
    return show(run_devices(options.only, _say_aside), options.json)


def bench(options: Namespace) -> bool:
    """Time and memory."""
    from minigrad import resolve_device
    from validation.bench import run_bench

    out = options.out or (None if options.quick or options.only else DOCS / "benchmarks")
    device = resolve_device(options.device)
    cases = run_bench(options.only, device, options.quick, out, say=_say_aside)
    return show(cases, options.json)


def _say_aside(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def published(options: Namespace) -> bool:
    """Run the published experiments, or draw them."""
    from validation.published import run_published
    from validation.published_figures import draw

    if options.draw:
        for file in draw(options.out, DOCS / "figures", DOCS / "zoo" / "noise2noise_results.md"):
            print(file)
        return False

    def say(text: str) -> None:
        print(text, flush=True)

    run_published(options.data, options.out, options.run, options.seeds, options.threads, say)
    return False


def authors(options: Namespace) -> bool:
    """The authors' weights on the standard test sets."""
    from validation.authors import as_page, run_authors

    cases = run_authors(
        options.weights,
        options.data,
        expected=options.expected,
        only=options.only,
        most=options.most,
        say=_say_aside,
    )
    passed = show(cases, options.json)
    if options.page is not None:
        options.page.write_text(as_page(cases), encoding="utf-8")
    return passed


COMMANDS: dict[str, Callable[[Namespace], bool]] = {
    "layers": layers,
    "certify": certify_own,
    "mutate": mutate,
    "mutation": mutation,
    "models": models,
    "training": training,
    "devices": devices,
    "bench": bench,
    "published": published,
    "authors": authors,
}
