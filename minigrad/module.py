"""Module: what a layer is.

A module maps arrays to arrays (`forward`) and knows its vector-Jacobian product
(`forward_and_vjp`):

    y, vjp = module.forward_and_vjp(x)      # y bit-identical to module.forward(x)
    dx = vjp(dy)                            # parameter cotangents are ADDED into module.d_weight

Parameters, their cotangents and buffers are ordinary attributes named in two class tuples; children
are the modules among `vars(self)`. Nothing is registered by magic, and nothing of a forward pass is
kept on the module: what the vjp needs lives in its closure, so one module may be used many times in
one network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

from minigrad.backend import Array, array_module, device_of, is_array, to_device
from minigrad.vjp import Vjp as Vjp
from minigrad.vjp import as_tuple as as_tuple
from minigrad.vjp import once as once


class Parameter:
    """A handle onto one parameter: `owner.<name>` and its cotangent `owner.d_<name>`.

    It holds no array, so it stays valid when the arrays are rebound by `load_state_dict`, `astype`
    or `to`.
    """

    __slots__ = ("name", "owner")

    def __init__(self, owner: Module, name: str) -> None:
        """A handle onto `owner.<name>`."""
        self.owner, self.name = owner, name

    @property
    def value(self) -> Array:
        """The parameter's array; assigning rebinds it (shape and dtype must stay)."""
        return getattr(self.owner, self.name)

    @value.setter
    def value(self, array: Array) -> None:
        old = self.value
        if array.shape != old.shape or array.dtype != old.dtype:
            raise ValueError(
                f"{type(self.owner).__name__}.{self.name}: expected {old.dtype} {old.shape}, "
                f"got {array.dtype} {array.shape}"
            )
        setattr(self.owner, self.name, array)

    @property
    def grad(self) -> Array:
        """The accumulated cotangent `owner.d_<name>`, same shape and dtype as the value."""
        return getattr(self.owner, f"d_{self.name}")

    @property
    def touched(self) -> bool:
        """Whether any vjp has added a cotangent since the last `zero_grad` (torch's `grad is not
        None`).
        """
        return self.name in self.owner.touched

    def __repr__(self) -> str:
        owner, value = type(self.owner).__name__, self.value
        return f"Parameter({owner}.{self.name} {value.dtype} {value.shape})"


