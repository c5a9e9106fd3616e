"""The types are true: for mypy, for pyright, and held against what is there at run time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parents[2]
CONFIG = TESTS.parent / "pyproject.toml"
EXAMPLES = sorted((ROOT / "examples" / "python").glob("*.py"))

SAID = """
from typing import Optional
from typing_extensions import assert_type
import otagate
from otagate.typing import ReasonName

fleet = otagate.Fleet()
decision = fleet.decide("key", b"serial", "1.0")
assert_type(decision.reason, ReasonName)
assert_type(decision.artifact, Optional[otagate.Artifact])
assert_type(fleet.decide_many([("key", "serial")]), list[otagate.Decision])
assert_type(fleet.decide_many([("key", "serial", "1.0", None)], into="status"), bytes)
assert_type(fleet.decide_many(fleet.devices("lamp"), key="key"), otagate.Columns)
match decision:
    case otagate.Decision(200, reason, artifact):
        assert_type(artifact, Optional[otagate.Artifact])
    case _:
        pass
fleet.decide("key", "serial", now="today")  # type: ignore[arg-type]
fleet.decide("key", 17)  # type: ignore[arg-type]
fleet.decide("key", "serial", want="coffee")  # type: ignore[arg-type]
decision.status = 200  # type: ignore[misc]
otagate.Device("SN-1", "asleep", "stable")  # type: ignore[arg-type]
"""


def run(*words: object, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True, cwd=cwd)
    if "No module named" in done.stderr:
        pytest.fail(f"{words[0]} is missing: {sys.executable} -m pip install mypy 'pyright[nodejs]'")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_mypy(tmp_path: Path) -> None:
    said = tmp_path / "said.py"
    said.write_text(SAID)
    paths = [TESTS.parent / "check.py", TESTS.parent / "benches" / "python.py", TESTS, said]
    cache = ["--cache-dir", tmp_path / "cache", "--config-file", CONFIG]
    run("mypy", "--strict", "--warn-unused-ignores", *cache, "-p", "otagate", cwd=tmp_path)
    run("mypy", "--strict", "--warn-unused-ignores", *cache, *paths, cwd=tmp_path)
    for example in EXAMPLES:
        run("mypy", "--strict", *cache, example, cwd=tmp_path)


def test_pyright(tmp_path: Path) -> None:
    # What is installed, the examples, and the tests: whoever uses it must be shown what it takes.
    import otagate

    # Copies, since pyright looks at nothing outside its project and is content with that.
    (tmp_path / "said.py").write_text(SAID)
    copied = {"otagate": sorted(Path(otagate.__file__).parent.glob("*.py*")), "tests": sorted(TESTS.glob("*.py")), "examples": EXAMPLES}
    for folder, files in copied.items():
        (tmp_path / folder).mkdir()
        for file in files:
            shutil.copy(file, tmp_path / folder)
    project = {"strict": ["otagate", "said.py"], "extraPaths": ["tests", "examples"], "pythonVersion": "3.10"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(project))
    said = run("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", tmp_path, cwd=tmp_path)
    assert json.loads(said)["summary"]["filesAnalyzed"] >= 1 + sum(file.suffix in (".py", ".pyi") for each in copied.values() for file in each)


def test_stubs_are_what_is_there(tmp_path: Path) -> None:
    allowed = ["--allowlist", TESTS / "stubtest-allow.txt", "--ignore-unused-allowlist"]
    run("mypy.stubtest", "otagate", *allowed, cwd=tmp_path)
