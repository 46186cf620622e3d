"""A chapter's parameters: read from its tagged cell, checked before a kernel starts, written into it.

The cell tagged `parameters` holds literals only, one per line, annotated and commented:

    seed: int = 0                       # random seed
    dataset: str = "shapes3d-twin"      # a world by name, or a path to your own data

papermill reads the same cell. It accepts an unknown name with a warning and guesses types from text; here
both are errors, because a mistyped parameter that is silently ignored costs an hour and a wrong number.
"""
from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError, suggest

TAG = "parameters"
INJECTED = "injected-parameters"  # papermill's own tag; never stored in a source notebook

# What most chapters call their parameters. A profile may hold these and what any chapter beside it declares.
COMMON = ("profile", "dataset", "image_size", "n_pictures", "n_sweeps",
          "model", "checkpoint", "train_steps", "n_observations",
          "n_generated", "n_boosting", "n_drawn", "n_models", "n_networks", "n_seeds", "n_steps", "live_steps",
          "oracle_steps", "n_learned", "n_live", "n_encoded", "seed", "device")

_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict,
          "None": type(None)}


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell.

    Attributes:
        name: as the chapter's code uses it.
        types: the types a value may have, in the order of the annotation; `str | None` has two.
        default: the literal written in the cell (the smoke scale).
        span: where that literal stands: first line and column, last line and column (0-based, UTF-8 bytes).
    """

    name: str
    types: tuple[type, ...]
    default: Any
    span: tuple[int, int, int, int]

    @property
    def type_name(self) -> str:
        return " or ".join("None" if kind is type(None) else kind.__name__ for kind in self.types)

    def accepts(self, value: Any) -> bool:
        """True when `value` has one of the types; an int serves as a float, a bool as neither."""
        if isinstance(value, bool):
            return bool in self.types
        return isinstance(value, self.types) or (isinstance(value, int) and float in self.types)

    def parse(self, text: str) -> Any:
        """The value that `text`, typed on a command line, stands for: by the declared types, not by guessing.

        Raises:
            InputError: the text is no value of these types.
        """
        for kind in sorted(self.types, key=lambda kind: kind is str):  # text itself is the last resort
            if kind is str:
                return text
            if kind is bool and text.lower() in ("true", "false"):
                return text.lower() == "true"
            try:
                if kind in (int, float):
                    return kind(text)
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                continue
            if kind is not bool and isinstance(value, kind):
                return value
        raise InputError(f"parameter '{self.name}' takes {self.type_name}, found {text!r}: "
                         f"give a value such as {self.default!r}.")


def tagged(cells: Iterable[Mapping]) -> Mapping:
    """The cell tagged `parameters`.

    Raises:
        InputError: there is none, or more than one.
    """
    found = [cell for cell in cells
             if cell["cell_type"] == "code" and TAG in cell.get("metadata", {}).get("tags", [])]
    if len(found) != 1:
        raise InputError(f"the notebook has {len(found)} code cells tagged '{TAG}', expected exactly one: "
                         "tag the cell that holds its parameters.")
    return found[0]


def read(source: str) -> dict[str, Parameter]:
    """The parameters declared in a cell's source, in order.

    Raises:
        InputError: the cell holds more than assignments of literals, or a value contradicts its annotation.
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise InputError(f"the parameters cell is not Python (line {error.lineno}: {error.msg}).") from error
    parameters = {}
    for statement in statements:
        line = f"line {statement.lineno} of the parameters cell"
        if isinstance(statement, ast.AnnAssign):
            target, value, types = statement.target, statement.value, _annotated(statement.annotation, line)
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value, types = statement.targets[0], statement.value, None
        else:
            target = value = types = None
        try:
            default = ast.literal_eval(value) if isinstance(target, ast.Name) and value is not None else ...
        except ValueError:
            default = ...
        if default is ...:
            raise InputError(f"{line} is not `name: type = literal`: keep only literals there.")
        if types is None and type(default) not in _TYPES.values():
            raise InputError(f"{line} holds a {type(default).__name__}, expected one of {', '.join(_TYPES)}.")
        span = (value.lineno - 1, value.col_offset, value.end_lineno - 1, value.end_col_offset)
        parameter = Parameter(target.id, types or (type(default),), default, span)
        if not parameter.accepts(default):
            raise InputError(f"{line}: '{target.id}' is annotated {parameter.type_name} "
                             f"but holds {default!r}.")
        parameters[target.id] = parameter
    return parameters


