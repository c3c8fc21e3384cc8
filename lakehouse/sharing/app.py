"""The doors as one application over HTTP: every way in which published releases leave the exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lakehouse.contracts.load import ContractError
from lakehouse.exchange import Exchange
from lakehouse.release.signing import Untrusted
from lakehouse.sharing import catalog_door, delta, desk, files, iceberg_rest, link_requests, pages, rows
from lakehouse.sharing.doors import Accounts, Doors, answer_faults, fault
from lakehouse.storage.lake import StorageError

# Each is a door. Where two know a path, the first has it.
ROUTERS = (
    pages.router,
    rows.router,
    files.router,
    link_requests.router,
    delta.router,
    iceberg_rest.router,
    iceberg_rest.objects,
    catalog_door.router,
    desk.router,
)


def create_app(exchange: Exchange, *, answered: Callable[[Exchange], object] = lambda _: None) -> FastAPI:
    """The application, ready to be served. What was metered is written out when it ends. ``answered`` is called when a
    reviewer has answered at the desk.

    Its description is at ``/openapi.json``; there are no pages over it, for theirs come from other hosts.
    """
    doors = Doors.open(exchange)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        exchange.index.create()
        yield
        doors.meter.close()

    app = FastAPI(title="City Data Exchange", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.doors, app.state.answered = doors, answered
    app.add_middleware(Accounts, meter=doors.meter)
    answer_faults(app)
    _answer_others(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


def _answer_others(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    def wrong(_request: Request, error: RequestValidationError) -> JSONResponse:
        told = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        return fault(400, "INVALID_PARAMETER_VALUE", told)

    @app.exception_handler(HTTPException)
    def other(_request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "RESOURCE_DOES_NOT_EXIST", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "ERROR")
        return fault(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(StorageError)
    def no_store(_request: Request, error: StorageError) -> JSONResponse:
        return fault(503, "TEMPORARILY_UNAVAILABLE", f"the lake cannot be read now: {type(error).__name__}; try again")

    @app.exception_handler(Untrusted)
    def not_signed(_request: Request, error: Untrusted) -> JSONResponse:
        return fault(503, "TEMPORARILY_UNAVAILABLE", str(error))

    @app.exception_handler(ContractError)
    def no_contract(_request: Request, _error: ContractError) -> JSONResponse:
        return fault(503, "TEMPORARILY_UNAVAILABLE", "the mart's contract cannot be read now; tell the exchange")
