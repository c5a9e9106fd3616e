"""A view of Django's that answers `GET /update?key=&serial=&version=`: otagate decides, by a store over Django's ORM.

    pip install otagate django
    python django_view.py                           # four check-ins by Django's test client
    python django_view.py runserver 127.0.0.1:8000  # the same fleet, for a browser

In one file, so that it runs as it stands; of a project of your own the settings and the tables are there already. Two thoughts are worth taking along:

- A check-in is one transaction, so that its three look-ups see one state of the database.
- A product with its groups and firmware is checked once per edition and kept. The edition says how often these tables were changed: that is all that a check-in
  reads of them.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from threading import Lock
from typing import Any, Generator, Optional

import django
import otagate
from django.conf import settings
from otagate import store

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "testserver"],
        # One database in memory for all threads of the process.
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:otagate?mode=memory&cache=shared"}},
        ROOT_URLCONF=__name__,
        SECRET_KEY="for a demo alone",
        USE_TZ=True,
    )
    django.setup()

# After the settings, as Django wants it.
from django.core.management import call_command
from django.db import connection, models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.test import Client
from django.urls import path
from django.views.decorators.http import require_safe


class Edition(models.Model):
    """One row. Whoever changes products, firmware or groups adds one to it, in the same transaction."""

    number: models.PositiveBigIntegerField[int, int] = models.PositiveBigIntegerField(default=1)

    class Meta:
        app_label = "fleet"


class ProductRow(models.Model):
    name: models.CharField[str, str] = models.CharField(max_length=64, primary_key=True)
    key_hash: models.CharField[str, str] = models.CharField(max_length=64, unique=True)

    class Meta:
        app_label = "fleet"


class FirmwareRow(models.Model):
    product: models.ForeignKey[ProductRow, ProductRow] = models.ForeignKey(ProductRow, on_delete=models.CASCADE)
    version: models.CharField[str, str] = models.CharField(max_length=64)
    locator: models.CharField[str, str] = models.CharField(max_length=200)
    size_bytes: models.PositiveBigIntegerField[int, int] = models.PositiveBigIntegerField()
    blake3: models.CharField[str, str] = models.CharField(max_length=64)

    class Meta:
        app_label = "fleet"


class GroupRow(models.Model):
    product: models.ForeignKey[ProductRow, ProductRow] = models.ForeignKey(ProductRow, on_delete=models.CASCADE)
    name: models.CharField[str, str] = models.CharField(max_length=64)
    firmware: models.CharField[Optional[str], Optional[str]] = models.CharField(max_length=64, null=True)

    class Meta:
        app_label = "fleet"


class DeviceRow(models.Model):
    """A device, with the names of `otagate.Device`: so its rows are given to otagate as they are. `serial` is canonical: see `otagate.read_serial`."""

    product: models.CharField[str, str] = models.CharField(max_length=64)
    serial: models.CharField[str, str] = models.CharField(max_length=64)
    state: models.CharField[str, str] = models.CharField(max_length=16, default="verified")
    group: models.CharField[str, str] = models.CharField(max_length=64)
    pin: models.CharField[Optional[str], Optional[str]] = models.CharField(max_length=64, null=True)
    cap: models.CharField[Optional[str], Optional[str]] = models.CharField(max_length=64, null=True)
    entered_at: models.DateTimeField[Any, Any] = models.DateTimeField(null=True)
    version: models.CharField[Optional[str], Optional[str]] = models.CharField(max_length=64, null=True)
    hardware: models.CharField[Optional[str], Optional[str]] = models.CharField(max_length=64, null=True)

    class Meta:
        app_label = "fleet"
        constraints = [models.UniqueConstraint(fields=["product", "serial"], name="identity")]


class Fleet:
    """The store: what otagate asks of a database, in three look-ups."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._built: dict[str, tuple[int, otagate.Product]] = {}
        self.builds = 0

    @contextmanager
    def view(self) -> Generator[View, None, None]:
        # On PostgreSQL and MySQL with isolation level `repeatable read`, which makes it one state (V5).
        with transaction.atomic():
            yield View(self, Edition.objects.get().number)

    def product(self, row: ProductRow, edition: int) -> otagate.Product:
        """The product of this edition, checked once."""
        with self._lock:
            known = self._built.get(row.name)
            if known is None or known[0] != edition:
                known = self._built[row.name] = edition, build(row)
                self.builds += 1
            return known[1]


