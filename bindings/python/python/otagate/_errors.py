"""What can go wrong, by whose fault."""

from __future__ import annotations

from typing import Iterable, NamedTuple


class Problem(NamedTuple):
    """One thing wrong with a fleet or a change, and where."""

    place: str
    """The path to what is wrong (``changes[2].firmware``), or file, line and column; empty for the whole."""
    message: str
    """What is wrong and what to do."""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class Error(Exception):
    """Whatever otagate raises of its own. A store's exceptions come through as they are."""


class InvalidArgument(Error, ValueError):
    """An argument that cannot be, such as a naive datetime."""


class SerialMalformed(InvalidArgument):
    """A serial that is not spelled as its scheme says (S1)."""


class SerialPlaceholder(InvalidArgument):
    """A serial that names nobody (question 2)."""


class Refused(Error, ValueError):
    """A fleet, a batch of changes or a value that is taken whole or not at all (L1), and is not taken."""

    problems: tuple[Problem, ...]
    """Everything that is wrong, each with its place."""

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message, tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return str(self.args[0])


class NotFound(Error, LookupError):
    """What is named is not there."""


class Changed(Error):
    """Somebody was faster, or a revision is not above the one that is held (L2)."""


class StoreGarbage(Error):
    """A host's store gave what cannot be (V4). Nothing is served."""


class InternalError(Error, RuntimeError):
    """A fault inside otagate: please report it. Nothing is served; the fleet goes on."""
