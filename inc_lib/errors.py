"""What a user gets instead of a traceback: one sentence that says what to do."""
from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something a person gave us cannot be used.

    The message is one sentence: what was wrong, where, what was found, what was expected, what to do.
    Command lines print it as `error: ...` and exit with status 2. In a notebook it is one red sentence:
    IPython asks an exception for `_render_traceback_`, and the cell still counts as failed.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"\x1b[31merror: {self}\x1b[0m"]


def suggest(what: str, given: str, valid: Iterable[str]) -> InputError:
    """The error for a mistyped name: says the nearest valid one and lists all.

    >>> print(suggest("world", "shapes3d-twn", ["dsprites-twin", "shapes3d-twin"]))
    unknown world 'shapes3d-twn': did you mean 'shapes3d-twin'? Valid: dsprites-twin, shapes3d-twin.
    """
    valid = list(valid)
    near = difflib.get_close_matches(str(given), valid, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {what} {given!r}: {hint}Valid: {', '.join(valid)}.")
