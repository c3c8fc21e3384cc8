"""The connector for SFTP: files of a folder, from a server that proves who it is."""

import io
import json
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

import paramiko
from paramiko.hostkeys import InvalidHostKey
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    PasswordRequiredException,
    SSHException,
)
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from lakehouse.contracts.extract_stores import Sftp
from lakehouse.sources.listed import FileRefused, Listed, new_files
from lakehouse.sources.page import Asked, Page, SourceError
from lakehouse.sources.patience import Patience
from lakehouse.storage.lake import is_unfinished

_CHUNK_BYTES = 32 << 10  # what every server takes in one request
_CHUNKS_AT_ONCE = 64  # requests on their way, and so 2 MiB in memory
_DAY = 86_400
_KEYS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


class _Credential(BaseModel):
    """`user:password`, or a JSON object with these keys; `known_hosts` are lines as OpenSSH has them."""

    model_config = ConfigDict(extra="forbid")
    user: str
    password: SecretStr | None = None
    private_key: SecretStr | None = None
    passphrase: SecretStr | None = None
    known_hosts: str = ""


class SftpConnector:
    """Files one by one, oldest first, so that each is sealed before the next is fetched.

    A transfer that was cut off goes on where it was, after growing pauses. The server's key must be known: no
    key is ever taken on trust.
    """

    def __init__(
        self, *, arguments: Sftp, address: str, credential: str | None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises SourceError if `address` is no sftp:// one, or the credential cannot be read."""
        parts = urlsplit(address)
        if parts.scheme != "sftp" or not parts.hostname:
            raise SourceError(
                f"{parts.scheme}://{parts.hostname or ''} is no SFTP server: state one of type sftp with its location, "
                "such as sftp://files.example.org/out, in the contract, and set EXCHANGE_EXTRACTS=live"
            )
        if parts.username or parts.password:
            raise SourceError(f"sftp://…@{parts.hostname}: take the credentials out, they would end in logs")
        try:
            port = parts.port
        except ValueError:
            raise SourceError(f"{address}: the port is none: correct the location of the contract's server") from None
        self.address = address
        self._host, self._port = parts.hostname, port or 22
        self._folder = unquote(parts.path) or "."
        self._arguments = arguments
        self._credential = _read_credential(credential)
        self._client: paramiko.SSHClient | None = None
        self._patiently = Patience(
            attempts=arguments.attempts,
            max_requests_per_second=arguments.max_requests_per_second,
            passes=_passes,
            sleep=sleep,
        )

    def pages(self, asked: Asked) -> Iterator[Page]:
        """Yield the files that nobody writes to any more, new ones only. Raises SourceError."""
        try:
            listed = self._patiently(self._list)
            yield from new_files(listed, asked, address=self.address, fetch=self._fetch)
        except (SSHException, OSError, EOFError, UnicodeDecodeError) as error:
            self._give_up(error)
        finally:
            self._disconnect()

    def _list(self) -> list[Listed]:
        with self._session() as sftp:
            named = [e for e in sftp.listdir_attr(self._folder) if fnmatchcase(e.filename, self._arguments.pattern)]
            entries = [entry for name in named if (entry := self._behind_link(sftp, name)) is not None]
        oldest_first = sorted(entries, key=lambda entry: (entry.st_mtime or 0, entry.filename))
        now = time.time()
        return [
            Listed(name=entry.filename, version=_version(entry))
            for entry in oldest_first
            if stat.S_ISREG(entry.st_mode or stat.S_IFREG)
            and not is_unfinished(entry.filename)
            # A time that lies a day ahead says nothing of whether the file rests.
            and not now - self._arguments.settle_seconds < (entry.st_mtime or 0) < now + _DAY
        ]

    def _behind_link(self, sftp: paramiko.SFTPClient, entry: paramiko.SFTPAttributes) -> paramiko.SFTPAttributes | None:
        """The file that a link leads to, under the link's name; None where it leads nowhere."""
        if not stat.S_ISLNK(entry.st_mode or 0):
            return entry
        try:
            found = sftp.stat(f"{self._folder.rstrip('/')}/{entry.filename}")
        except OSError:
            return None
        found.filename = entry.filename
        return found

    def _fetch(self, file: Listed, path: Path) -> bool:
        try:
            return self._patiently(partial(self._go_on, file, path))
        except OSError as error:
            if not self._is_connected():
                raise
            # The server is there: it is this file that it does not give.
            path.unlink(missing_ok=True)
            raise FileRefused(
                f"{self.address.rstrip('/')}/{file.name} could not be read ({_told(error)}); ask the provider for "
                "leave to read it, or leave it out by `pattern`"
            ) from None

    def _go_on(self, file: Listed, path: Path) -> bool:
        """Append what is missing of the file, if it is still the one that was listed."""
        place = f"{self._folder.rstrip('/')}/{file.name}"
        with self._session() as sftp, path.open("ab") as sink:
            try:
                if _version(sftp.stat(place)) != file.version:
                    path.unlink()
                    return False
                with sftp.open(place, "rb") as source:
                    size = int(file.version.partition("@")[0])
                    while sink.tell() < size:
                        last = min(size, sink.tell() + _CHUNKS_AT_ONCE * _CHUNK_BYTES)
                        starts = range(sink.tell(), last, _CHUNK_BYTES)
                        before = sink.tell()
                        for data in source.readv([(start, min(_CHUNK_BYTES, last - start)) for start in starts]):
                            sink.write(data)
                        if sink.tell() == before:
                            break
                if _version(sftp.stat(place)) == file.version and sink.tell() == size:
                    return True
            except FileNotFoundError:
                pass
        path.unlink()
        return False

    def _session(self) -> paramiko.SFTPClient:
        """A session on the connection that stands, or on a new one."""
        if not self._is_connected():
            self._disconnect()
            self._client = self._connect()
        assert self._client is not None
        session = self._client.open_sftp()
        channel = session.get_channel()
        if channel is not None:
            channel.settimeout(self._arguments.timeout_seconds)
        return session

    def _is_connected(self) -> bool:
        transport = self._client.get_transport() if self._client else None
        return transport is not None and bool(transport.is_active())

    def _connect(self) -> paramiko.SSHClient:
        seconds = self._arguments.timeout_seconds
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        self._load_host_keys(client)
        secret = self._credential
        try:
            client.connect(
                self._host,
                self._port,
                username=secret.user,
                password=secret.password.get_secret_value() if secret.password else None,
                pkey=_private_key(secret),
                look_for_keys=False,
                allow_agent=False,
                timeout=seconds,
                banner_timeout=seconds,
                auth_timeout=seconds,
            )
        except BaseException:
            client.close()
            raise
        return client

    def _load_host_keys(self, client: paramiko.SSHClient) -> None:
        known = self._credential.known_hosts
        name = self._host if self._port == 22 else f"[{self._host}]:{self._port}"
        if self._arguments.host_key:
            known = f"{name} {self._arguments.host_key}\n"
        if not known.strip():
            raise SourceError(
                f"{self.address}: its host key is not known. Ask the provider for it (or compare what `ssh-keyscan "
                f"-p {self._port} {self._host}` shows) and set host_key in the contract's extract"
            )
        with tempfile.NamedTemporaryFile("w", suffix=".known_hosts") as file:
            file.write(known)
            file.flush()
            with suppress(InvalidHostKey, ValueError):
                client.load_host_keys(file.name)
        if self._arguments.host_key and not client.get_host_keys().lookup(name):
            raise SourceError(
                f"{self.address}: its host key cannot be read: set host_key in the contract's extract to the key as "
                "the provider gives it, such as ssh-ed25519 AAAA…"
            )

    def _disconnect(self) -> None:
        if self._client is not None:
            with suppress(SSHException, OSError, EOFError):
                self._client.close()
            self._client = None

    def _give_up(self, error: Exception) -> NoReturn:
        step = "check the server in the contract and the network, or run the extract again later"
        what = _told(error)
        if isinstance(error, BadHostKeyException) or "not found in known_hosts" in str(error):
            what = f"it shows another host key ({type(error).__name__})"
            step = "do not connect; ask the provider whether the server was changed, then correct host_key"
        elif isinstance(error, AuthenticationException):
            what = type(error).__name__
            step = "set EXCHANGE_CREDENTIAL_<PROVIDER> to user:password, or to JSON with user and private_key"
        elif isinstance(error, UnicodeDecodeError):
            what, step = "the name of a file there is not in UTF-8", "ask the provider to rename the file"
        elif isinstance(error, FileNotFoundError):
            step = "there is no such folder: correct the location of the contract's server"
        elif isinstance(error, PermissionError):
            step = "the user may not read it: ask the provider for leave"
        raise SourceError(f"{self.address} could not be read ({what}); {step}") from None


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _version(entry: paramiko.SFTPAttributes) -> str:
    return f"{entry.st_size}@{entry.st_mtime}"


def _read_credential(credential: str | None) -> _Credential:
    if not credential:
        raise SourceError("SFTP needs a credential: set EXCHANGE_CREDENTIAL_<PROVIDER> to user:password, or to JSON")
    if not credential.lstrip().startswith("{"):
        user, colon, password = credential.partition(":")
        if not colon:
            raise SourceError("the SFTP credential has no colon: set it to user:password, or to JSON")
        return _Credential(user=user, password=SecretStr(password))
    try:
        return _Credential.model_validate(json.loads(credential))
    except (ValueError, ValidationError):
        known = ", ".join(_Credential.model_fields)
        raise SourceError(f"the SFTP credential is no JSON object with the keys {known} (user is required)") from None


def _private_key(secret: _Credential) -> paramiko.PKey | None:
    if secret.private_key is None:
        return None
    passphrase = secret.passphrase.get_secret_value() if secret.passphrase else None
    for kind in _KEYS:
        try:
            return kind.from_private_key(io.StringIO(secret.private_key.get_secret_value()), password=passphrase)
        except PasswordRequiredException:
            break
        except (SSHException, ValueError):
            continue
    raise SourceError(
        "the private key of the SFTP credential is none of Ed25519, ECDSA or RSA, or its passphrase is wrong"
    )


def _passes(error: BaseException) -> bool:
    """True for a lost connection; not for what the server refuses."""
    refusals = (AuthenticationException, BadHostKeyException, FileNotFoundError, PermissionError)
    if isinstance(error, refusals) or "not found in known_hosts" in str(error):
        return False
    return isinstance(error, SSHException | OSError | EOFError)
