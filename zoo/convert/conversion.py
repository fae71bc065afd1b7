"""From an official weights file to a file of the zoo."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from minigrad.checkpoint import CheckpointError
from zoo import registry
from zoo.architectures import Denoiser
from zoo.convert import families
from zoo.convert.budget import MAX_BYTES, Refused, plain, shown
from zoo.convert.contents import Contents, read_checkpoint
from zoo.convert.keras_networks import read_networks
from zoo.convert.modules import check_activations, check_layer
from zoo.convert.records import NumpyArray, Tensor
from zoo.convert.sequence import Convolution, merged_state, of_module
from zoo.convert.states import State, joined, states, stored_kind, stored_sigma
from zoo.noise import Gaussian, parse
from zoo.recipes.config import RecipeError, checked, unknown_key

_MERGED = "dncnn-kair"
"""The network that a chain of convolutions becomes, its batch norms merged."""
_OF_FOLDERS = ("psl-ae",)
"""Networks that may come as a folder of several, as Keras saves them."""
_MOST_STATES = 8
_MOST_NAMES = 5


@dataclass(frozen=True)
class Conversion:
    """What was done.

    Attributes:
        source: the official file; `sha256` is of it, `container` its format, `part` the place in
            it where the state dict was.
        out: the file written.
        model: the network, `arguments` those of its constructor.
        tensors: number of tensors taken over, `parameters` of trained values.
        left_out: tensors of the file that the network does not need.
        metadata: the text fields of `out`.
    """

    source: Path
    sha256: str
    container: str
    part: str
    out: Path
    model: str
    arguments: dict[str, Any]
    tensors: int
    parameters: int
    left_out: list[str]
    metadata: dict[str, str]


def convert(
    path: str | os.PathLike[str],
    model: str,
    out: str | os.PathLike[str],
    *,
    arguments: Mapping[str, Any] | None = None,
    part: str | None = None,
    noise: str | None = None,
    source: str | None = None,
    max_bytes: int = MAX_BYTES,
    overwrite: bool = False,
) -> Conversion:
    """Write the weights in an official file as a safetensors file that `zoo.load` reads.

    The values stay what they are, bit for bit; only half precision becomes float32 (exactly), and
    tensors of several precisions take the widest. Nothing in the file is executed or imported.

    Args:
        path: a file of `torch.save` (state dict, checkpoint or module), safetensors, Keras' HDF5,
            or MatConvNet's .mat; for `psl-ae` a folder of its networks (`keras_networks.py`).
        model: a name of `zoo.list_models()`.
        arguments: constructor arguments; those that are not given follow from the tensors' shapes.
        part: where the state dict is, if the file has several: `"ema"`, `"model.0"`.
        noise: the law that the network was trained for, such as `"gaussian:0-55"`; by default what
            the file's own training arguments say, if they do.
        source: where the file comes from, for the metadata; by default its name.
        max_bytes: largest file, and largest sum of its tensors.
        overwrite: replace `out` if it is there.

    Raises:
        UnknownModelError: no network of that name.
        TypeError: an argument that the network does not have, or of another type.
        LawError: the noise is no law.
        CheckpointError: the file cannot be read, does not fit the network, or `out` cannot be
            written; the message names the file.
    """
    path, out = Path(path), Path(out)
    given = _checked_arguments(model, arguments or {})
    law = parse(noise).name if noise is not None else None
    if out.exists() and path.exists() and os.path.samefile(path, out):
        raise CheckpointError(out, "is the file that is read; choose another name")
    if out.exists() and not overwrite:
        raise CheckpointError(out, "is there already; choose another name, or overwrite it")
    try:
        if path.is_dir() and model in _OF_FOLDERS:
            contents = read_networks(path, max_bytes=max_bytes)
        else:
            contents = read_checkpoint(path, max_bytes=max_bytes)
        own = _of_the_zoo(path, contents, model)
        given = {**(own.arguments if own else {}), **given}
        fit = _chosen(contents, model, given, part)
        _load(fit, contents)
    except Refused as error:
        raise CheckpointError(path, str(error)) from error
    network = fit.network()
    metadata = {
        **(own.metadata if own else {}),
        "source": source or path.name,
        "source_sha256": contents.sha256,
        "colour": {1: "gray", 3: "RGB"}.get(network.channels, f"{network.channels} channels"),
    }
    if (told := law or metadata.get("noise") or _told_noise(contents)) is not None:
        metadata["noise"] = told
    registry.save(out, network, metadata)
    return Conversion(
        source=path,
        sha256=contents.sha256,
        container=contents.container,
        part=fit.state.place,
        out=out,
        model=model,
        arguments=dict(network.arguments),
        tensors=len(fit.tensors),
        parameters=sum(p.value.size for p in network.parameters()),
        left_out=fit.left_out,
        metadata=metadata,
    )


def _checked_arguments(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    known = registry.entry(model)
    hints = get_type_hints(known.make.__init__)
    try:
        for key in given:
            if key not in known.arguments:
                raise TypeError(f"{model}: {unknown_key('', key, known.arguments)}")
        return {key: checked(hints[key], value, key) for key, value in given.items()}
    except RecipeError as error:
        raise TypeError(f"{model}: {error}") from error


def _of_the_zoo(path: Path, contents: Contents, model: str) -> Denoiser | None:
    """The network in a file that the zoo wrote, which says what tensors do not.

    Read anew, since its own reader checks more than the tensors.
    """
    architecture = contents.metadata.get("architecture")
    if architecture is None:
        return None
    if architecture != model:
        raise Refused(f"a file of the zoo for {shown(architecture)}, not for {model}")
    return registry.load(path)


def _told_noise(contents: Contents) -> str | None:
    kind, sigma = stored_kind(contents.value), stored_sigma(contents.value)
    if kind is not None:
        return None if kind[1] is None else parse(kind[1]).name
    return None if sigma is None else Gaussian(*sigma).name


# ------------------------------------------------------------------------------- fitting


@dataclass
class _Fit:
    """How the tensors of a state dict fit a network."""

    state: State
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)
    made: Denoiser | None = None
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    matched: int = -1

    def network(self) -> Denoiser:
        assert self.made is not None
        return self.made


def _chosen(contents: Contents, model: str, given: dict[str, Any], part: str | None) -> _Fit:
    """The one state dict in the file that fits."""
    found = _states(contents, model)
    if part is not None:
        known = ", ".join(shown(state.place) for state in found[:_MOST_STATES]) or "none"
        found = [state for state in found if state.place == part]
        if not found:
            raise Refused(f"no state dict at {shown(part)}; there are: {known}")
    if not found:
        raise Refused(f"it holds no state dict; {_described(contents.value)}")
    found = sorted(found, key=lambda state: -len(state.tensors))[:_MOST_STATES]
    fits = [_fit(state, model, given, contents) for state in found]
    good = [fit for fit in fits if not fit.problems]
    if not good and (merged := _merged(contents, model)) is not None:
        good = [fit for fit in [_fit(merged, model, given, contents)] if not fit.problems]
    if len(good) == 1:
        return good[0]
    if good:
        places = ", ".join(shown(fit.state.place) for fit in good)
        raise Refused(f"several of its state dicts fit {model}: {places}; name the part to take")
    best = max(fits, key=lambda fit: fit.matched)
    others = [shown(fit.state.place) for fit in fits if fit is not best]
    more = f"; other parts: {', '.join(others)}" if others else ""
    raise Refused("; ".join(best.problems) + _fitting(best.state, model, given, contents) + more)


def _states(contents: Contents, model: str) -> list[State]:
    """The state dicts to choose from."""
    if contents.layers is None:
        found = states(contents.value, contents.budget)
        whole = joined(found, families.PARTS[model]) if model in families.PARTS else None
        return found if whole is None else [whole, *found]
    if model != _MERGED:
        raise Refused(
            f"a {contents.container} file of {len(contents.layers)} convolutions; it can become "
            f"{_MERGED}, not {model}"
        )
    return [_chain(contents.layers, "its layers")]


def _merged(contents: Contents, model: str) -> State | None:
    """What a pickled chain of layers becomes whose names are not those of the network."""
    layers = of_module(contents.value, contents.budget) if model == _MERGED else None
    return None if layers is None else _chain(layers, "its layers, norms merged")


def _chain(layers: list[Convolution], place: str) -> State:
    merged = merged_state(layers)
    return State(place, {name: NumpyArray(array) for name, array in merged.items()})


def _described(value: Any) -> str:
    """What a file without a state dict holds instead."""
    if isinstance(value, dict):
        return f"its keys: {', '.join(shown(key) for key in list(value)[:_MOST_NAMES]) or 'none'}"
    return f"it is {shown(value)}"


def _fit(state: State, model: str, given: dict[str, Any], contents: Contents) -> _Fit:
    """The best fit over the names with and without the words that wrappers put before them."""
    best = _Fit(state)
    for tensors in state.named():
        fit = _compared(state, tensors, model, given, contents)
        if not fit.problems:
            return fit
        if fit.matched > best.matched:
            best = fit
    return best


def _compared(
    state: State,
    tensors: dict[str, Tensor],
    model: str,
    given: dict[str, Any],
    contents: Contents,
) -> _Fit:
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    held = sum(math.prod(shape) for shape in shapes.values())
    if 4 * held > contents.budget.limit:
        limit = contents.budget.limit
        reason = f"its tensors declare {held} values, more than the limit of {limit} bytes"
        return _Fit(state, problems=[reason], matched=0)
    arguments = {**families.arguments(model, shapes), **given}
    if model in families.PARTS and (kind := stored_kind(contents.value)) is not None:
        arguments = {**arguments, "noise": given.get("noise", kind[0])}
    # A network of the default size is harmless, and its names can be listed as missing.
    rng = registry.Blank(held) if arguments else np.random.default_rng(0)
    try:
        network = registry.create(model, **arguments, rng=rng)
    # A constructor says in many ways that an argument does not fit.
    except Exception as error:
        reason = f"{model} with {_listed(arguments)} cannot be made: {shown(str(error), 200)}"
        return _Fit(state, problems=[reason], matched=0)
    slots = network.slots()
    expected = {key: np.shape(getattr(owner, name)) for key, (owner, name) in slots.items()}
    optional = {key for key, (owner, name) in slots.items() if name in owner.optional_names}
    missing = [key for key in expected if key not in shapes and key not in optional]
    unexpected = [key for key in shapes if key not in expected]
    constants = {key: tensors[key] for key in unexpected if key in network.constants}
    left_out = [k for k in unexpected if k in constants or k.endswith("num_batches_tracked")]
    unexpected = [plain(key) for key in unexpected if key not in left_out]
    wrong = [
        f"{key} {shapes[key]} instead of {expected[key]}"
        for key in expected
        if key in shapes and not _same(shapes[key], expected[key])
    ]
    parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
    problems = [f"{what}: {_few(names)}" for what, names in parts if names]
    if problems:
        problems[0] = (
            f"{plain(state.place)} does not fit {model} ({_listed(arguments)}): {problems[0]}"
        )
    matched = len(expected.keys() & shapes.keys()) - len(wrong)
    kept = {key: tensors[key] for key in expected if key in tensors}
    return _Fit(state, kept, constants, network, left_out, problems, matched)


def _fitting(state: State, model: str, given: dict[str, Any], contents: Contents) -> str:
    """What the state dict does fit: the network with other arguments, or other networks."""
    if given and not (own := _fit(state, model, {}, contents)).problems:
        return f"; it fits with {_listed(own.network().arguments)}"
    shapes = [{key: tensor.shape for key, tensor in named.items()} for named in state.named()]
    others = [
        name
        for name in registry.list_models()
        if name != model and any(families.arguments(name, one) for one in shapes)
    ]
    good = [name for name in others if not _fit(state, name, {}, contents).problems]
    return f"; it fits {', '.join(good)}" if good else ""


def _same(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """A single number may have an axis or none."""
    return found == expected or (len(found) + len(expected) == 1 and 1 in (*found, *expected))


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items()) or "defaults"


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


# ------------------------------------------------------------------------------- loading


def _load(fit: _Fit, contents: Contents) -> None:
    """Give the network its tensors."""
    network = fit.network()
    slots = network.slots()
    arrays = {key: tensor.array(contents.budget, key) for key, tensor in fit.tensors.items()}
    floats = [array.dtype for array in arrays.values() if array.dtype.kind == "f"]
    wide = np.result_type(np.float32, *floats)
    first: dict[tuple[int, str], str] = {}
    for key, tensor in fit.tensors.items():
        if (layer := fit.state.layers.get(tensor)) is not None:
            check_layer(layer, slots[key][0], key)
    check_activations(fit.state.classes, network)
    for key, array in arrays.items():
        owner, name = slots[key]
        shape = np.shape(getattr(owner, name))
        array = array.astype(wide, copy=False) if array.dtype.kind == "f" else array
        arrays[key] = array.reshape(shape)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Refused(f"{key}: holds values that are not finite")
        twin = first.setdefault((id(owner), name), key)
        if not np.array_equal(arrays[key], arrays[twin]):
            raise Refused(
                f"{twin} and {key} differ, but are one array in {network.architecture} with "
                f"{_listed(network.arguments)}"
            )
    for key, tensor in fit.constants.items():
        arrays[key] = tensor.array(contents.budget, key)
    try:
        network.load_state_dict(arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise Refused(" ".join(str(error).split())) from error
    network.eval()
