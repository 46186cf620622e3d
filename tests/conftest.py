"""What every test may rely on: no network, a project of its own to break, nothing written into the tree."""
from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent

TINY_PARAMETERS = """\
profile: str = "smoke"            # name of the scale
dataset: str = "shapes3d-twin"    # a world by name, or a path
train_steps: int = 60             # steps
rate: float = 0.1                 # of learning
fast: bool = False                # or not"""


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that reaches for the network fails, at home as in a sealed container."""
    connect = socket.socket.connect

    def guarded(self, address):
        host = address[0] if isinstance(address, tuple) else "localhost"  # a path: a socket of this machine
        if host not in ("localhost", "::1") and not host.startswith("127."):
            raise OSError(f"tests have no network, and this one asked for {host}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True, scope="session")
def own_folders(tmp_path_factory):
    """Records, trained models and IPython's history of the tests go to a temporary folder."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INC_RESULTS", str(folder / "results"))
        patch.setenv("INC_RUNS", str(folder))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        yield folder


class Project:
    """A project in miniature: notebooks, profiles, a lock, one module; and the commands run on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("notebooks", "inc_lib", "checkpoints", "book"):
            (root / folder).mkdir(parents=True)
        shutil.copytree(ROOT / "notebooks" / "profiles", root / "notebooks" / "profiles")
        (root / "inc_lib" / "actions.py").write_text('"""A module."""\nx = 1\n')
        (root / "requirements.lock").write_text("# pins\nnumpy==2.0.0\n")

    def write(self, name: str, *code: str, prose: str = "With a story.",
              parameters: str = TINY_PARAMETERS, metadata: dict | None = None) -> Path:
        """A chapter: title, parameters, and each piece of code under its own heading."""
        text, cell = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
        cells = [text(f"# Chapter {name}\n\n{prose}"), cell(parameters, metadata={"tags": ["parameters"]})]
        for number, source in enumerate(code, 1):
            cells += [text(f"## Step {number}"), cell(source)]
        for number, one in enumerate(cells):
            one["id"] = f"cell-{number}"
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={
            "kernelspec": kernel, "language_info": {"name": "python"}, **(metadata or {})})
        path = self.root / "notebooks" / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    def command(self, *words: str | Path) -> subprocess.CompletedProcess:
        """Run a command in the project's folder, as a user would."""
        environment = {**os.environ, "INC_HOME": str(self.root), "COLUMNS": "100"}
        environment.pop("INC_RESULTS")
        return subprocess.run([str(word) for word in words], cwd=self.root, env=environment, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL)

    def run(self, *words: str | Path) -> subprocess.CompletedProcess:
        return self.command(sys.executable, "-m", "inc_lib.run", *words)

    def book(self, *words: str | Path) -> subprocess.CompletedProcess:
        return self.command(sys.executable, "-m", "inc_lib.book", *words)


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path / "project")


def pytest_terminal_summary(terminalreporter):
    """What each chapter cost: the smoke scale is meant to stay under half a minute a chapter."""
    costs = [value for report in terminalreporter.getreports("passed")
             for name, value in report.user_properties if name == "chapter"]
    if costs:
        terminalreporter.section("chapters")
        for cost in costs:
            terminalreporter.line(cost)
