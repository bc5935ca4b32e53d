"""The data plane's routes under ``/v1``, and what answers everything else."""

import logging
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache

from aiohttp import web
from aiohttp.log import server_logger
from aiohttp.typedefs import Middleware

from ..errors import BadRequest, Forbidden, KeyguardError, LedgerUnavailable, NotFound, Refused, Unavailable
from .catalog import allowed_models
from .endpoints import ENDPOINTS, Endpoint
from .identify import identify
from .metrics import Metrics
from .pipeline import Gate

log = logging.getLogger("keyguard.gate")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PORT = re.compile(r":\d+$")
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


def add_gate_routes(app: web.Application, gate: Gate, metrics: Metrics) -> None:
    """Add the routes of the OpenAI API that are open; every other one is refused."""
    server_logger.addFilter(_without_quotes)
    for endpoint in ENDPOINTS:
        app.router.add_post(f"/v1{endpoint.path}", _metered(gate, endpoint, metrics))
    app.router.add_get("/v1/models", _list_models(gate), allow_head=False)
    app.router.add_get("/v1/models/{model:.+}", _show_model(gate), allow_head=False)
    app.router.add_get("/health", _health(gate))
    app.router.add_get("/metrics", _metrics(metrics))


def _metered(gate: Gate, endpoint: Endpoint, metrics: Metrics) -> Handler:
    calls = metrics.calls.labels(endpoint.name)

    async def handle(request: web.Request) -> web.StreamResponse:
        calls.inc()
        metrics.in_flight += 1
        try:
            return await gate.answer(request, endpoint)
        finally:
            metrics.in_flight -= 1

    return handle


def _list_models(gate: Gate) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        models = await _models(gate, request)
        return web.json_response({"object": "list", "data": [_model(name, owner) for name, owner in models.items()]})

    return handle


def _show_model(gate: Gate) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        name = request.match_info["model"]
        owner = (await _models(gate, request)).get(name)
        if owner is None:
            raise NotFound(
                f"The model {name[:200]!r} does not exist or is not yours to use.",
                code="model_not_found",
                param="model",
            )
        return web.json_response(_model(name, owner))

    return handle


async def _models(gate: Gate, request: web.Request) -> dict[str, str]:
    await gate.freshen()
    now = datetime.now(UTC)
    caller, record, project = identify(gate.directory, request.headers, now)
    allowed = allowed_models(gate.directory, gate.providers, project, caller, record, now)
    return {name: priced.spec.name for name, priced in allowed.items()}


def _model(name: str, owner: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


def _health(gate: Gate) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        try:
            gate.book.revision()
        except LedgerUnavailable:
            return web.json_response({"status": "ledger_unavailable"}, status=503)
        return web.json_response({"status": "ok"})

    return handle


def _metrics(metrics: Metrics) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), content_type="text/plain")

    return handle


def refusing(metrics: Metrics, *, loopback: bool) -> Middleware:
    """Make the middleware that turns everything that is raised into an answer.

    Args:
        loopback: whether the gateway listens on this machine only. Then a request for any other host name comes from a
            web page that made its name point here (DNS rebinding).
    """

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check_browser(request, loopback=loopback)
            return await handler(request)
        except Refused as refused:
            refusal = refused
        except LedgerUnavailable:
            refusal = Unavailable("The ledger does not answer. Nothing was sent.", code="ledger_unavailable")
        except web.HTTPException as found:
            refusal = _routing(found, request)
        except ConnectionError:
            raise  # the caller went away: there is nobody to answer
        except KeyguardError as error:
            log.error("%s %s failed: %s", request.method, request.path, error)
            refusal = _failure()
        except Exception as error:  # noqa: BLE001  (a traceback may quote what was sent; its place may not)
            log.error("%s %s failed: %s at %s", request.method, request.path, type(error).__name__, _place(error))
            refusal = _failure()
        metrics.refused(refusal.code)
        response = web.json_response(refusal.body(), status=refusal.status, headers=refusal.headers())
        if not request.content.at_eof():
            response.force_close()  # the rest of the body is not read
        return response

    return answer


def _check_browser(request: web.Request, *, loopback: bool) -> None:
    if "Origin" in request.headers:
        raise Forbidden("Web pages may not call this gateway.", code="forbidden")
    if loopback and not _is_loopback(request.headers.get("Host", "")):
        raise Forbidden("This gateway answers to 127.0.0.1 and localhost only.", code="forbidden")


@lru_cache(maxsize=64)
def _is_loopback(host: str) -> bool:
    return _PORT.sub("", host).lower() in _LOOPBACK_NAMES


def _routing(found: web.HTTPException, request: web.Request) -> Refused:
    if found.status in {404, 405}:
        return NotFound(
            f"{request.method} {request.path[:200]} is not offered here. Keyguard passes on chat completions, "
            "responses, completions, embeddings and moderations, and lists your models.",
            code="unknown_url",
        )
    if 400 <= found.status < 500:
        return BadRequest(f"The request is not understood: {found.reason}.", code="invalid_request")
    return _failure()


def _failure() -> Unavailable:
    return Unavailable("The gateway failed. Tell your host; its log says where.", code="internal_error")


def _without_quotes(record: logging.LogRecord) -> bool:
    """Leave out the traceback with which the library shows broken requests: it quotes them, and they may hold a key."""
    if record.exc_info:
        record.msg, record.args = f"{record.getMessage()}: {getattr(record.exc_info[0], '__name__', '?')}", None
        record.exc_info = None
    return True


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
