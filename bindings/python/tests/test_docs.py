"""What is public is documented, and what the documents say runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from pathlib import Path
from typing import get_args

import otagate
import otagate.asyncio
import otagate.otadrive
import otagate.store
import otagate.typing
import pytest

HERE = Path(__file__).resolve().parents[1]
MODULES = ["otagate", "otagate.store", "otagate.asyncio", "otagate.otadrive", "otagate.typing"]
PACKAGE = Path(otagate.__file__).parent


def undocumented(path: Path) -> list[str]:
    """Public classes, functions and properties of a file without a docstring."""
    found = []

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or node.name.startswith("_"):
                continue
            # Of overloads one is enough.
            same = [each for each in body if getattr(each, "name", None) == node.name]
            if not any(ast.get_docstring(each) for each in same if isinstance(each, type(node))):
                found.append(f"{path.name}: {prefix}{node.name}")
            if isinstance(node, ast.ClassDef):
                look(node.body, f"{prefix}{node.name}.")

    look(ast.parse(path.read_text()).body, "")
    return found


def test_every_public_name_is_documented() -> None:
    missing = [name for path in sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("*.pyi")]) for name in undocumented(path)]
    # These serve the package alone, and the protocols of Arrow are named after it.
    own = ("_native.pyi: Asked", "_native.pyi: otadrive_answer")
    assert not [name for name in missing if not name.startswith(own)]


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_are_and_their_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    results = doctest.testmod(module)
    assert results.failed == 0


def test_the_readme_runs() -> None:
    results = doctest.testfile(str(HERE / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0 and results.attempted >= 15, results


def test_the_python_lines_of_the_projects_readme_run() -> None:
    results = doctest.testfile(str(HERE.parents[1] / "README.md"), module_relative=False)
    assert results.failed == 0 and results.attempted >= 3, results


def test_what_is_exported() -> None:
    for name in MODULES[:4]:
        module = importlib.import_module(name)
        assert sorted(module.__all__) == module.__all__
        assert all(hasattr(module, each) for each in module.__all__)
    public = {each for each in vars(otagate) if not each.startswith("_")} - {"annotations", "version"}
    modules = {"store", "asyncio", "otadrive", "typing"}
    assert public - modules == set(otagate.__all__) - {"__version__"}


def test_reasons_are_those_of_the_types() -> None:
    assert list(get_args(otagate.typing.ReasonName)) == [reason.name for reason in otagate.reasons()]
    assert otagate.__version__ == otagate._native.version()


def test_everything_that_python_calls_stops_a_panic() -> None:
    """A panic becomes ``InternalError`` only by way of ``guard``."""
    unguarded = []
    for path in sorted((HERE / "src").glob("*.rs")):
        text = re.sub(r"//.*", "", path.read_text())
        for block in re.split(r"#\[pymethods\]|(?=#\[pyfunction\])", text)[1:]:
            end = block.find("\n}\n") + 3
            for function in re.split(r"\n    (?=(?:pub\(crate\) )?fn )|\n(?=pub\(crate\) fn )", block[:end])[1:]:
                head = function.split("{", 1)[0]
                if "PyResult" in head and "guard(" not in function:
                    unguarded.append(f"{path.name}: {head.split('(')[0]}")
    assert not unguarded
