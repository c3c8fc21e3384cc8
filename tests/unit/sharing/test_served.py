"""`exchange serve` as a process: HTTPS, a log without secrets, and an end at which nothing counted is lost."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lakehouse.sharing.entitlement import Link
from lakehouse.sharing.meter import usage_statement
from tests.mini_exchange import TRAFFIC
from tests.unit.sharing.conftest import House


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "doors")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_doors_speak_https_and_end_well(own_house: House, tmp_path: Path) -> None:
    own_house.set_access("registered")
    exchange = own_house.mini.exchange
    settings, manifest = exchange.settings, own_house.mini.latest(TRAFFIC)
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    names = ("project", "home", "lake", "database")
    environment = os.environ | {f"EXCHANGE_{name.upper()}": str(getattr(settings, name)) for name in names}
    command = [Path(sys.executable).parent / "exchange", "serve", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--certificate", certificate, "--key", key],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    base, trust = f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=str(certificate))
    token = own_house.readers.tokens["right"] or ""
    path = f"/marts/{TRAFFIC}/v1/releases/{manifest.release}"
    signed = own_house.doors.links.sign(
        Link(mart=TRAFFIC, major=1, release=manifest.release), until=datetime.now(UTC) + timedelta(hours=1)
    )
    try:
        wait_until_open(f"{base}/marts.json", trust, process)
        listed = httpx.get(f"{base}{path}/files.txt?link={signed}", verify=trust).text.split()
        assert listed[0].startswith(f"{base}{path}/day=")
        file = httpx.get(listed[0].partition("?")[0], verify=trust, headers={"Authorization": f"Bearer {token}"})
        assert len(file.content) == manifest.files[0].bytes
        assert f"//127.0.0.1:{port}/marts/{TRAFFIC}/" in httpx.get(f"{base}/catalog/dcat.ttl", verify=trust).text
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(f"{base}/marts.json")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/marts.json")
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)
    assert f"GET {path}/{manifest.files[0].path} 200 {manifest.files[0].bytes} right" in said
    assert token not in said
    assert signed not in said
    taken = {(row["door"], row["recipient"], row["requests"]) for row in usage_statement(exchange)}
    assert taken == {("link", None, 1), ("files", "right", 1)}


def wait_until_open(url: str, trust: ssl.SSLContext, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, process.stdout and process.stdout.read()
        try:
            if httpx.get(url, verify=trust).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the doors did not open")