class View:
    """One state of the database."""

    def __init__(self, fleet: Fleet, edition: int) -> None:
        self._fleet, self._edition = fleet, edition

    def revision(self) -> int:
        return self._edition

    def product_of_key(self, key_hash: bytes, /) -> Optional[otagate.Product]:
        row = ProductRow.objects.filter(key_hash=key_hash.hex()).first()
        return None if row is None else self._fleet.product(row, self._edition)

    def device(self, product: str, serial: str, /) -> Optional[DeviceRow]:
        # The same query for a product that does not exist: time tells nobody which keys there are.
        return DeviceRow.objects.filter(product=product, serial=serial).first()

    def group(self, product: otagate.Product, device: DeviceRow, /) -> Optional[otagate.Group]:
        return product.group(device.group)


def build(row: ProductRow) -> otagate.Product:
    firmware = [
        {"version": each.version, "artifacts": [{"locator": each.locator, "size_bytes": each.size_bytes, "digests": {"blake3": each.blake3}}]}
        for each in FirmwareRow.objects.filter(product=row)
    ]
    groups = [{"id": each.name, "firmware": each.firmware} for each in GroupRow.objects.filter(product=row)]
    product = {"id": row.name, "keys": [{"hash": row.key_hash}], "versions": {"scheme": "semver"}}
    return otagate.Product(product, firmware=firmware, groups=groups)


FLEET = Fleet()


@require_safe
def update(request: HttpRequest) -> HttpResponseBase:
    asked = {name: request.GET.get(name) for name in ("key", "serial", "version")}
    if asked["key"] is None or asked["serial"] is None:
        return HttpResponse(status=400)
    # What the database raises comes through: a 500, and nothing is served (V4).
    decision = store.decide(FLEET, asked["key"], asked["serial"], asked["version"])
    response: HttpResponse
    if decision.artifact is not None:
        artifact = decision.artifact
        response = JsonResponse(
            {"version": decision.firmware, "file": artifact.locator, "size_bytes": artifact.size_bytes, "blake3": artifact.digests.blake3}
        )
    else:
        # The status alone: why is for the operator, and a 401 looks the same whatever its reason.
        response = HttpResponse(status=decision.status)
    if decision.retry_after is not None:
        response["Retry-After"] = str(decision.retry_after)
    response["Cache-Control"] = "no-store"
    return response


urlpatterns = [path("update", update)]


def create() -> None:
    """Tables and a small fleet; a project of your own has migrations."""
    # The stubs do not say what an editor is.
    with connection.schema_editor() as editor:  # pyright: ignore[reportUnknownVariableType]
        for model in (Edition, ProductRow, FirmwareRow, GroupRow, DeviceRow):
            editor.create_model(model)  # pyright: ignore[reportUnknownMemberType]
    Edition.objects.create()
    lamp = ProductRow.objects.create(name="lamp", key_hash=otagate.key_hash("secret"))
    for version in ("2.0.0", "2.1.0"):
        FirmwareRow.objects.create(product=lamp, version=version, locator=f"lamp-{version}.bin", size_bytes=917_504, blake3="00" * 32)
    GroupRow.objects.create(product=lamp, name="stable", firmware="2.1.0")
    GroupRow.objects.create(product=lamp, name="empty")
    DeviceRow.objects.create(product="lamp", serial="SN-17", group="stable")
    DeviceRow.objects.create(product="lamp", serial="SN-18", group="empty")


def check_in(client: Client, key: str, serial: str, version: str) -> None:
    response = client.get("/update", {"key": key, "serial": serial, "version": version})
    said = response.json() if response.status_code == 200 else ""
    print(f"{serial} {version} -> {response.status_code} {said}".rstrip())


def main() -> None:
    create()
    if sys.argv[1:2] == ["runserver"]:
        call_command("runserver", *sys.argv[2:], "--noreload", "--skip-checks")
        return
    client = Client()
    check_in(client, "guess", "SN-17", "2.0.0")
    check_in(client, "secret", "SN-18", "2.0.0")
    check_in(client, "secret", "SN-17", "2.1.0")
    check_in(client, "secret", "SN-17", "2.0.0")
    print("built:", FLEET.builds)
    # An operator's edit: two rows, one transaction.
    with transaction.atomic():
        GroupRow.objects.filter(product="lamp", name="stable").update(firmware="2.0.0")
        Edition.objects.update(number=models.F("number") + 1)
    check_in(client, "secret", "SN-17", "2.0.0")
    print("built:", FLEET.builds)


if __name__ == "__main__":
    main()
