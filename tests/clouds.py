"""Storages of other clouds on loopback: Microsoft's emulator of Azure's blobs, and an emulator of Google's storage."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

AZURITE = Path(__file__).resolve().parents[1] / ".azurite/node_modules/.bin/azurite-blob"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the account that every Azurite has."""


@dataclass
class Cloud:
    """A storage with the empty bucket `store`."""

    scheme: str
    variables: dict[str, str]
    """Of the environment, by which a process uses it."""
    number: int = 0
    store: str = ""
    """The URL of the store."""

    def begin(self) -> None:
        """Have an empty store."""
        self.number += 1
        self.store = f"{self.scheme}://store/{self.number}"


@contextmanager
def azure(folder: Path) -> Iterator[Cloud]:
    """Azurite, whose files lie in a folder."""
    pytest.importorskip("adlfs")
    blobs = pytest.importorskip("azure.storage.blob")
    if not AZURITE.is_file():
        pytest.skip("no Azurite: npm install --prefix .azurite azurite@3.35.0")
    port = _free_port()
    command = [AZURITE, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", folder]
    process = subprocess.Popen(
        [*command, "--blobHost", "127.0.0.1", "--blobPort", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        named = f"AccountName=devstoreaccount1;AccountKey={KEY}"
        connection = f"DefaultEndpointsProtocol=http;{named};BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
        blobs.BlobServiceClient.from_connection_string(connection).create_container("store")
        yield Cloud("abfs", {"AZURE_STORAGE_CONNECTION_STRING": connection})
    finally:
        process.terminate()
        process.wait()


@contextmanager
def google(_: Path) -> Iterator[Cloud]:
    """gcp-storage-emulator, which is taught the condition by which Google's storage keeps an object that is there."""
    server = pytest.importorskip("gcp_storage_emulator.server")
    from gcp_storage_emulator.handlers import objects

    put = objects._multipart_upload

    def conditional(request: Any, response: Any, storage: Any) -> None:
        name = request.data["meta"]["name"]
        if request.query.get("ifGenerationMatch") == ["0"] and _is_there(storage, request.params["bucket_name"], name):
            response.status = HTTPStatus.PRECONDITION_FAILED
            response.json({"error": {"code": 412, "message": "conditionNotMet", "errors": []}})
        else:
            put(request, response, storage)

    port = _free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "_multipart_upload", conditional)
        running = server.create_server("127.0.0.1", port, in_memory=True, default_bucket="store")
        running.start()
        try:
            yield Cloud("gs", {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "GOOGLE_CLOUD_PROJECT": "store"})
        finally:
            running.stop()


def _is_there(storage: Any, bucket: str, name: str) -> bool:
    from gcp_storage_emulator.exceptions import NotFound

    try:
        storage.get_file_obj(bucket, name)
    except NotFound:
        return False
    return True


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with closing(socket.socket()) as tried:
            if not tried.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens at {port}")
