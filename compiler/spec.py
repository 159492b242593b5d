"""Pipelines as text: ``low-rank{ratio=2},ternary{group=64,include=*.mlp.*|op:Conv},rf8``.

The syntax follows from the fields of the passes, and :func:`format_passes` gives back text that parses to equal passes.
A list is joined by ``|``; a comma inside round brackets belongs to the value, as does anything in double quotes.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from regc.compiler import registry
from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass, options_of
from regc.compiler.suggest import nearest

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_OPEN, _CLOSE = "({", ")}"
_PLAIN = re.compile(r"[^\s\"\\,|{}()]+(\([^\s\"\\|{}()]*\))?")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def parse_passes(text: str) -> list[Pass]:
    """Parse a pipeline.

    Raises:
        UsageError: a name, an option or a value that is unknown or out of range, naming the nearest one.
    """
    entries = [entry for entry in _split(text, text) if entry]
    if not entries:
        raise UsageError('no passes given; for example --passes "low-rank{ratio=2},ternary{group=64},rf8"')
    return [_parse_pass(entry, text) for entry in entries]


def format_passes(passes: Sequence[Pass]) -> str:
    """The text of a pipeline, with the options that differ from their defaults."""
    return ",".join(_format_pass(pass_) for pass_ in passes)


def hints(pass_: type[Pass]) -> dict[str, Any]:
    """The types of the options of a pass, by name."""
    return typing.get_type_hints(pass_)


def type_name(hint: Any) -> str:
    """A type as the command line shows it: ``int``, ``float``, ``mean | median``, ``list``."""
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, choices))
    if typing.get_origin(hint) is tuple:
        return "list"
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(type_name(choice) for choice in choices if choice is not type(None))
    return str(getattr(hint, "__name__", hint))


def format_value(value: Any) -> str:
    """An option's value as the pipeline text has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, tuple):
        return "|".join(map(format_value, value))
    text = str(value)
    return text if _PLAIN.fullmatch(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _format_pass(pass_: Pass) -> str:
    given = [(f.name, getattr(pass_, f.name)) for f in options_of(pass_) if getattr(pass_, f.name) != f.default]
    options = ",".join(f"{name}={format_value(value)}" for name, value in given)
    return f"{pass_.name}{{{options}}}" if options else pass_.name


def _parse_pass(entry: str, text: str) -> Pass:
    name, brace, rest = entry.partition("{")
    if "(" in name:
        raise UsageError(f'options go in braces: {name.partition("(")[0]}{{...}}, in --passes "{text}"')
    if brace and not rest.endswith("}"):
        raise UsageError(f'a comma is missing after "}}" in --passes "{text}"')
    pass_ = registry.get(name.strip())
    known = hints(pass_)
    options = {f.name: known[f.name] for f in options_of(pass_)}
    return pass_(**parse_options(pass_.name, rest[:-1], options, f"; see: regc passes {pass_.name}"))


def parse_options(owner: str, text: str, known: Mapping[str, Any], remedy: str = "") -> dict[str, Any]:
    """The options ``name=value,..`` of what is called ``owner``; ``known`` has their types by name.

    Raises:
        UsageError: a name or a value that is none of its own; ``remedy`` is added where a name is unknown.
    """
    options: dict[str, Any] = {}
    for option in filter(None, _split(text, text)):
        key, value = _parse_option(owner, option, known, remedy)
        if key in options:
            raise UsageError(f"option {key} of {owner} is given twice")
        options[key] = value
    return options


def check_types(pass_: Pass) -> None:
    """Require that the options of a pass made in Python have the declared types.

    Raises:
        UsageError: an option of another type, such as one selector in place of a list.
    """
    for name, hint in hints(type(pass_)).items():
        value = getattr(pass_, name)
        if name in {f.name for f in options_of(pass_)} and not _fits(value, hint):
            remedy = (
                f"; write {name}=({value!r},)" if typing.get_origin(hint) is tuple and isinstance(value, str) else ""
            )
            raise UsageError(f"{pass_.name}: {name} takes {type_name(hint)}, not {value!r}{remedy}")


def _fits(value: Any, hint: Any) -> bool:
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, choice) for choice in choices)
    if origin is typing.Literal:
        return value in choices
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, choices[0]) for item in value)
    if isinstance(value, bool) or hint is bool:
        return hint is bool and isinstance(value, bool)
    return isinstance(value, int | float if hint is float else hint)


def _parse_option(owner: str, option: str, known: Mapping[str, Any], remedy: str) -> tuple[str, Any]:
    key, equals, value = (part.strip() for part in option.partition("="))
    key = key.replace("-", "_")
    if key not in known:
        raise UsageError(f'{owner} has no option "{key}"{nearest(key, list(known))}{remedy}')
    if not equals:
        raise UsageError(f'{owner}: option "{option}" needs a value: {key}=...')
    try:
        return key, _convert(value, known[key])
    except ValueError:
        raise UsageError(f'{owner}: {key} takes {type_name(known[key])}, not "{value}"') from None


def _convert(value: str, hint: Any) -> Any:
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, choices)
    if origin is tuple:
        return tuple(_convert(part, choices[0]) for part in _split(value, value, "|"))
    value = _unquoted(value)
    if origin is typing.Literal:
        return next(choice for choice in choices if str(choice) == value) if value in map(str, choices) else _fail()
    if hint is bool:
        return value.lower() in _TRUE if value.lower() in _TRUE + _FALSE else _fail()
    return hint(value)


def _convert_union(value: str, choices: tuple[Any, ...]) -> Any:
    if value == "None" and type(None) in choices:
        return None
    for choice in choices:
        try:
            if choice is not type(None):
                return _convert(value, choice)
        except ValueError:
            continue
    return _fail()


def _fail() -> typing.NoReturn:
    raise ValueError


def _split(text: str, whole: str, separator: str = ",") -> list[str]:
    """Split at the separators that stand in no bracket and in no quotes."""
    parts, depth, start = [], 0, 0
    bare = _QUOTED.sub(lambda found: "q" * len(found.group()), text)
    for position, character in enumerate(bare):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth < 0:
            raise UsageError(f'"{character}" in "{whole}" closes nothing')
        if character == separator and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    if depth:
        raise UsageError(f'a bracket in "{whole}" is not closed')
    return [*parts, text[start:].strip()]


def _unquoted(value: str) -> str:
    found = _QUOTED.fullmatch(value)
    return re.sub(r"\\(.)", r"\1", found.group(1)) if found else value
