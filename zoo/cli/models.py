"""`zoo list` and `zoo info`, and how a verb finds the network that the user named."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli.console import OK, CliError, add_verb, emit, first_line, nearest, say, table

if TYPE_CHECKING:
    from zoo.architectures import Denoiser


def add(verbs: Any) -> None:
    """Add the verbs of this file to the sub-parsers."""
    verb = add_verb(
        verbs,
        "list",
        run_list,
        "list networks, recipes and bundled weights",
        "zoo list\nzoo list 'n2n-*' --json",
    )
    verb.add_argument("pattern", nargs="?", default="*", help="shell wildcards (default: *)")
    verb = add_verb(
        verbs,
        "info",
        run_info,
        "show a network layer by layer, with its receptive field",
        "zoo info n2n-prelu-unet\nzoo info runs/demo/model.safetensors --size 64",
    )
    verb.add_argument("model", help="a name of `zoo list`, a .safetensors file, or a run folder")
    verb.add_argument(
        "--size", type=int, default=32, help="side of the input in pixels (default: 32)"
    )


# --------------------------------------------------------------------------- finding a network


def find(name: str) -> tuple[Denoiser, str]:
    """The network that `name` means, and what was taken.

    `name` is a weights file, a run folder, the name of bundled weights, or a name of the registry
    (then untrained).

    Raises:
        CliError: nothing of that name; the nearest names are told.
    """
    import zoo
    from zoo.inference.weights import bundled_weights, weights_file

    known = zoo.list_models()
    try:
        path = weights_file(name)
    except FileNotFoundError as error:
        if name not in known:
            raise CliError(str(error)) from error
        path = None
    if path is not None:
        return load(path), f"weights {path}"
    if name in known:
        return zoo.create(name), "untrained"
    names = [*known, *bundled_weights()]
    close = nearest(name, names) or f"; there are: {', '.join(names)}"
    raise CliError(f"{name}: no file and no network of that name{close}")


def load(path: Path) -> Denoiser:
    """The network in a weights file.

    Raises:
        CliError: there is no such file, or it is no network.
    """
    import zoo
    from minigrad import CheckpointError

    try:
        return zoo.load(path)
    except CheckpointError as error:
        raise CliError(str(error)) from error


def trained(name: str) -> tuple[Denoiser, str]:
    """The trained network that `name` means, and what was taken.

    Raises:
        CliError: nothing of that name, or a network without weights.
    """
    from zoo.inference.weights import bundled_weights

    model, what = find(name)
    if what == "untrained":
        bundled = bundled_weights()
        have = f"; bundled weights: {', '.join(bundled)}" if bundled else ""
        raise CliError(f"{name}: is a network without weights; name a .safetensors file{have}")
    return model, what


# --------------------------------------------------------------------------- list


def run_list(args: argparse.Namespace) -> int:
    """Print what matches the pattern."""
    import fnmatch

    import zoo
    from zoo.inference.weights import bundled_weights
    from zoo.recipes import get, list_recipes
    from zoo.registry import REGISTRY

    models = [REGISTRY[name] for name in zoo.list_models(args.pattern)]
    recipes = [get(name) for name in list_recipes(args.pattern)]
    bundled = [name for name in bundled_weights() if fnmatch.fnmatch(name, args.pattern)]
    if not models and not recipes and not bundled:
        names = [*zoo.list_models(), *list_recipes(), *bundled_weights()]
        raise CliError(f"{args.pattern}: nothing matches{nearest(args.pattern, names)}")
    if args.json:
        emit(
            {
                "models": [
                    {
                        "name": e.name,
                        "summary": e.summary,
                        "source": e.source,
                        "arguments": e.arguments,
                    }
                    for e in models
                ],
                "recipes": [
                    {
                        "name": r.name,
                        "model": r.model,
                        "steps": r.steps,
                        "description": r.description,
                    }
                    for r in recipes
                ],
                "weights": bundled,
            }
        )
        return OK
    if models:
        rows = [(e.name, e.summary) for e in models]
        table("networks", ("name", "what"), rows, words=2)
    if recipes:
        lines = [(r.name, r.model, r.description, f"{r.steps:,}") for r in recipes]
        table("recipes (zoo train NAME)", ("name", "network", "what", "steps"), lines, words=3)
    if bundled:
        table("bundled weights (zoo denoise)", ("name",), [(name,) for name in bundled])
    return OK


# --------------------------------------------------------------------------- info


def layer_table(model: Denoiser, side: int) -> list[dict[str, Any]]:
    """One record per leaf and use: path, layer, output shape, parameters (0 when counted before),
    MACs.

    The input is one picture of `side` x `side` pixels.
    """
    import numpy as np

    from minigrad import Trace

    x = np.full((1, model.channels, side, side), 0.5, dtype=model.dtype)
    seen: set[int] = set()
    rows: list[dict[str, Any]] = []
    for step in Trace(model).follow(x).steps:
        own = [p.value.size for p in step.module.parameters()]
        again = id(step.module) in seen and bool(own)
        seen.add(id(step.module))
        rows.append(
            {
                "path": step.path,
                "layer": f"{type(step.module).__name__}({step.module.describe()})",
                "output": list(step.outputs[0]),
                "parameters": 0 if again else sum(own),
                "shared": again,
                "macs": step.macs,
            }
        )
    return rows


def run_info(args: argparse.Namespace) -> int:
    """Print the layer table, totals, the measured receptive field and the file's metadata."""
    from zoo.architectures import padded_side
    from zoo.inference.receptive import receptive_field

    first_line(args, "cpu")
    if args.size < 1:
        raise CliError(f"--size: expected at least 1 pixel, got {args.size}")
    model, what = find(args.model)
    side = padded_side(args.size, model.multiple, model.margin)
    rows = layer_table(model, side)
    field = receptive_field(model)
    record = {
        "model": model.architecture or args.model,
        "arguments": dict(model.arguments),
        "weights": what,
        "device": "cpu",
        "channels": model.channels,
        "multiple": model.multiple,
        "margin": model.margin,
        "grid": model.grid,
        "input": [1, model.channels, side, side],
        "layers": rows,
        "parameters": sum(p.value.size for p in model.parameters()),
        "macs": sum(row["macs"] for row in rows),
        "macs_per_pixel": sum(row["macs"] for row in rows) / side**2,
        "receptive_field": {
            "block": field.grid,
            "before": list(field.before),
            "after": list(field.after),
            "size": list(field.size),
            "tile_overlap": list(field.halo),
        },
        "metadata": dict(model.metadata),
    }
    if args.json:
        emit(record)
    else:
        _print_info(args, record)
    return OK


