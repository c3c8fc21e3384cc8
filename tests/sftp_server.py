"""A real SFTP server on loopback for tests: asyncssh in a thread, over one folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self

import asyncssh


class SftpServer:
    """Serves `folder` as its root to user `provider` with password `secret`, or with one of `authorized` keys.

    After `break_after` bytes were read the connection is cut, once.
    """

    def __init__(self, folder: Path, *, authorized: str = "", break_after: int | None = None) -> None:
        self.folder = folder
        self.break_after = break_after
        # What is answered where one of these names is opened.
        self.refused: dict[str, asyncssh.SFTPError] = {}
        self.bytes_read = 0
        self.connections = 0
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._authorized = asyncssh.import_authorized_keys(authorized) if authorized else None
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    @property
    def host_key(self) -> str:
        return self._key.export_public_key().decode().strip()

    @property
    def address(self) -> str:
        return f"sftp://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)
        self._server: Any = server
        self.port = server.get_port()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _listen(self) -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _Door(self),
            server_host_keys=[self._key],
            authorized_client_keys=self._authorized,
            sftp_factory=lambda channel: _Files(self, channel),
        )


class _Door(asyncssh.SSHServer):
    def __init__(self, server: SftpServer) -> None:
        self._server = server

    def connection_made(self, conn: Any) -> None:
        self._server.connections += 1

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("provider", "secret")


class _Files(asyncssh.SFTPServer):
    def __init__(self, server: SftpServer, channel: Any) -> None:
        super().__init__(channel, chroot=str(server.folder))
        self._owner, self._connection = server, channel.get_connection()

    def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
        if refusal := self._owner.refused.get(Path(path.decode()).name):
            raise refusal
        return super().open(path, pflags, attrs)

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        data: bytes = super().read(file_obj, offset, size)  # type: ignore[assignment]
        self._owner.bytes_read += len(data)
        limit = self._owner.break_after
        if limit is not None and self._owner.bytes_read > limit:
            self._owner.break_after = None
            self._connection.abort()
        return data