class Module:
    """Base of every layer, loss, container and network.

    A *leaf* does arithmetic and writes `forward` and `forward_and_vjp` by hand; it names its
    parameters and buffers in the class tuples below. A *composite* (`minigrad.wiring.Composite`)
    only connects modules.
    """

    parameter_names: ClassVar[tuple[str, ...]] = ()
    """Attributes that are trained; each has a cotangent `d_<name>`. A `None` value is skipped."""
    buffer_names: ClassVar[tuple[str, ...]] = ()
    """Attributes that are saved but not trained, such as running statistics. `None` is skipped."""
    optional_names: ClassVar[tuple[str, ...]] = ()
    """Buffers that a state dict may lack on load."""

    training: bool = True
    touched: frozenset[str] | set[str] = frozenset()

    # ------------------------------------------------------------------ computing

    def forward(self, *xs: Array) -> Any:
        """The outputs for inputs `xs`: one array, or a tuple of arrays."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def forward_and_vjp(self, *xs: Array) -> tuple[Any, Vjp]:
        """The same outputs, and `vjp(*dys) -> dxs`.

        `vjp` takes one cotangent per output (`None` = zero), returns one entry per input (an array
        alone for a single input; `None` where an input has no gradient), adds the parameters'
        cotangents by `accumulate`, and may be called once.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward_and_vjp")

    def __call__(self, *xs: Any) -> Any:
        """Compute when given arrays; record when any input is a `Wire` (inside a composite's
        `wire`).
        """
        for x in xs:
            if hasattr(x, "recorder"):
                return x.recorder.run(self, *xs)
        return self.forward(*xs)

    def macs(self, *shapes: tuple[int, ...]) -> int:
        """Multiply-adds of one forward pass for inputs of these shapes; 0 for layers without
        products.
        """
        return 0

    # ------------------------------------------------------------------ parameters

    def set_parameters(self, **arrays: Array | None) -> None:
        """Bind each `name=array` and a zero cotangent `d_name` of the same shape and dtype.

        `None` binds None. The names count as untouched; other parameters keep their cotangents.
        """
        for name, array in arrays.items():
            if array is not None and array.dtype.kind != "f":
                layer = type(self).__name__
                raise TypeError(f"{layer}: {name}: expected a floating dtype, got {array.dtype}")
            setattr(self, name, array)
            zeros = None if array is None else array_module(array).zeros_like(array)
            setattr(self, f"d_{name}", zeros)
        self.touched = set(self.touched) - arrays.keys()

    def accumulate(self, **cotangents: Array | None) -> None:
        """Add each `name=cotangent` in place into `d_name`.

        It *adds*: shared modules and micro-batches need no other mechanism. `None` is skipped, as
        is a name whose parameter is `None`.

        Raises:
            ValueError: a cotangent's shape or dtype differs from its parameter's.
        """
        for name, cotangent in cotangents.items():
            grad = getattr(self, f"d_{name}")
            if cotangent is None or grad is None:
                continue
            if cotangent.shape != grad.shape or cotangent.dtype != grad.dtype:
                raise ValueError(
                    f"{type(self).__name__}: cotangent of {name}: "
                    f"expected {grad.dtype} {grad.shape}, "
                    f"got {cotangent.dtype} {cotangent.shape}"
                )
            grad += cotangent
            assert isinstance(self.touched, set)
            self.touched.add(name)

    def zero_grad(self) -> None:
        """Fill every cotangent of the tree with zeros, in place, and mark the parameters
        untouched.
        """
        for module in self.modules():
            for name in module._own(module.parameter_names):
                getattr(module, f"d_{name}").fill(0)
            module.touched = set()

    def _own(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if getattr(self, name, None) is not None]

    # ------------------------------------------------------------------ the tree

    def children(self) -> dict[str, Module]:
        """The modules among `vars(self)`, in order; lists, tuples and dicts of modules give
        `name.key`.
        """
        found: dict[str, Module] = {}
        for name, value in vars(self).items():
            if isinstance(value, Module):
                found[name] = value
            elif isinstance(value, list | tuple):
                found.update(
                    {f"{name}.{i}": m for i, m in enumerate(value) if isinstance(m, Module)}
                )
            elif isinstance(value, dict):
                found.update({f"{name}.{k}": m for k, m in value.items() if isinstance(m, Module)})
        return found

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it with dotted names, every alias of a shared one included."""
        yield prefix, self
        for name, child in self.children().items():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, a shared one once."""
        seen: set[int] = set()
        for _, module in self.named_modules():
            if id(module) not in seen:
                seen.add(id(module))
                yield module

    def named_parameters(self) -> dict[str, Parameter]:
        """The trained parameters, each once, under its first dotted name. (`Frozen` shows none.)"""
        found: dict[str, Parameter] = {}
        seen: set[tuple[int, str]] = set()
        for key, (owner, name) in self.slots(trained=True).items():
            if (id(owner), name) not in seen:
                seen.add((id(owner), name))
                found[key] = Parameter(owner, name)
        return found

    def parameters(self) -> list[Parameter]:
        """The trained parameters, each once, as handles with `.value` and `.grad`."""
        return list(self.named_parameters().values())

    def train(self, mode: bool = True) -> Self:
        """Set `training` on the whole tree; returns self."""
        self.training = mode
        for child in self.children().values():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode on the whole tree; returns self."""
        return self.train(False)

    # ------------------------------------------------------------------ state

    def slots(self, trained: bool = False) -> dict[str, tuple[Module, str]]:
        """Where the arrays of the state dict are bound: key -> (owner, attribute), every alias of a
        shared module; with `trained` the parameters alone, and none below a `Frozen`.

        Keys are dotted names. A network whose authors' keys are others overrides this.
        """
        names = self.parameter_names if trained else self.parameter_names + self.buffer_names
        found: dict[str, tuple[Module, str]] = {name: (self, name) for name in self._own(names)}
        for prefix, child in self.children().items():
            found |= {f"{prefix}.{key}": slot for key, slot in child.slots(trained).items()}
        return found

    def state_dict(self) -> dict[str, Array]:
        """Parameters and buffers under dotted names, every alias of a shared module, as PyTorch
        lists them.

        The arrays are the live ones, not copies.
        """
        return {key: getattr(owner, name) for key, (owner, name) in self.slots().items()}

    def load_state_dict(self, arrays: Mapping[str, Array], strict: bool = True) -> None:
        """Bind copies of `arrays`, adopting their dtype; the device of the module's own arrays is
        kept.

        Aliases of a shared module are equal in a sound file; where they differ, the last one holds,
        as in PyTorch.

        Raises:
            KeyError: names are missing or unexpected (with `strict`); all of them are listed.
            ValueError: a shape differs; the message names the array and both shapes.
            TypeError: an array is not floating where the module's own is.
        """
        slots = self.slots()
        missing = [
            k for k, (m, name) in slots.items() if k not in arrays and name not in m.optional_names
        ]
        unexpected = [k for k in arrays if k not in slots]
        call = f"{type(self).__name__}.load_state_dict"
        if strict and (missing or unexpected):
            raise KeyError(f"{call}: missing {missing}, unexpected {unexpected}")
        for key in (k for k in slots if k in arrays):
            old, new = getattr(*slots[key]), arrays[key]
            if new.shape != old.shape:
                raise ValueError(f"{call}: {key}: expected shape {old.shape}, got {new.shape}")
            if old.dtype.kind == "f" and new.dtype.kind != "f":
                raise TypeError(f"{call}: {key}: expected a floating dtype, got {new.dtype}")
        for key, (module, name) in slots.items():
            if key in arrays:
                device = device_of(getattr(module, name))
                module._bind(name, to_device(arrays[key], device).copy())

    def astype(self, dtype: Any) -> Self:
        """Rebind every floating parameter and buffer as `dtype`; cotangents are zeroed. Returns
        self.
        """
        return self._rebind(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a)

    def to(self, device: str) -> Self:
        """Rebind every parameter and buffer on `"cpu"` or `"cuda"`; cotangents are zeroed. Returns
        self.
        """
        return self._rebind(lambda a: to_device(a, device))

    def _rebind(self, change: Callable[[Array], Array]) -> Self:
        for module in self.modules():
            for name in module._own(module.parameter_names + module.buffer_names):
                module._bind(name, change(getattr(module, name)))
        return self

    def _bind(self, name: str, array: Array) -> None:
        if name in self.parameter_names:
            self.set_parameters(**{name: array})
        else:
            setattr(self, name, array)

    # ------------------------------------------------------------------ checks and text

    def check_input(
        self, x: Array, ndim: int | None = None, channels: int | None = None, name: str = "x"
    ) -> None:
        """Raise if `x` is no float array of this layer's dtype and device, or lacks the given form.

        Messages call it `name`.

        Raises:
            TypeError: not an array, not floating, or dtype or device differ from the parameters'.
            ValueError: the number of dimensions or of channels (axis 1) differs.
        """
        what = f"{type(self).__name__}: {name}"
        if not is_array(x):
            raise TypeError(f"{what}: expected a NumPy or CuPy array, got {type(x).__name__}")
        if x.dtype.kind != "f":
            raise TypeError(f"{what}: expected a floating dtype, got {x.dtype}")
        if ndim is not None and x.ndim != ndim:
            raise ValueError(f"{what}: expected {ndim} dimensions, got shape {x.shape}")
        if channels is not None and x.shape[1] != channels:
            raise ValueError(f"{what}: expected {channels} channels, got shape {x.shape}")
        for parameter in self.parameter_names:
            own = getattr(self, parameter, None)
            if own is None:
                continue
            if own.dtype != x.dtype:
                raise TypeError(f"{what} is {x.dtype} but {parameter} is {own.dtype}: use astype")
            if device_of(own) != device_of(x):
                raise TypeError(
                    f"{what} is on {device_of(x)} but {parameter} is on {device_of(own)}: "
                    "use to(device)"
                )

    def describe(self) -> str:
        """The constructor's arguments as text, for `repr`; empty by default."""
        return ""

    def __repr__(self) -> str:
        children, about = self.children(), self.describe()
        if not children:
            return f"{type(self).__name__}({about})"
        lines = [f"  {about}"] if about else []
        lines += [
            f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in children.items()
        ]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])
