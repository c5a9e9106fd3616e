"""A gateway that real devices can ask: the OTAdrive calls over HTTP by FastAPI and uvicorn, firmware streamed from disk, one fleet file.

    pip install otagate fastapi uvicorn
    python gateway.py fleet.toml --port 8080

otagate decides and speaks the protocol; here is what belongs to a host: sockets, files, the log, limits, an operator's face.

    device   ──▶ Gateway.__call__ ──▶ otadrive.answer: claimed, leased ──▶ sent in blocks ──▶ answered, delivered
    operator ──▶ /admin/...       ──▶ changes, explanations, counts
    a task   ──▶ once a second advances rollouts          another ──▶ reads the fleet file anew on SIGHUP

Left out, for a proxy in front: TLS, clients that dawdle over a request or an answer, how many each may have open. The ledger is in memory and begins anew with the
process; Ledger.to_json keeps it. One process alone: two would have two ledgers.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import re
import secrets
import signal
import socket
import sys
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, AsyncGenerator, BinaryIO, NoReturn, Optional

import otagate
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from otagate import otadrive
from starlette.types import Receive, Scope, Send

BLOCK_BYTES = 64 * 1024
HEAD_BYTES_MAX = 16 * 1024
TARGET_BYTES_MAX = 2 * 1024
DEVICE_BODY_BYTES_MAX = 64 * 1024
CHANGES_BYTES_MAX = 1024 * 1024
CONNECTIONS_MAX = 1024
STOP_SECS_MAX = 10
ADVANCE_EVERY_SECS = 1.0

# The parameter `k` in any spelling, and what it says: secrets stay out of the log.
KEY = re.compile(rb"((?:^|[?&])(?:k|%[46]b)=)[^&]*", re.IGNORECASE)
log = logging.getLogger("gateway")


class Unreadable(Exception):
    """A firmware file is not there, or not what it was."""


class Gateway:
    """The calls of devices, as an ASGI application: no framework in between, since frameworks rewrite header names in lower case."""

    def __init__(self, fleet_file: Path, hangup: asyncio.Event, lease_secs: int, grace_secs: int) -> None:
        self.fleet_file, self.hangup, self.lease_secs, self.grace_secs = fleet_file, hangup, lease_secs, grace_secs
        self.fleet, self.ledger = otagate.Fleet.load(fleet_file), otagate.Ledger()
        self.keep_files()

    def keep_files(self) -> None:
        """Where the files are that the fleet file names; no other file is served. Kept, since `loaded` is made anew at each look."""
        loaded = self.fleet.loaded
        assert loaded is not None  # it came from a file
        self.files = loaded.files
        for lint in loaded.lints:
            log.warning("%s", lint)
        for counted in loaded.counted:
            log.info("counted: %s", counted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # As it came: clients do not encode, so a `+` is a plus, and nobody but the protocol may decode what is there.
        target: bytes = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        if len(target) > TARGET_BYTES_MAX:
            return await send_empty(send, 414)
        if declared_bytes(scope) > DEVICE_BODY_BYTES_MAX:
            return await send_empty(send, 413)
        # Microseconds, so it is done here: a thread would take longer to reach than the decision takes.
        reply = otadrive.answer(
            self.fleet, self.ledger, scope["method"], target, scope["headers"], lease_secs=self.lease_secs, grace_secs=self.grace_secs
        )
        hung_up = asyncio.create_task(hang_up(receive))
        status, became = reply.status, "broken off"
        try:
            with await self.open(reply.file) if reply.file else BytesIO(reply.body) as body:
                if await send_reply(send, reply, body, hung_up):
                    became = "sent"
                    reply.delivered()
        except Unreadable as error:
            log.error("nothing is served: %s", error)
            status, became = 503, "sent"
            await send_empty(send, status)
        finally:
            hung_up.cancel()
            # `%r`: what a device sent must not end a line, nor speak to a terminal.
            shown, who = KEY.sub(rb"\1...", target), (reply.product, reply.serial)
            log.info("%s %r: %d %s %r, %s", scope["method"], shown, status, reply.reason, who, became)
            try:
                reply.answered()
            except otagate.Refused as refused:
                log.warning("what %r reported is not kept: %s", who, refused)

    async def open(self, part: otagate.FilePart) -> BinaryIO:
        """The file, at its place. It is looked at before a header is sent: one that became shorter is a 503, and no image with a hole."""
        loaded = self.fleet.loaded if part.locator not in self.files else None
        # Not there: a reload, this very moment.
        known = (loaded.files if loaded else self.files).get(part.locator)
        if known is None:
            raise Unreadable(f"the fleet file names no {part.locator!r}")
        try:
            file = await asyncio.to_thread(known.path.open, "rb")
        except OSError as error:
            raise Unreadable(str(error)) from None
        if os.fstat(file.fileno()).st_size < part.start + part.length:
            file.close()
            raise Unreadable(f"{known.path} is shorter than it was when the fleet was loaded")
        file.seek(part.start)
        return file

    async def advance(self) -> None:
        """Moves rollouts on. What waits for an operator is told once, and again if it comes back."""
        told: set[str] = set()
        while True:
            await asyncio.sleep(ADVANCE_EVERY_SECS)
            try:
                moved = await asyncio.to_thread(self.fleet.advance, self.ledger)
            except otagate.Error:
                log.exception("rollouts were not looked at")
                continue
            for each in moved:
                if each.outcome == "done" or each.line not in told:
                    log.info("rollout: %s", each.line)
            told = {each.line for each in moved}

    async def reload(self) -> None:
        """Reads the fleet file anew at each SIGHUP, one after the other. What is refused changes nothing."""
        while True:
            await self.hangup.wait()
            self.hangup.clear()
            try:
                revision = await asyncio.to_thread(self.fleet.reload, self.fleet_file)
            except otagate.Refused as refused:
                for problem in refused.problems:
                    log.error("%s", problem)
                log.error("not reloaded, the fleet is as it was: %d problems", len(refused.problems))
            except (otagate.Error, OSError) as error:
                log.error("not reloaded, the fleet is as it was: %s", error)
            else:
                self.keep_files()
                log.info("reloaded at revision %d", revision)


async def hang_up(receive: Receive) -> None:
    """Returns when the client is gone: uvicorn's `send` does not say so. What a device sends as a body is read and dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


