"""The examples do what they say: real processes, real sockets."""

from __future__ import annotations

import doctest
import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import httpx
import otagate
import pytest
from matplotlib.image import imread

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "python"
TOKEN = "a-token-for-the-tests"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
DEADLINE_SECS = 30.0
# The last is more than the socket buffers of any system hold, so that who stops reading stops the sender.
IMAGES = {"1.0.0": 3_000, "2.0.0": 200_003, "3.0.0": 180_001, "4.0.0": 32 * 1024 * 1024 + 5}
RANGE_BYTES = 32 * 1024
# The colours of Okabe and Ito.
PALETTE = ["009e73", "56b4e9", "e69f00", "d55e00", "0072b2", "cc79a7", "f0e442", "999999"]

FLEET = """
[[product]]
id = "lamp"
versions = { scheme = "semver", prefixes = ["v"] }
default_group = "stable"
register_on_first_contact = true
devices = "lamp.csv"
[[product.key]]
key = "the-secret"

[[product.firmware]]
version = "1.0.0"
[[product.firmware.artifact]]
file = "lamp-1.0.0.bin"
[[product.firmware]]
version = "2.0.0"
[[product.firmware.artifact]]
file = "lamp-2.0.0.bin"
[[product.firmware]]
version = "3.0.0"
[[product.firmware.artifact]]
file = "lamp-3.0.0.bin"
[[product.firmware]]
version = "4.0.0"
[[product.firmware.artifact]]
file = "lamp-4.0.0.bin"

[[product.group]]
id = "stable"
firmware = "2.0.0"
[[product.group]]
id = "empty"
[[product.group]]
id = "large"
firmware = "4.0.0"
[[product.group]]
id = "canary"
firmware = "1.0.0"
[product.group.rollout]
id = "r1"
target = "4.0.0"
state = "running"
started_at = 2026-01-01T00:00:00Z
first = ["CANARY-1"]
waves = [{ size = 1, open = true }, { size = "all", min_finished = 1, success_share = "100 %" }]
"""
DEVICES = [
    *(f"SN-{number},verified,stable" for number in range(1, 13)),
    "BLOCKED-1,blocked,stable",
    "EMPTY-1,verified,empty",
    "LARGE-1,verified,large",
    *(f"CANARY-{number},verified,canary" for number in range(1, 4)),
]

Found = TypeVar("Found")


def wait_for(what: str, look: Callable[[], Found | None]) -> Found:
    """Looks until there is something, and no longer than the deadline."""
    until = time.monotonic() + DEADLINE_SECS
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError(f"it did not come: {what}")


def image(version: str) -> bytes:
    return random.Random(version).randbytes(IMAGES[version])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("images")
    for version in IMAGES:
        (folder / version).write_bytes(image(version))
    return {version: folder / version for version in IMAGES}


@pytest.fixture
def folder(tmp_path: Path, images: dict[str, Path]) -> Path:
    """A fleet file with what it names."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "lamp.csv").write_text("\n".join(["serial,state,group", *DEVICES, ""]))
    (tmp_path / "firmware").mkdir()
    for version, path in images.items():
        (tmp_path / "firmware" / f"lamp-{version}.bin").hardlink_to(path)
    return tmp_path


class Answer(NamedTuple):
    """An answer as it stood on the wire."""

    status: int
    names: list[str]
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, raw: bytes) -> Answer:
        head, body = raw.split(b"\r\n\r\n", 1)
        line, *lines = head.decode("ascii").split("\r\n")
        assert line.startswith("HTTP/1.1 "), line
        pairs = [each.split(": ", 1) for each in lines]
        return cls(int(line.split(" ")[1]), [name for name, _ in pairs], {name: value for name, value in pairs}, body)


class Gateway:
    """`gateway.py` as a process, its log in a file."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.process = folder, process
        self.port = int(self.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        # Not `read_text`: that would take a lone carriage return for the end of a line.
        return (self.folder / "log").read_bytes().decode()

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.log())
            assert found or self.process.poll() is None, self.log()
            return found

        return wait_for(pattern, look)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECS)

    def raw(self, request: bytes) -> bytes:
        """Sends bytes, and reads until the other side closes."""
        with self.connect() as link:
            link.sendall(request)
            return read_all(link)

    def ask(self, method: str, target: str, *headers: str) -> Answer:
        """One request at the socket."""
        return Answer.of(self.raw(request(method, target, *headers, "Connection: close")))

    def check_in(self, serial: str, version: str, *headers: str, method: str = "GET", key: str = "the-secret") -> Answer:
        return self.ask(method, update(serial, version, key), *headers)

    def operator(self, method: str, path: str, **more: Any) -> Any:
        with httpx.Client(base_url=self.url, headers=OPERATOR, timeout=DEADLINE_SECS) as client:
            answer = client.request(method, path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def statistics(self) -> dict[str, int]:
        """How many devices of the canary stand where, over all waves."""
        total: Counter[str] = Counter()
        for wave in self.operator("GET", "/admin/statistics?product=lamp&group=canary")["waves"]:
            total.update({name: count for name, count in wave.items() if isinstance(count, int)})
        return total

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE_SECS)


