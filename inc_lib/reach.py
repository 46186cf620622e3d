"""Which modules of a package some code can reach by its imports."""
from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path


def reached(code: Iterable[str], package: Path, *, apart: Iterable[str] = ()) -> list[Path]:
    """Files of a package that pieces of code import, directly or through each other.

    Imports count wherever they stand (in a function as well), and so does a module's full name as a string by itself,
    the way a command line names it: `[sys.executable, "-m", "package.module"]`. A package's `__init__.py` is reached
    with each of its modules. Names put together at run time are not seen: import_module of one of them reaches nothing.

    Args:
        code: Python source, such as a notebook's cells.
        package: the package's folder.
        apart: files as paths within the package that are neither returned nor looked into.

    Returns:
        The files, sorted; all of them (but those apart) where a piece of code is not plain Python, since nobody knows
        what a shell magic runs.
    """
    apart = set(apart)
    files = {path for path in package.rglob("*.py") if path.relative_to(package).as_posix() not in apart}
    modules = {_name(path, package): path for path in files}
    try:
        queue = [name for piece in code for name in _imports(piece, "")]
    except SyntaxError:
        return sorted(files)
    found: set[Path] = set()
    while queue:
        path = modules.get(queue.pop())
        if path is not None and path not in found:
            found.add(path)
            within = _name(path, package) + (".__init__" if path.name == "__init__.py" else "")
            queue += _imports(path.read_text(encoding="utf-8"), within)
    return sorted(found)


def _name(path: Path, package: Path) -> str:
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache(maxsize=512)
def _imports(code: str, module: str) -> tuple[str, ...]:
    """Full names of what a module's code may import, with the packages around each; many are no modules."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            around = module.split(".")[:-node.level] if node.level else []
            source = ".".join([*around, *([node.module] if node.module else [])])
            names |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names.add(node.value)
    return tuple({name[:end] for name in names for end in [*_dots(name), len(name)]})


def _dots(name: str) -> list[int]:
    return [place for place, letter in enumerate(name) if letter == "."]