def declared_bytes(scope: Scope) -> int:
    said = dict(scope["headers"]).get(b"content-length", b"0")
    return int(said) if said.isdigit() else 0


async def send_empty(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"Content-Length", b"0"), (b"Connection", b"close")]})
    await send({"type": "http.response.body"})


async def send_reply(send: Send, reply: otadrive.Reply, body: BinaryIO, hung_up: asyncio.Task[None]) -> bool:
    """Sends an answer: header names as they are, and a `Content-Length` each, so that nothing is chunked. Says whether all of it left."""
    headers = [(name.encode(), value.encode()) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    left = reply.file.length if reply.file else len(reply.body)
    while left > 0 and not hung_up.done():
        block = await asyncio.to_thread(body.read, min(left, BLOCK_BYTES))
        if not block:
            return False  # the file was cut meanwhile: uvicorn closes the connection, so that nobody takes it for whole
        left -= len(block)
        await send({"type": "http.response.body", "body": block, "more_body": True})
    # `send` waits until most of what came before has left; after that it is known who broke off.
    await send({"type": "http.response.body", "more_body": True})
    if hung_up.done():
        return False
    await send({"type": "http.response.body"})
    return True


def operator(gateway: Gateway, token: str) -> APIRouter:
    """The operator's calls, for whoever knows the token."""

    def may(authorization: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})

    admin = APIRouter(prefix="/admin", dependencies=[Depends(may)])

    @admin.post("/changes")
    async def changes(request: Request) -> dict[str, int]:
        """Applies changes, whole or not at all. What the fleet file does not say is gone when that is read again."""
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > CHANGES_BYTES_MAX:
                raise HTTPException(413, headers={"Connection": "close"})
        try:
            return {"revision": await asyncio.to_thread(gateway.fleet.apply, bytes(body))}
        except otagate.Refused as refused:
            raise HTTPException(400, [problem._asdict() for problem in refused.problems]) from None
        except otagate.InvalidArgument as error:
            raise HTTPException(400, str(error)) from None

    @admin.get("/explain")
    async def explain(key: str, serial: str, version: Optional[str] = None) -> dict[str, Any]:
        explanation = gateway.fleet.explain(key, serial, version, ledger=gateway.ledger)
        return {"lines": str(explanation).splitlines(), **explanation.to_dict()}

    @admin.get("/verdicts")
    async def verdicts() -> list[dict[str, Any]]:
        return [dataclasses.asdict(counted) for counted in gateway.fleet.verdicts()]

    @admin.get("/statistics")
    async def statistics(product: str, group: str) -> dict[str, Any]:
        """The account of a group's rollout: how many devices stand at which outcome."""
        try:
            return gateway.ledger.statistics(gateway.fleet, product, group)
        except otagate.NotFound as error:
            raise HTTPException(404, str(error)) from None

    return admin


def application(gateway: Gateway, token: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, gateway.hangup.set)
        tasks = [asyncio.create_task(gateway.advance()), asyncio.create_task(gateway.reload())]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/deviceapi", gateway)
    if token:
        app.include_router(operator(gateway, token))
    return app


def stop(*_: object) -> NoReturn:
    """uvicorn stops gently, and then raises the signal that it stopped by again: that was asked for, so it is no failure."""
    log.info("stopped")
    sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description="A gateway for the OTAdrive device protocol, deciding by otagate.")
    parser.add_argument("fleet", type=Path, help="the fleet file (TOML); read again on SIGHUP")
    parser.add_argument("--host", default="127.0.0.1", help="where devices ask [default: %(default)s]")
    parser.add_argument("--port", type=int, default=8080, help="its port; 0 takes a free one [default: %(default)s]")
    parser.add_argument("--lease-secs", type=int, default=3600, help="how long an offer stays the same: longer than the slowest download [default: %(default)s]")
    parser.add_argument("--grace-secs", type=int, default=60, help="what is left of that once the last byte was sent [default: %(default)s]")
    parser.add_argument("--admin-token", default=os.environ.get("OTAGATE_ADMIN_TOKEN", ""),
                        help="opens /admin/... to whoever sends it as a bearer; better by OTAGATE_ADMIN_TOKEN, which no list of processes shows")  # fmt: skip
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # Before the load, which may take seconds: by default a hangup ends the process.
    hangup = asyncio.Event()
    signal.signal(signal.SIGHUP, lambda _number, _frame: hangup.set())
    try:
        gateway = Gateway(options.fleet, hangup, options.lease_secs, options.grace_secs)
        listener = socket.create_server((options.host, options.port), backlog=CONNECTIONS_MAX)
    except (otagate.Error, OSError) as error:
        sys.exit(f"{error}")
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    log.info("listening on %s:%d", *listener.getsockname()[:2])
    # h11 keeps header names as they are spelled. uvicorn's own access log would tell keys.
    config = uvicorn.Config(
        application(gateway, options.admin_token), http="h11", ws="none", log_config=None, access_log=False, server_header=False, proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX, h11_max_incomplete_event_size=HEAD_BYTES_MAX, timeout_graceful_shutdown=STOP_SECS_MAX,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
