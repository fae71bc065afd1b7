"""A pickle read as what it is, a program for a machine with a stack, on a machine that cannot act.

`pickle.Unpickler` looks up the classes that a file names and calls them; this machine has nothing
to look up. It follows the opcodes of protocols 0 to 5 and makes numbers, texts and containers.
A named class stays a `Name`. A call goes to the table of `zoo.convert.rebuild` when the name is
one of the few in it (a tensor, a NumPy scalar, an ordered dictionary), and becomes an inert `Made`
otherwise. Each step is paid from a `Budget`, so that no file makes it run for long.

`pickletools.genops` of the standard library splits the bytes into opcodes and arguments; it
executes nothing.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from zoo.convert.budget import Budget, Refused, shown
from zoo.convert.rebuild import built, called
from zoo.convert.records import Made, Name, safe_key

_GAP = 4
_MOST_MARKS = 1000
_UNSET = object()


def read_pickle(file: BinaryIO, budget: Budget, persistent: Callable[[Any], Any]) -> Any:
    """What the pickle at the file's position describes; the position is then behind it.

    Args:
        file: in memory: a damaged length may ask for all of it.
        persistent: makes the object for a persistent id, or raises Refused.

    Raises: Refused.
    """
    return _Machine(budget, persistent).run(file)


class _Machine:
    """The stack, the stacks below each open mark, and the memo."""

    def __init__(self, budget: Budget, persistent: Callable[[Any], Any]) -> None:
        self.budget, self.persistent = budget, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: list[Any] = []

    def run(self, file: BinaryIO) -> Any:
        position = 0
        try:
            for opcode, argument, at in pickletools.genops(file):
                position = at or 0
                self.budget.step(0 if argument is None else sys.getsizeof(argument))
                if opcode.name not in _HANDLERS:
                    raise Refused(f"its pickle uses {opcode.name}, which no checkpoint needs")
                _HANDLERS[opcode.name](self, argument)
        # Warnings are about odd escapes in a text, where they are errors.
        except (ValueError, OverflowError, Warning) as error:
            reason = "truncated: the file ends within its pickle"
            if file.read(1):
                reason = f"its pickle is damaged near byte {position}: {shown(str(error))}"
            raise Refused(reason) from error
        return self.pop()

    # ---------------------------------------------------------------- the stack

    def push(self, value: Any) -> None:
        self.stack.append(value)  # of the moment: to_mark exchanges the stack

    def pop(self) -> Any:
        if not self.stack:
            raise Refused("its pickle is damaged: it takes from an empty stack")
        return self.stack.pop()

    def top(self, *kinds: type) -> Any:
        if not self.stack:
            raise Refused("its pickle is damaged: it looks at an empty stack")
        if kinds and not isinstance(self.stack[-1], kinds):
            raise Refused(f"its pickle is damaged: it adds to {shown(self.stack[-1])}")
        return self.stack[-1]

    def mark(self, _: Any) -> None:
        if len(self.below) == _MOST_MARKS:
            raise Refused(f"its pickle nests deeper than {_MOST_MARKS} levels")
        self.below.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        """What has been put on the stack since the last mark, which is taken off with it."""
        if not self.below:
            raise Refused("its pickle is damaged: it goes back to a mark that is not there")
        items, self.stack = self.stack, self.below.pop()
        return items

    def drop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def double(self, _: Any) -> None:
        self.push(self.top())

    # ---------------------------------------------------------------- the memo

    def put(self, index: int | None) -> None:
        index = len(self.memo) if index is None else index
        if not 0 <= index < len(self.memo) + _GAP:  # a table grows up to the index it is told
            raise Refused(f"memo index {shown(index)} after {len(self.memo)} entries")
        self.memo.extend([_UNSET] * (index + 1 - len(self.memo)))
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if not 0 <= index < len(self.memo) or self.memo[index] is _UNSET:
            raise Refused(f"its pickle is damaged: memo index {shown(index)} is not set")
        self.push(self.memo[index])

    # ---------------------------------------------------------------- containers

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise Refused("its pickle is damaged: it takes from an empty stack")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def empty_set(self, _: Any) -> None:
        self.budget.step(200)  # even an empty one is large
        self.push(set())

    def set_of(self, _: Any) -> None:
        items = self.to_mark()
        self.budget.step(64 * len(items))
        self.push(frozenset(map(safe_key, items)))

    def dict_of(self, _: Any) -> None:
        table: dict[Any, Any] = {}
        _fill(table, self.to_mark())
        self.push(table)

    def extend(self, items: list[Any]) -> None:
        target = self.top(list, Made)
        if isinstance(target, Made):
            target.items = target.items or []
            target = target.items
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.top(dict, Made)
        if isinstance(target, Made):
            target.entries = target.entries or {}
            target = target.entries
        _fill(target, items)

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self.update([key, value])

    def add(self, _: Any) -> None:
        items = self.to_mark()
        self.budget.step(64 * len(items))
        self.top(set).update(map(safe_key, items))

    # ---------------------------------------------------------------- names and calls

    def name(self, text: str) -> None:
        self.budget.step(128)
        module, _, name = text.partition(" ")
        self.push(Name(module, name))

    def stack_name(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Refused("its pickle is damaged: a name that is no text")
        self.push(Name(module, name))

    def call(self, name: Any, arguments: Any) -> None:
        self.budget.step(200)
        if not isinstance(arguments, tuple):
            raise Refused(f"its pickle is damaged: a call with {shown(arguments)} for arguments")
        self.push(called(name, arguments, self.budget))

    def reduce(self, _: Any) -> None:
        arguments, name = self.pop(), self.pop()
        self.call(name, arguments)

    def reduce_with_names(self, _: Any) -> None:
        _named, arguments, name = self.pop(), self.pop(), self.pop()
        self.call(name, arguments)

    def instance(self, text: str) -> None:
        arguments = tuple(self.to_mark())
        self.name(text)
        self.call(self.pop(), arguments)

    def instance_of(self, _: Any) -> None:
        name, *arguments = self.to_mark() or [None]
        self.call(name, tuple(arguments))

    def build(self, _: Any) -> None:
        state = self.pop()
        built(self.top(), state, self.budget)

    def persist(self, identity: Any) -> None:
        self.budget.step(200)
        self.push(self.persistent(self.pop() if identity is None else identity))

    def version(self, number: int) -> None:
        if number > 5:
            raise Refused(f"pickle protocol {number}; protocols 0 to 5 are known")


def _fill(table: dict[Any, Any], items: list[Any]) -> None:
    """Add keys and values in turn."""
    if len(items) % 2:
        raise Refused("its pickle is damaged: a key without a value")
    table.update(zip(map(safe_key, items[::2]), items[1::2], strict=True))


_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"),
    *("BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
"""Opcodes that put their argument on the stack."""

_HANDLERS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_VALUES, _Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": _Machine.empty_set,
    "PROTO": _Machine.version,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": lambda machine, _: machine.to_mark().clear(),
    "DUP": _Machine.double,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.to_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": lambda machine, _: machine.push(machine.to_mark()),
    "DICT": _Machine.dict_of,
    "FROZENSET": _Machine.set_of,
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.to_mark()),
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda machine, _: machine.update(machine.to_mark()),
    "ADDITEMS": _Machine.add,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.reduce_with_names,
    "INST": _Machine.instance,
    "OBJ": _Machine.instance_of,
    "BUILD": _Machine.build,
    "PERSID": _Machine.persist,
    "BINPERSID": _Machine.persist,
}
"""What each opcode does, given its argument."""
