"""Builds the wheel and the source distribution, installs each in a fresh virtual environment outside the tree, and runs the tests there.

The whole suite runs by the wheel on the Python that runs this; on every other CPython from 3.10 to 3.13 that the machine has, and by the source
distribution, the tests that need no third party but pytest and pyarrow. What asks about panics runs by a build that has some planted.

Usage: python3 check.py [--quick | --bench]
  --quick   the wheel on this Python alone
  --bench   no tests: what the boundary costs, into target/bench/summary.json
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "target" / "python"
LEAST, MOST = (3, 10), (3, 13)
# Those that say the most about an interpreter: the boundary, not the tools around it.
ELSEWHERE = ["test_vectors.py", "test_decision.py", "test_errors.py", "test_store.py", "test_arrow.py", "test_fleet.py",
             "test_ledger.py", "test_memory.py", "test_processes.py", "test_mended.py", "test_reference.py"]  # fmt: skip


def run(*command: object, **more: object) -> None:
    words = [str(word) for word in command]
    print("+", " ".join(word.replace(str(ROOT), ".") for word in words), flush=True)
    done = subprocess.run(words, check=False, **more)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"failed with {done.returncode}: {' '.join(words)}")


def version_of(python: Path | str) -> tuple[int, int] | None:
    """The version of a CPython that runs."""
    ask = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
    try:
        said = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    name, major, minor = said.stdout.split()
    return (int(major), int(minor)) if name == "cpython" else None


def others() -> dict[tuple[int, int], str]:
    """Every other CPython of the range, by version."""
    found: dict[tuple[int, int], str] = {}
    places = [shutil.which(f"python3.{minor}") for minor in range(LEAST[1], MOST[1] + 1)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places += sorted(str(path) for path in pyenv.glob("*/bin/python3"))
    for place in places:
        version = version_of(place) if place else None
        if place and version and LEAST <= version <= MOST and version != sys.version_info[:2]:
            found.setdefault(version, place)
    return found


def fresh(python: str, where: Path, *packages: object) -> Path:
    """A new virtual environment with these packages; gives its interpreter."""
    run(python, "-m", "venv", where)
    inside = where / "bin" / "python"
    run(inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    return inside


def requirements(*names: str) -> list[str]:
    """The pinned requirement lines of these sections of the test requirements."""
    lines, section = [], ""
    for line in (HERE / "tests" / "requirements.txt").read_text().splitlines():
        if header := re.fullmatch(r"# \[(\w+)\].*", line):
            section = header[1]
        elif line and not line.startswith("#") and section in names:
            lines.append(line)
    return lines


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    if sys.version_info[:2] < LEAST:
        sys.exit(f"the Python face needs Python {LEAST[0]}.{LEAST[1]} or later; this is {sys.version.split()[0]}")
    OUT.mkdir(parents=True, exist_ok=True)
    tools = OUT / "tools"
    if not (tools / "bin" / "maturin").exists():
        fresh(sys.executable, tools, *requirements("build"))
    maturin = tools / "bin" / "maturin"
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target")}
    for old in ("dist", "planted"):
        shutil.rmtree(OUT / old, ignore_errors=True)
    manifest = HERE / "Cargo.toml"
    build = [maturin, "build", "--quiet", "--release", "--locked", "--manifest-path", manifest]
    if "--bench" in sys.argv[1:]:
        run(*build, "--out", OUT / "planted", "--features", "bench", env=environment)
        with tempfile.TemporaryDirectory(prefix="otagate-python-") as scratch:
            python = fresh(sys.executable, Path(scratch) / "bench", *(OUT / "planted").glob("*.whl"), *requirements("bench"))
            run(python, HERE / "benches" / "python.py", ROOT / "target" / "bench" / "summary.json", cwd=scratch)
        return
    run(*build, "--out", OUT / "planted", "--features", "planted-panic", env=environment)
    run(*build, "--out", OUT / "dist", env=environment)
    run(maturin, "sdist", "--manifest-path", manifest, "--out", OUT / "dist", env=environment)
    [wheel], [planted], [sdist] = (
        list((OUT / part).glob(pattern)) for part, pattern in [("dist", "*.whl"), ("planted", "*.whl"), ("dist", "*.tar.gz")]
    )

    with tempfile.TemporaryDirectory(prefix="otagate-python-") as scratch:
        outside = Path(scratch)

        def test(python: Path, *files: str, skip: str = "test_panics*.py") -> None:
            # From a folder of its own, so that what is imported is what was installed.
            paths = [HERE / "tests" / file for file in files] or [HERE / "tests"]
            config = ["-c", HERE / "pyproject.toml", "--rootdir", HERE, "-p", "no:cacheprovider"]
            run(
                python, "-m", "pytest", "-q", *config, f"--ignore-glob={HERE / 'tests' / skip}", *paths,
                cwd=outside, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(outside / "hypothesis")},
            )  # fmt: skip

        whole = fresh(sys.executable, outside / "wheel", wheel, *requirements("test", "full"))
        test(whole)
        with_panics = fresh(sys.executable, outside / "planted", planted, *requirements("test"))
        test(with_panics, "test_panics.py", "test_panics_everywhere.py", skip="none")
        if quick:
            return
        tested = [sys.version_info[:2]]
        for version, other in sorted(others().items()):
            test(fresh(other, outside / f"wheel-{version[1]}", wheel, *requirements("test")), *ELSEWHERE)
            tested.append(version)
        # Built as pip builds it: by maturin of its own, from the archive alone.
        run(sys.executable, "-m", "venv", outside / "sdist")
        from_source = outside / "sdist" / "bin" / "python"
        pip = [from_source, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, *requirements("test"))
        run(*pip, sdist, env=environment)
        test(from_source, *ELSEWHERE)
        versions = ", ".join(f"{major}.{minor}" for major, minor in sorted(tested))
        print(f"the Python face was tested by the wheel on CPython {versions}, and by the source distribution on {sys.version_info[0]}.{sys.version_info[1]}")


if __name__ == "__main__":
    main()
