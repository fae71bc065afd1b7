"""Module trees under any sequence of changes: what is shared, frozen, saved and accumulated.

A model of the tree beside it, plain lists of labels, says what must hold after every step.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import minigrad as mg
from minigrad import Composite, Frozen, Module, checkpoint
from tests.leaves import RunningMean

RUNS, STEPS = 200, 50
WIDTH = 6
SHAPE = (2, 2, 3, 3)


class Chain(Composite):
    """A chain whose links can be changed; they live in a list, as those of a network may."""

    def __init__(self) -> None:
        self.links: list[Module] = []

    def wire(self, x: Any) -> Any:
        for link in self.links:
            x = link(x)
        return x


def leaf(kind: str, seed: int) -> Module:
    """A small leaf that keeps the shape."""
    rng = np.random.default_rng(seed)
    if kind == "conv":
        return mg.Conv2d(2, 2, 1, dtype=np.float64, rng=rng)
    if kind == "slope":
        return mg.PReLU(2, init=float(rng.uniform(0.1, 0.9)), dtype=np.float64)
    if kind == "mean":
        return RunningMean(np.float64)
    return mg.Scale(float(rng.uniform(0.5, 1.5)))


LEAVES = st.tuples(st.sampled_from(["conv", "slope", "mean", "scale"]), st.integers(0, 99))


class ModuleTrees(RuleBasedStateMachine):
    """One tree; `mode` says by id in which mode each module must be."""

    @initialize()
    def start(self) -> None:
        self.root = Chain()
        self.training = True
        self.mode = {id(self.root): True}
        self.alive: list[Module] = []  # so that no id is given twice

    # ----------------------------------------------------------------- what can be done

    def chains(self) -> list[Chain]:
        return [m for m in self.root.modules() if isinstance(m, Chain)]

    def size(self) -> int:
        return sum(1 for _ in self.root.named_modules())

    def pick_chain(self, data: Any) -> Chain:
        return data.draw(st.sampled_from(self.chains()))

    def put(self, chain: Chain, place: int, module: Module) -> None:
        """Insert; a module that comes in takes over the mode of the tree, as a user would do."""
        chain.links.insert(place, module)
        for m in module.modules():
            self.mode.setdefault(id(m), not isinstance(m, Frozen))
            self.alive.append(m)
        self.switch_mode_of_all(self.training)

    def switch_mode_of_all(self, mode: bool) -> None:
        assert self.root.train(mode) is self.root
        self.training = mode
        self.expect(self.root, mode)

    def expect(self, module: Module, mode: bool) -> None:
        """What is shared takes the mode of the last place."""
        frozen = isinstance(module, Frozen)
        self.mode[id(module)] = mode and not frozen
        for child in module.children().values():
            self.expect(child, mode and not frozen)

    @precondition(lambda self: self.size() < 40)
    @rule(data=st.data(), new=LEAVES)
    def add_leaf(self, data: Any, new: tuple[str, int]) -> None:
        chain = self.pick_chain(data)
        if len(chain.links) < WIDTH:
            self.put(chain, data.draw(st.integers(0, len(chain.links))), leaf(*new))

    @precondition(lambda self: self.size() < 40)
    @rule(data=st.data(), new=LEAVES)
    def add_chain(self, data: Any, new: tuple[str, int]) -> None:
        chain, inner = self.pick_chain(data), Chain()
        inner.links.append(leaf(*new))
        if len(chain.links) < WIDTH:
            self.put(chain, len(chain.links), inner)

    @precondition(lambda self: 1 < self.size() < 25)
    @rule(data=st.data())
    def share(self, data: Any) -> None:
        """Any module of the tree at a second place, unless it would contain itself."""
        chain = self.pick_chain(data)
        others = [m for m in self.root.modules() if all(n is not chain for n in m.modules())]
        if others and len(chain.links) < WIDTH:
            self.put(chain, 0, data.draw(st.sampled_from(others)))

    @rule(data=st.data(), new=LEAVES)
    def replace(self, data: Any, new: tuple[str, int]) -> None:
        chain = self.pick_chain(data)
        if chain.links:
            place = data.draw(st.integers(0, len(chain.links) - 1))
            del chain.links[place]
            self.put(chain, place, leaf(*new))

    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        chain = self.pick_chain(data)
        if chain.links:
            chain.links.pop(data.draw(st.integers(0, len(chain.links) - 1)))

    @precondition(lambda self: self.size() < 40)
    @rule(data=st.data())
    def freeze(self, data: Any) -> None:
        chain = self.pick_chain(data)
        if chain.links:
            place = data.draw(st.integers(0, len(chain.links) - 1))
            frozen = Frozen(chain.links.pop(place))
            self.expect(frozen, False)
            self.put(chain, place, frozen)

    @rule(mode=st.booleans())
    def switch_mode(self, mode: bool) -> None:
        self.switch_mode_of_all(mode)

    @rule()
    def zero(self) -> None:
        self.root.zero_grad()
        assert not any(p.touched or p.grad.any() for p in self.root.parameters())

    @rule(seed=st.integers(0, 9))
    def pull(self, seed: int) -> None:
        """Gradients of the whole are those of the links, one after the other, by hand."""
        rng = np.random.default_rng(seed)
        x, dy = rng.standard_normal((2, *SHAPE))
        before = {k: a.copy() for k, a in self.root.state_dict().items()}
        self.root.zero_grad()
        y, vjp = self.root.forward_and_vjp(x)
        dx = vjp(dy)
        found = [p.grad.copy() for p in self.root.parameters()]
        touched = [p.touched for p in self.root.parameters()]
        for key, array in self.root.state_dict().items():  # buffers back: the same pass again
            array[...] = before[key]
        self.root.zero_grad()
        by_hand, dx_by_hand = by_links(self.root, x, dy)
        assert np.array_equal(y, by_hand)
        assert (dx is None) == (dx_by_hand is None)
        assert dx is None or np.allclose(dx, dx_by_hand, rtol=1e-12, atol=1e-15)
        for p, grad, was_touched in zip(self.root.parameters(), found, touched, strict=True):
            assert np.allclose(p.grad, grad, rtol=1e-12, atol=1e-14)
            assert p.touched == was_touched

    @rule(through_file=st.booleans())
    def save_and_load(self, through_file: bool) -> None:
        """What was saved comes back, into the same places and no others."""
        state = {k: a.copy() for k, a in self.root.state_dict().items()}
        if through_file and state:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "tree.safetensors"
                checkpoint.save(path, state)
                saved = checkpoint.load(path)[0]
        else:
            saved = state
        for parameter in self.root.parameters():
            parameter.value[...] = 0.5
        self.root.load_state_dict(saved)
        loaded = self.root.state_dict()
        assert loaded.keys() == state.keys()
        assert all(np.array_equal(loaded[k], state[k]) for k in state)

    # ----------------------------------------------------------------- what always holds

    @invariant()
    def parameters_once_and_aliases_all(self) -> None:
        if not hasattr(self, "root"):
            return
        paths = walk(self.root)
        trained = {id(m) for m, _, frozen in paths if not frozen}
        named = self.root.named_parameters()
        owners = [id(p.owner) for p in named.values()]
        expected = [
            (id(m), name)
            for m in first_of_each(self.root)
            if id(m) in trained
            for name in m.parameter_names
        ]
        assert [(id(p.owner), p.name) for p in named.values()] == expected
        assert len({(o, p.name) for o, p in zip(owners, named.values(), strict=True)}) == len(named)
        keys = [
            f"{path}.{name}" for m, path, _ in paths for name in m.parameter_names + m.buffer_names
        ]
        state = self.root.state_dict()
        assert list(state) == keys
        for name, parameter in named.items():
            assert state[name] is parameter.value
        by_array: dict[int, Module] = {}
        for m, path, _ in paths:
            for name in m.parameter_names + m.buffer_names:
                array = state[f"{path}.{name}"]
                assert by_array.setdefault(id(array), m) is m, "only aliases share an array"

    @invariant()
    def modes(self) -> None:
        """`train` reaches what is not under a `Frozen`; what is there stays in evaluation mode."""
        if hasattr(self, "root"):
            assert all(m.training == self.mode[id(m)] for m in self.root.modules())


def by_links(module: Module, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, Any]:
    """Output and cotangent of a tree by its definition: link after link, then back."""
    vjps = []

    def forward(m: Module, x: np.ndarray) -> np.ndarray:
        if isinstance(m, Frozen):
            vjps.append(None)
            return m.forward(x)
        if isinstance(m, Chain):
            for link in m.links:
                x = forward(link, x)
            return x
        y, vjp = m.forward_and_vjp(x)
        vjps.append(vjp)
        return y

    y = forward(module, x)
    dx: Any = dy
    for vjp in reversed(vjps):
        dx = None if vjp is None or dx is None else vjp(dx)
    return y, dx


def every(module: Module, path: str = "", cold: bool = False) -> list[tuple[Module, str, bool]]:
    """All modules at all places, with their dotted names and whether a `Frozen` is above."""
    found = [(module, path, cold)]
    below = cold or isinstance(module, Frozen)
    for name, child in module.children().items():
        found += every(child, f"{path}.{name}" if path else name, below)
    return found


def walk(module: Module) -> list[tuple[Module, str, bool]]:
    """The leaves at all places."""
    return [place for place in every(module) if not place[0].children()]


def first_of_each(module: Module) -> list[Module]:
    """Leaves in the order in which a walk that enters no `Frozen` and nothing twice meets them."""
    found: list[Module] = []
    seen: set[int] = set()

    def visit(m: Module) -> None:
        if id(m) in seen or isinstance(m, Frozen):
            return
        seen.add(id(m))
        if not m.children():
            found.append(m)
        for child in m.children().values():
            visit(child)

    visit(module)
    return found


ModuleTrees.TestCase.settings = settings(
    max_examples=RUNS, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None
)
TestModuleTrees = ModuleTrees.TestCase
