"""The OTAdrive calls as a pure function: a request's line and headers in, what to send out.

>>> import otagate
>>> from otagate import otadrive
>>> fleet, ledger = otagate.Fleet(), otagate.Ledger()
>>> reply = otadrive.answer(fleet, ledger, "GET", "/deviceapi/update?k=guess&s=1&v=1.0")
>>> reply.status, reply.reason
(401, 'key-unknown')

Send ``reply.status``, ``reply.headers`` spelled as they are, and ``reply.body`` or the part of a file that ``reply.file`` names; then call ``reply.answered()``,
and when the last byte has left ``reply.delivered()``. Whatever HTTP library does the sending: it must keep the spelling of header names and must not chunk.
"""

from __future__ import annotations

from datetime import datetime
from typing import Iterable, Optional, Tuple

from ._native import Fleet, Ledger, Reply, otadrive_answer
from ._values import FilePart
from .typing import Text

__all__ = ["FilePart", "Reply", "answer"]


def answer(
    fleet: Fleet,
    ledger: Ledger,
    method: str,
    target: Text,
    headers: Iterable[Tuple[Text, Text]] = (),
    *,
    lease_secs: int = 3600,
    grace_secs: int = 60,
    now: Optional[datetime] = None,
) -> Reply:
    """Answers one request; what is offered is claimed, and leased.

    :param target: path and query as they came: nothing decoded, since clients do not encode.
    :param headers: pairs of name and value, names in any case: ASGI's ``scope["headers"]``.
    :param lease_secs: how long an offer stays the same: longer than the slowest download.
    :param grace_secs: what is left of that once the last byte was sent.
    """
    return otadrive_answer(fleet, ledger, method, target, headers, lease_secs=lease_secs, grace_secs=grace_secs, now=now)