def update(serial: str, version: str, key: str = "the-secret") -> str:
    return f"/deviceapi/update?k={key}&s={serial}&v={version}"


def request(method: str, target: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: gateway", *headers, "", ""]).encode()


def read_all(link: socket.socket) -> bytes:
    return b"".join(iter(lambda: link.recv(1 << 20), b""))


def read_some(link: socket.socket, least: int) -> bytes:
    read = b""
    while len(read) < least:
        more = link.recv(least - len(read))
        assert more, "the gateway closed"
        read += more
    return read


@contextmanager
def running(folder: Path, *options: str, token: str = TOKEN) -> Generator[Gateway, None, None]:
    environment = os.environ | {"OTAGATE_ADMIN_TOKEN": token, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(EXAMPLES / "gateway.py"), "fleet.toml", "--port", "0", *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield Gateway(folder, process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def gateway(folder: Path) -> Iterator[Gateway]:
    with running(folder) as started:
        yield started


def test_the_four_verdicts_as_clients_read_them(gateway: Gateway) -> None:
    serve = gateway.check_in("SN-1", "1.0.0")
    assert (serve.status, serve.headers["X-Version"], serve.body) == (200, "2.0.0", image("2.0.0"))
    current = gateway.check_in("SN-1", "v2.0.0")
    assert (current.status, current.headers["X-Version"], current.body) == (304, "2.0.0", b"")
    nothing = gateway.check_in("EMPTY-1", "1.0.0")
    assert (nothing.status, nothing.headers["Content-Length"], nothing.body) == (404, "0", b"")
    blocked, guess = gateway.check_in("BLOCKED-1", "1.0.0"), gateway.check_in("SN-1", "1.0.0", key="guess")
    assert (blocked.status, blocked.body) == (401, b"")
    assert blocked[:2] == guess[:2], "a device is not told which of the two is wrong"

    said = {row["reason"]: (row["product"], row["status"], row["count"]) for row in gateway.operator("GET", "/admin/verdicts")}
    assert said == {
        "serve": ("lamp", 200, 1),
        "current": ("lamp", 304, 1),
        "nothing-assigned": ("lamp", 404, 1),
        "device-blocked": ("lamp", 401, 1),
        "key-unknown": (None, 401, 1),
    }


def test_header_names_stand_on_the_wire_as_clients_compare_them(gateway: Gateway) -> None:
    head = gateway.check_in("SN-1", "1.0.0", method="HEAD")
    part = gateway.check_in("SN-1", "1.0.0", "Range: bytes=0-15")
    assert {"Content-Length", "X-Version", "x-MD5"} <= set(head.names)
    assert {"Content-Length", "X-Version", "x-MD5", "Content-Range"} <= set(part.names)
    for answer in (head, part, gateway.check_in("SN-1", "2.0.0"), gateway.check_in("SN-1", "1.0.0", key="guess")):
        lower = [name.lower() for name in answer.names]
        assert "transfer-encoding" not in lower and len(lower) == len(set(lower))
        assert not [value for value in answer.headers.values() if value != value.strip()], "exactly one blank after the colon"
    assert part.headers["Content-Range"] == f"bytes 0-15/{IMAGES['2.0.0']}"


def test_head_has_no_body(gateway: Gateway) -> None:
    # What came after the head would be taken for the next answer.
    head = request("HEAD", update("SN-1", "1.0.0"))
    raw = gateway.raw(head + request("GET", update("SN-1", "1.0.0"), "Range: bytes=0-3", "Connection: close"))
    first, rest = raw.split(b"\r\n\r\n", 1)
    assert first.startswith(b"HTTP/1.1 200 ") and f"Content-Length: {IMAGES['2.0.0']}".encode() in first
    second = Answer.of(rest)
    assert (second.status, second.body) == (206, image("2.0.0")[:4])


def download(client: httpx.Client, serial: str, version: str, pause: Callable[[int], object] = lambda _: None) -> tuple[str, bytes]:
    """As an ESP32 does it: a HEAD, 16 bytes, then the rest in ranges, all of the same image."""
    head = client.head(update(serial, version))
    assert head.status_code == 200
    served, size, md5 = head.headers["x-version"], int(head.headers["content-length"]), head.headers["x-md5"]
    whole = client.get(update(serial, version), headers={"Range": "bytes=0-15"}).content
    for part, start in enumerate(range(16, size, RANGE_BYTES)):
        pause(part)
        end = min(start + RANGE_BYTES, size) - 1
        answer = client.get(update(serial, version), headers={"Range": f"bytes={start}-{end}"})
        assert answer.status_code == 206
        assert (answer.headers["x-version"], answer.headers["x-md5"]) == (served, md5)
        assert answer.headers["content-range"] == f"bytes {start}-{end}/{size}"
        whole += answer.content
    assert hashlib.md5(whole).hexdigest() == md5
    return served, whole


def test_ranges_make_up_the_image(gateway: Gateway, folder: Path) -> None:
    def digests() -> otagate.Digests:
        loaded = otagate.Fleet.load(folder / "fleet.toml").loaded
        assert loaded is not None
        return loaded.files["lamp-2.0.0.bin"].digests

    with httpx.Client(base_url=gateway.url, timeout=DEADLINE_SECS) as client:
        served, whole = download(client, "SN-1", "1.0.0")
    assert served == "2.0.0"
    # What came, in the place of what was there: the loader takes the BLAKE3.
    before, file = digests(), folder / "firmware" / "lamp-2.0.0.bin"
    file.unlink()
    file.write_bytes(whole)
    assert before.blake3 is not None and digests() == before
    size = IMAGES["2.0.0"]
    beyond = gateway.check_in("SN-2", "1.0.0", f"Range: bytes={size - 100}-{size}")
    assert (beyond.status, beyond.headers["Content-Range"]) == (206, f"bytes {size - 100}-{size - 1}/{size}")
    assert (beyond.headers["Content-Length"], beyond.body) == ("100", image("2.0.0")[-100:])
    outside = gateway.check_in("SN-2", "1.0.0", f"Range: bytes={size + 9}-{size + 99}")
    assert (outside.status, outside.body) == (416, b"")


def test_a_cut_download_goes_on_where_it_stopped(gateway: Gateway) -> None:
    with gateway.connect() as link:
        link.sendall(request("GET", update("LARGE-1", "1.0.0")))
        answer = Answer.of(read_some(link, 100_000))
    assert answer.headers["Content-Length"] == str(IMAGES["4.0.0"])
    rest = gateway.check_in("LARGE-1", "1.0.0", f"Range: bytes={len(answer.body)}-")
    assert rest.status == 206
    assert answer.body + rest.body == image("4.0.0")


def test_what_was_broken_off_is_not_delivered(gateway: Gateway) -> None:
    with gateway.connect() as link:
        link.sendall(request("GET", update("CANARY-1", "1.0.0")))
        assert Answer.of(read_some(link, 100_000)).status == 200
    gateway.wait_for_log(r"s=CANARY-1.*broken off")
    assert (gateway.statistics()["offered"], gateway.statistics()["downloaded"]) == (1, 0)
    # The last bytes alone are the end of it: that is how a download by ranges ends.
    tail = gateway.check_in("CANARY-1", "1.0.0", f"Range: bytes={len(image('4.0.0')) - 5}-")
    assert tail.body == image("4.0.0")[-5:]
    wait_for("the download's count", lambda: gateway.statistics()["downloaded"] == 1)


def test_a_rollout_moves_on_by_itself(gateway: Gateway) -> None:
    early = gateway.check_in("CANARY-2", "1.0.0")
    assert (early.status, early.headers["X-Version"]) == (304, "1.0.0"), "a withheld target is not told"
    assert gateway.check_in("CANARY-1", "1.0.0", method="HEAD").headers["X-Version"] == "4.0.0"
    assert gateway.check_in("CANARY-1", "4.0.0").status == 304
    wait_for("the second wave", lambda: gateway.check_in("CANARY-2", "1.0.0", method="HEAD").status == 200)
    gateway.wait_for_log(r"INFO gateway: rollout: .*`r1`.*wave 2")
    explained = gateway.operator("GET", "/admin/explain?key=the-secret&serial=CANARY-3&version=1.0.0")
    assert explained["decision"]["meant"] == "4.0.0" and explained["lines"][-1].startswith("200 serve")


def test_a_download_is_one_image_whatever_is_assigned_meanwhile(gateway: Gateway) -> None:
    serials = [f"SN-{number}" for number in range(1, 9)]
    midway = Barrier(len(serials) + 1, timeout=DEADLINE_SECS)

    def one(serial: str) -> tuple[str, bytes]:
        def pause(part: int) -> None:
            if part == 2:
                midway.wait()  # all are in the middle
                midway.wait()  # the assignment is another

        with httpx.Client(base_url=gateway.url, timeout=DEADLINE_SECS) as client:
            return download(client, serial, "1.0.0", pause)

    change = {"change": "assign-firmware", "product": "lamp", "group": "stable", "firmware": "3.0.0"}
    with ThreadPoolExecutor(len(serials)) as pool:
        downloads = [pool.submit(one, serial) for serial in serials]
        try:
            midway.wait()
            assert gateway.operator("POST", "/admin/changes", json=change)["revision"] > 1
            late = gateway.check_in("SN-9", "1.0.0")
            midway.wait()
        except BaseException:
            midway.abort()
            raise
    assert (late.headers["X-Version"], late.body) == ("3.0.0", image("3.0.0"))
    old = image("2.0.0")
    assert all(each.result() == ("2.0.0", old) for each in downloads)
    for serial in serials:
        assert gateway.check_in(serial, "2.0.0", method="HEAD").headers["X-Version"] == "3.0.0"


HOSTILE = "1.0\r\nSet-Cookie: a=b\r\n\r\n\x1b[31mred\n2026-01-01 00:00:00,000 INFO gateway: forged"


@pytest.mark.parametrize("name", ["k", "s", "v", "other"])
def test_what_a_device_sends_ends_no_line(gateway: Gateway, name: str) -> None:
    said = {"k": "the-secret", "s": "SN-1", "v": "1.0.0"} | {name: HOSTILE}
    query = "&".join(f"{each}={quote(value)}" for each, value in said.items())
    answer = gateway.ask("GET", f"/deviceapi/update?{query}", f"x-ESP32-STA-MAC: {quote(HOSTILE)}", "Range: bytes=\t\x7f0-15")
    assert "set-cookie" not in [each.lower() for each in answer.names] and b"Set-Cookie" not in answer.body
    # Not encoded: as the next lines of the request, or none at all.
    for byte in ("\n", "\r", "\x00", "\x1b"):
        assert b"Set-Cookie" not in gateway.raw(request("GET", update(f"SN-1{byte}Set-Cookie: a=b", "1.0.0"), "Connection: close"))
    gateway.wait_for_log(r"GET b'/deviceapi/update\?k=.*sent")
    gateway.check_in("SN-1", "1.0.0", key="another-key")
    gateway.check_in("SN-1", "1.0.0", key="%61-third-key")
    gateway.wait_for_log(r"k=\.\.\.&s=SN-1&v=1\.0\.0': 401")
    assert gateway.stop() == 0
    log = gateway.log()
    strange = [line for line in log.splitlines() if not re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ (gateway|uvicorn)", line)]
    assert not strange
    assert re.fullmatch(r"[\x20-\x7e\n]*", log), "nothing that a terminal would obey"
    assert not re.search(r"gateway: forged|the-secret|another-key|third-key", log), "no forged line, and no key"


def test_what_is_no_request_is_refused(gateway: Gateway) -> None:
    assert gateway.check_in("SN-1", "1.0.0", key="guess").status == 401
    assert gateway.check_in("NOBODY", "1.0.0").status == 401
    assert gateway.ask("GET", "/deviceapi/nothing?k=the-secret").status == 404
    assert gateway.ask("GET", "/elsewhere").status == 404
    assert gateway.ask("GET", "/deviceapi/update?k=the-secret&s=SN-1").status == 400
    assert gateway.ask("GET", update("SN-1", "1.0.0") + "&S=SN-2").status == 400
    assert gateway.ask("GET", update("SN-1", "1.0.%zz")).status == 400
    assert gateway.ask("DELETE", update("SN-1", "1.0.0")).status == 405
    assert gateway.ask("GET", update("SN-1", "1" * 4_000)).status == 414
    # A head that never ends.
    assert b" 400 " in gateway.raw(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000).split(b"\r\n")[0]
    assert gateway.ask("POST", "/deviceapi/alive?k=the-secret&s=SN-1&v=1.0.0", "Content-Length: 2000000").status == 413
    assert gateway.ask("POST", "/deviceapi/alive?k=the-secret&s=SN-1&v=1.0.0", "Content-Length: 0").status == 200


def test_a_device_is_not_asked_to_encode(gateway: Gateway) -> None:
    # `+` is a plus and `@` an at: the version that is kept is the one that was sent.
    gateway.operator("POST", "/admin/changes", json={"change": "put-device", "product": "lamp", "device": {"serial": "A+B@C", "state": "verified", "group": "stable"}})
    assert gateway.check_in("A+B@C", "2.0.0+build.7").status == 304
    assert gateway.check_in("A%2bB%40C", "2.0.0").status == 304
    assert gateway.check_in("A%20B@C", "2.0.0").status == 401


def test_the_operator_is_known_by_a_token(gateway: Gateway) -> None:
    change = b'{"change":"assign-firmware","product":"lamp","group":"stable","firmware":"3.0.0"}'
    with httpx.Client(base_url=gateway.url, timeout=DEADLINE_SECS) as client:
        for said in (b"", b"Bearer", b"Bearer guess", f"Basic {TOKEN}".encode(), b"Bearer \xff"):
            headers = [(b"Authorization", said)]
            assert client.post("/admin/changes", content=change, headers=headers).status_code == 401
            assert client.get("/admin/verdicts", headers=headers).status_code == 401
        assert gateway.check_in("SN-1", "1.0.0", method="HEAD").headers["X-Version"] == "2.0.0"

        wrong = [json.loads(change), {"change": "assign-firmware", "product": "lamp", "group": "nowhere"}, {"change": "put-device", "product": "torch"}]
        refused = client.post("/admin/changes", json=wrong, headers=OPERATOR)
        assert refused.status_code == 400 and refused.json()["detail"]
        assert all(problem["message"] for problem in refused.json()["detail"])
        assert client.post("/admin/changes", content=b"{", headers=OPERATOR).status_code == 400
        assert client.post("/admin/changes", content=b" " * (1024 * 1024 + 1), headers=OPERATOR).status_code == 413
        assert client.get("/admin/statistics?product=lamp&group=stable", headers=OPERATOR).status_code == 404
    assert gateway.check_in("SN-2", "1.0.0", method="HEAD").headers["X-Version"] == "2.0.0", "taken whole or not at all"
    gateway.operator("POST", "/admin/changes", content=change)
    assert gateway.check_in("SN-3", "1.0.0", method="HEAD").headers["X-Version"] == "3.0.0"


def test_without_a_token_there_is_no_operator(folder: Path) -> None:
    with running(folder, token="") as gateway:
        assert gateway.ask("GET", "/admin/verdicts", "Authorization: Bearer ").status == 404
        assert gateway.check_in("SN-1", "1.0.0", method="HEAD").status == 200


def test_a_hangup_reads_the_file_anew(gateway: Gateway, folder: Path) -> None:
    file = folder / "fleet.toml"
    whole = file.read_text()
    # Two mistakes at once, and both are told.
    file.write_text(whole.replace('firmware = "1.0.0"', 'firmwear = "1.0.0"').replace('state = "running"', 'state = "walking"'))
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for_log(r"ERROR gateway: not reloaded, the fleet is as it was: 2 problems")
    assert re.search(r"ERROR gateway: fleet\.toml:\d+:\d+: .*firmwear", gateway.log())
    assert re.search(r"ERROR gateway: fleet\.toml:\d+:\d+: .*walking", gateway.log())
    assert gateway.check_in("SN-1", "1.0.0").body == image("2.0.0")

    file.unlink()
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for_log(r"ERROR gateway: not reloaded, the fleet is as it was: .*No such file")
    assert gateway.check_in("SN-1", "1.0.0").body == image("2.0.0")

    # A firmware that the file did not name before is served from where it says now.
    (folder / "firmware" / "lamp-2.5.0.bin").write_bytes(b"two and a half")
    added = '[[product.firmware]]\nversion = "2.5.0"\n[[product.firmware.artifact]]\nfile = "lamp-2.5.0.bin"\n\n[[product.group]]\nid = "stable"'
    file.write_text(whole.replace('[[product.group]]\nid = "stable"', added, 1).replace('firmware = "2.0.0"', 'firmware = "2.5.0"'))
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for_log(r"INFO gateway: reloaded at revision")
    assert gateway.check_in("SN-2", "1.0.0").body == b"two and a half"


def test_a_file_that_became_shorter_is_not_served(gateway: Gateway, folder: Path) -> None:
    file = folder / "firmware" / "lamp-2.0.0.bin"
    file.unlink()
    assert gateway.check_in("SN-1", "1.0.0").status == 503
    file.write_bytes(image("2.0.0")[:-1])
    short = gateway.check_in("SN-1", "1.0.0")
    assert (short.status, short.headers["Content-Length"], short.body) == (503, "0", b"")
    gateway.wait_for_log(r"ERROR gateway: nothing is served: .*lamp-2\.0\.0\.bin")
    file.write_bytes(image("2.0.0"))
    assert gateway.check_in("SN-1", "1.0.0").body == image("2.0.0")


def test_a_stop_lets_downloads_finish(gateway: Gateway) -> None:
    def refused() -> bool:
        try:
            gateway.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    with gateway.connect() as link:
        link.sendall(request("GET", update("LARGE-1", "1.0.0")))
        begun = read_some(link, 100_000)
        gateway.process.send_signal(signal.SIGTERM)
        wait_for("nobody else is let in", refused)
        assert Answer.of(begun + read_all(link)).body == image("4.0.0")
    assert gateway.process.wait(DEADLINE_SECS) == 0
    assert gateway.log().endswith("stopped\n") and "Traceback" not in gateway.log()


def test_memory_is_not_what_is_served(gateway: Gateway) -> None:
    """Eight downloads of 32 MiB at once that stop half way: they are read as they are sent."""

    def resident() -> int:
        return int(re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{gateway.process.pid}/status").read_text())[0]) // 1024

    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc to look at")
    gateway.check_in("LARGE-1", "1.0.0", "Range: bytes=0-99999")
    before = resident()
    links = [gateway.connect() for _ in range(8)]
    try:
        for link in links:
            link.sendall(request("GET", update("LARGE-1", "1.0.0")))
        for link in links:
            read_some(link, 1_000_000)
        assert resident() - before < 32, "less than one of the images"
    finally:
        for link in links:
            link.close()


def run(example: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    more = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": str(cwd), **environment}
    return subprocess.run(command, cwd=cwd, env=more, capture_output=True, text=True, timeout=DEADLINE_SECS)


def test_the_gateway_says_what_is_wrong_with_its_file(folder: Path) -> None:
    (folder / "fleet.toml").write_text(FLEET.replace('id = "lamp"', 'id = "lamp"\nshade = "green"').replace('size = 1,', 'size = "none",'))
    done = run("gateway.py", "fleet.toml", "--port", "0", cwd=folder)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"fleet\.toml:4:1: .*shade", done.stderr) and re.search(r"fleet\.toml:46:\d+: `size`", done.stderr)
    missing = run("gateway.py", "nowhere.toml", cwd=folder)
    assert missing.returncode == 1 and "nowhere.toml" in missing.stderr and "Traceback" not in missing.stderr


def test_django_answers_by_its_orm(tmp_path: Path) -> None:
    done = run("django_view.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    offer = {"version": "2.1.0", "file": "lamp-2.1.0.bin", "size_bytes": 917_504, "blake3": "00" * 32}
    assert done.stdout.splitlines() == [
        "SN-17 2.0.0 -> 401",
        "SN-18 2.0.0 -> 404",
        "SN-17 2.1.0 -> 304",
        f"SN-17 2.0.0 -> 200 {offer}",
        "built: 1",
        "SN-17 2.0.0 -> 304",
        "built: 2",
    ]


def test_django_answers_over_http(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(EXAMPLES / "django_view.py"), "runserver", f"127.0.0.1:{port}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_SECS) as client:

            def check_in(method: str = "GET", **asked: str) -> httpx.Response | None:
                assert process.poll() is None, (tmp_path / "log").read_text()
                try:
                    return client.request(method, "/update", params=asked)
                except httpx.ConnectError:
                    return None

            served = wait_for("the server", lambda: check_in(key="secret", serial="SN-17", version="2.0.0"))
            assert (served.status_code, served.json()["version"]) == (200, "2.1.0")
            answers = [
                check_in(key="secret", serial="SN-17", version="2.1.0"),
                check_in(key="guess", serial="SN-17", version="2.1.0"),
                check_in(key="secret"),
                check_in("POST", key="secret", serial="SN-17"),
            ]
            assert [each and each.status_code for each in answers] == [304, 401, 400, 405]
    finally:
        process.kill()
        process.wait()


def read_picture(path: Path) -> Any:
    return imread(str(path))


def test_the_plot_shows_every_reason(folder: Path) -> None:
    (folder / "lamp.csv").write_text("\n".join(["serial,state,group,version", *(f"{row},1.0.0" for row in DEVICES), "SN-99,verified,stable,2.0.0", ""]))
    done = run("plot_fleet.py", "fleet.toml", "lamp", "fleet.png", cwd=folder, OTAGATE_KEY="the-secret")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["19 devices of lamp at revision 1", "fleet.png: 4 groups, 5 reasons"]
    picture: Any = read_picture(folder / "fleet.png")
    height, width, channels = picture.shape
    assert 500 <= height <= 1_200 and 800 <= width <= 3_000 and channels == 4
    pixels = (picture * 255).round().astype("uint8")
    colours = Counter(bytes(pixel[:3]).hex() for pixel in pixels.reshape(-1, channels))
    # Serve, current, wave-not-open, nothing-assigned; device-blocked has the colour of the third, hatched.
    assert {colour for colour in PALETTE if colours[colour] > 1_000} == {"009e73", "56b4e9", "e69f00", "0072b2"}
    assert height * width / 3 < colours["ffffff"] < height * width

    # The first bar is that of `stable`, the largest group: twelve of its fourteen devices are served, one is current, one blocked.
    is_coloured = picture[..., :3].max(axis=2) - picture[..., :3].min(axis=2) > 0.3
    left = int((is_coloured.sum(axis=0) > height / 2).argmax())
    column = [bytes(pixel[:3]).hex() for pixel in pixels[:, left + 12]]
    bar = is_coloured[:, left : left + 12].any(axis=1).nonzero()[0]
    assert column.count("009e73") / (bar[-1] - bar[0] + 1) == pytest.approx(12 / 14, abs=0.02)
    assert column.count("56b4e9") / (bar[-1] - bar[0] + 1) == pytest.approx(1 / 14, abs=0.02)
    assert column.count("0072b2") == 0


@pytest.mark.parametrize(("arguments", "environment"), [(["fleet.png"], {}), ([], {"OTAGATE_KEY": "the-secret"})])
def test_the_plot_says_what_it_needs(folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
    done = run("plot_fleet.py", "fleet.toml", "lamp", *arguments, cwd=folder, **environment)
    assert done.returncode == 1 and done.stderr.startswith("usage:")


def test_the_readme_is_true() -> None:
    results = doctest.testfile(str(EXAMPLES / "README.md"), module_relative=False)
    assert results.failed == 0 and results.attempted >= 6
    text = (EXAMPLES / "README.md").read_text()
    named = set(re.findall(r"\b\w+\.py\b", text.split("## The gateway")[0])) - {"test_examples.py"}
    assert named == {path.name for path in EXAMPLES.glob("*.py")}
    said = run("gateway.py", "--help", cwd=EXAMPLES).stdout
    for option in re.findall(r"python gateway\.py.*? (--[a-z-]+)", text):
        assert option in said
    for variable in ("--host", "--lease-secs", "--admin-token", "OTAGATE_ADMIN_TOKEN", "SIGHUP"):
        assert variable in said
    source = (EXAMPLES / "gateway.py").read_text()
    for call in set(re.findall(r"/admin(/\w+)", text)):
        assert f'("{call}")' in source