def _annotated(annotation: ast.expr, line: str) -> tuple[type, ...]:
    """The types an annotation names: `int`, `list[int]`, `str | None`."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _annotated(annotation.left, line) + _annotated(annotation.right, line)
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    name = ast.unparse(annotation)
    if name not in _TYPES:
        raise InputError(f"{line} is annotated '{name}', expected one of {', '.join(_TYPES)}.")
    return (_TYPES[name],)


def profile_values(profile: str, folder: Path) -> dict[str, Any]:
    """The values that a profile sets: `folder/PROFILE.yaml`, or the YAML file that `profile` names.

    Raises:
        InputError: there is no such profile, or the file is no flat mapping of known names.
    """
    import yaml

    path = Path(profile) if profile.endswith((".yaml", ".yml")) else folder / f"{profile}.yaml"
    if not path.is_file():
        if path.parent != folder:
            raise InputError(f"profile {profile} does not exist: give the path of a YAML file, "
                             f"or one of {', '.join(profile_names(folder))}.")
        raise suggest("profile", profile, profile_names(folder))
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"profile {path.name} is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(values, dict):
        raise InputError(f"profile {path.name} holds {type(values).__name__}, "
                         "expected lines of `name: value`.")
    if set(values) - set(COMMON):
        known = {*COMMON, *_declared_beside(folder)}
        for name in set(values) - known:
            raise InputError(f"profile {path.name}: {suggest('parameter', str(name), sorted(known))}")
    return values


def _declared_beside(folder: Path) -> Iterator[str]:
    """The names of all parameters of the chapters that the profiles in `folder` are for."""
    for path in sorted(folder.parent.glob("*.ipynb")):
        yield from read("".join(tagged(json.loads(path.read_text(encoding="utf-8"))["cells"])["source"]))


def profile_names(folder: Path) -> list[str]:
    """The profiles there are, smallest scale first, others after them."""
    order = ["smoke", "cpu", "gpu"]
    return sorted((path.stem for path in folder.glob("*.yaml")),
                  key=lambda name: (order.index(name) if name in order else len(order), name))


def resolve(declared: Mapping[str, Parameter], *, profile: Mapping[str, Any],
            given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every declared parameter: default, then profile, then what was given by hand.

    A profile's keys that this chapter does not have are passed over; a name given by hand must exist. Text
    given by hand is read by the declared type; other values must have it.

    Raises:
        InputError: an unknown name (says the nearest and lists all), or a value of the wrong type.
    """
    values = {name: parameter.default for name, parameter in declared.items()}
    values |= {name: value for name, value in profile.items() if name in declared}
    for name, value in given.items():
        if name not in declared:
            raise suggest("parameter", name, declared)
        values[name] = declared[name].parse(value) if isinstance(value, str) else value
    for name, value in values.items():
        if not declared[name].accepts(value):
            hint = ": in YAML write 0.001, not 1e-3" if isinstance(value, str) and name not in given else ""
            raise InputError(f"parameter '{name}' takes {declared[name].type_name}, found {value!r} "
                             f"({type(value).__name__}){hint}.")
    return values


def write(source: str, values: Mapping[str, Any]) -> str:
    """The cell's source with each literal replaced by its value; comments keep their column where they can.

    >>> write("seed: int = 0      # random seed", {"seed": 17})
    'seed: int = 17     # random seed'
    """
    lines = [line.encode() for line in source.split("\n")]
    for parameter in sorted(read(source).values(), key=lambda parameter: parameter.span, reverse=True):
        value = values.get(parameter.name, parameter.default)
        if value == parameter.default and type(value) is type(parameter.default):
            continue
        first, start, last, end = parameter.span
        literal = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
        before, after = lines[first][:start] + literal.encode(), lines[last][end:]
        if after.lstrip().startswith(b"#") and first == last:
            after = b" " * max(2, len(lines[last]) - len(before) - len(after.lstrip())) + after.lstrip()
        lines[first:last + 1] = [before + after]
    return b"\n".join(lines).decode()
