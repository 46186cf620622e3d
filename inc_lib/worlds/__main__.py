"""`python -m inc_lib.worlds`: list worlds, download published ones, check your own data."""
from __future__ import annotations

import argparse
import sys

from ..errors import InputError
from ..files import data_folder
from . import TWINS, load
from .fetch import fetch, remotes
from .published import NAMES, locate


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 when it worked, 2 with one sentence on stderr when it did not."""
    parser = argparse.ArgumentParser(prog="python -m inc_lib.worlds", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the worlds known by name, and which of their files are here")
    download = commands.add_parser("fetch", help="download published data, or verify what is here")
    download.add_argument("names", nargs="+", metavar="NAME")
    look = commands.add_parser("check", help="open a world or your own data and say what was found")
    look.add_argument("data", metavar="NAME_OR_PATH")
    look.add_argument("--image-size", type=int, default=64, help="pixels on a side (default: 64)")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "list":
            _list()
        elif chosen.command == "check":
            print(load(chosen.data, image_size=chosen.image_size).describe())
        else:
            for name in chosen.names:
                remotes(name)                     # a mistyped name is found before the first download
            for name in chosen.names:
                fetch(name)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; nothing half-written remains.", file=sys.stderr)
        return 130
    return 0


def _list() -> None:
    for name in TWINS:
        print(f"{name:20} rendered here, nothing to download")
    for name, description in NAMES.items():
        missing = [remote.path for remote, path in locate(name) if path is None]
        state = "here" if not missing else f"not here: python -m inc_lib.worlds fetch {name}"
        print(f"{name:20} {description} ({state})")
    print(f"files are kept in {data_folder()} (set INC_DATA to change that)")


if __name__ == "__main__":
    sys.exit(main())
