"""Recipes to and from TOML, and single settings changed by path, every value checked by type."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import tomli_w

from zoo.recipes.schema import Recipe, Value

T = TypeVar("T")


class RecipeError(ValueError):
    """A recipe, or a setting of it, is wrong; the message names the key and what is expected."""


def to_toml(recipe: Recipe) -> str:
    """The recipe as a TOML text; a key whose value is None is left out."""
    return tomli_w.dumps(_plain(recipe))


def from_toml(text: str, where: str = "recipe") -> Recipe:
    """The recipe that a TOML text describes; an absent key takes its default, None where it may.

    where: name of the file, for messages. Raises RecipeError.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not a TOML file: {error}") from error
    try:
        return build(Recipe, table)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with settings `a.b=VALUE` applied in order.

    The path follows the fields, an index selects in a list: `stages.0.optimiser.lr=0.01`.
    VALUE is a TOML value, else a string; `none` clears a field that may be None.
    Raises RecipeError naming the nearest key, or the type that is expected.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise RecipeError(f"setting {setting!r}: expected PATH=VALUE, such as seed=1")
        recipe = _replaced(recipe, Recipe, keys, parsed(text.strip()), done="")
    return recipe


def build(kind: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """An instance of the dataclass `kind` from a table, every key and type checked."""
    hints = get_type_hints(kind)
    for key in table:
        if key not in hints:
            raise RecipeError(unknown_key(where, key, hints))
    values = {key: checked(hints[key], table[key], _join(where, key)) for key in table}
    for item in dataclasses.fields(cast(Any, kind)):
        needed = (item.default, item.default_factory) == (dataclasses.MISSING, dataclasses.MISSING)
        if needed and item.name not in values:
            raise RecipeError(f"{_join(where, item.name)}: missing, it has no default")
    return kind(**values)


def first_difference(one: Recipe, other: Recipe) -> str:
    """The first setting in which two recipes differ, `a.b: VALUE -> VALUE`; "" when none does."""
    before, after = _leaves(_plain(one)), _leaves(_plain(other))
    for key in [*before, *after]:
        if before.get(key) != after.get(key):
            return f"{key}: {before.get(key, 'none')!s} -> {after.get(key, 'none')!s}"
    return ""


def _leaves(value: Any, where: str = "") -> dict[str, Any]:
    """Single values by path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        parts = [_leaves(item, _join(where, str(key))) for key, item in items]
        return {key: item for part in parts for key, item in part.items()}
    return {where: value}


def _plain(value: Any) -> Any:
    """Dataclasses to dicts, tuples to lists, None left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return {name: _plain(item) for name, item in pairs if item is not None}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def parsed(text: str) -> Any:
    """A TOML value, else the text itself."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = table["value"]
    # Dates are TOML values too, and no field holds one; a line break could add further keys.
    plain = len(table) == 1 and isinstance(value, str | int | float | bool | list | dict)
    return value if plain else text


def _replaced(node: Any, kind: Any, keys: list[str], value: Any, done: str) -> Any:
    """`node`, of declared type `kind`, with the value at path `keys` exchanged."""
    if not keys:
        if value == "none" and type(None) in get_args(kind):
            return None
        return checked(kind, value, done)
    key, rest = keys[0], keys[1:]
    path = _join(done, key)
    if dataclasses.is_dataclass(node):
        hints = get_type_hints(type(node))
        if key not in hints:
            raise RecipeError(unknown_key(done, key, hints))
        new = _replaced(getattr(node, key), hints[key], rest, value, path)
        return dataclasses.replace(cast(Any, node), **{key: new})
    if isinstance(node, tuple):
        index = _index(key, len(node), path)
        new = _replaced(node[index], get_args(kind)[0], rest, value, path)
        return (*node[:index], new, *node[index + 1 :])
    if isinstance(node, dict) and not rest:
        return {**node, key: checked(get_args(kind)[1], value, path)}
    raise RecipeError(f"{path}: {done} is a single value and has no parts")


def _index(key: str, length: int, path: str) -> int:
    if not key.isdecimal() or int(key) >= length:
        raise RecipeError(f"{path}: expected an index from 0 to {length - 1}, got {key!r}")
    return int(key)


def checked(kind: Any, value: Any, where: str) -> Any:
    """The value as the declared type; integers serve as floats, lists as tuples.

    where: its path, for the message. Raises RecipeError.
    """
    if kind is Value or get_origin(kind) in (Union, types.UnionType):
        return _checked_union(kind, value, where)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return build(cast(type, kind), value, where)
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        choices = ", ".join(map(repr, get_args(kind)))
        raise RecipeError(f"{where}: expected one of {choices}, got {value!r}{_near(value, kind)}")
    if get_origin(kind) in (tuple, list) and isinstance(value, list | tuple):
        part = get_args(kind)[0]
        items = [checked(part, item, _join(where, str(i))) for i, item in enumerate(value)]
        return cast(Any, get_origin(kind))(items)
    if get_origin(kind) is dict and isinstance(value, Mapping):
        part = get_args(kind)[1]
        return {str(key): checked(part, item, _join(where, key)) for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise RecipeError(f"{where}: expected {_name(kind)}, got {value!r}")


def _checked_union(kind: Any, value: Any, where: str) -> Any:
    if value is None and type(None) in get_args(kind):
        return None
    for part in get_args(kind):
        if part is not type(None) and part is not float:
            try:
                return checked(part, value, where)
            except RecipeError:
                continue
    if float in get_args(kind) and type(value) in (int, float):
        return float(value)
    raise RecipeError(f"{where}: expected {_name(kind)}, got {value!r}")


def unknown_key(where: str, key: str, known: Iterable[str]) -> str:
    """The message for a key that does not exist; it names the nearest and the known ones."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
    listed = ", ".join(names)
    return f"{_join(where, key)}: unknown key, nearest is {near[0]!r} (known: {listed})"


def _near(value: Any, kind: Any) -> str:
    near = difflib.get_close_matches(str(value), [str(choice) for choice in get_args(kind)], n=1)
    return f"; nearest is {near[0]!r}" if near else ""


def _name(kind: Any) -> str:
    """How a message calls a type."""
    words = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
    if kind in words:
        return words[kind]
    if kind is type(None):
        return "none"
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_name(part) for part in get_args(kind))
    if get_origin(kind) in (tuple, list):
        return f"a list of ({_name(get_args(kind)[0])})"
    return "a table"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)