def _count(n: int) -> str:
    return f"{n:,}" if n else ""


def _sides(multiple: int, margin: int, grid: int) -> str:
    more = f" and {margin} more" if margin else ""
    padded = f"; padded inside to a multiple of {multiple}{more}" if multiple > 1 else ""
    return f"any{padded}" + (f"; tiles begin on a grid of {grid}" if grid > multiple else "")


def _print_info(args: argparse.Namespace, record: dict[str, Any]) -> None:
    arguments = ", ".join(f"{k}={v}" for k, v in record["arguments"].items()) or "defaults"
    table(
        f"{record['model']} ({arguments}), {record['weights']}",
        ("layer", "kind", "output shape", "parameters", "multiply-adds"),
        [
            (
                row["path"],
                row["layer"],
                "x".join(map(str, row["output"])),
                "shared" if row["shared"] else _count(row["parameters"]),
                _count(row["macs"]),
            )
            for row in record["layers"]
        ],
        words=2,
    )
    field, block = record["receptive_field"], record["receptive_field"]["block"]
    (top, left), (bottom, right) = field["before"], field["after"]
    lines = (
        f"parameters       {record['parameters']:,}",
        f"multiply-adds    {record['macs']:,} for this input, "
        f"{record['macs_per_pixel']:,.0f} a pixel",
        f"sides            {_sides(record['multiple'], record['margin'], record['grid'])}",
        f"receptive field  {field['size'][0]} x {field['size'][1]} pixels for "
        + ("one pixel" if block == 1 else f"an aligned {block} x {block} block")
        + " of the output "
        f"(measured: {top} above, {bottom} below, {left} left, {right} right)",
    )
    for line in lines:
        say(args, line)
    for key, value in sorted(record["metadata"].items()):
        first, *more = value.splitlines() or [""]
        if more:  # a text of several lines, such as the recipe, begins below its name
            first, more = "", [first, *more]
        say(args, f"metadata         {key} = {first}".rstrip())
        for line in more:
            say(args, f"{'':17}  {line}".rstrip())
