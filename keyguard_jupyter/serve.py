"""The gateway process: configuration, wiring, signals. ``jupyter keyguard serve``, or a Jupyter server's child."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from traitlets.config import Config

from .config import Keyguard
from .control.api import Control
from .control.policies import STARTER, apply_policy, parse_policy
from .core import prices
from .core.keys import ADMIN_PREFIX, make_key
from .errors import ConfigurationError, KeyguardError, PolicyError
from .gate.app import add_gate_routes, refusing
from .gate.metrics import Metrics
from .gate.pipeline import Bounds, Gate
from .gate.providers import Provider, Providers, read_key
from .gate.sweep import sweep, sweep_for_ever
from .ledger.book import Book
from .ledger.database import Database, path_of
from .ledger.directory import Directory
from .ledger.presence import Presence
from .runtime import announced
from .vault import set_nondumpable, take, take_and_put_back

log = logging.getLogger("keyguard")

FINISH_SECONDS = 25.0
"""How long calls in flight may go on when the gateway is told to stop."""
FINISH_SECONDS_EMBEDDED = 1.5
"""The server waits for its gateway, which waits twice: for handlers to end by themselves, and when they are told to."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Start:
    """What a gateway process starts with.

    Args:
        settings: the configuration.
        admin_key: whoever presents it is the host.
        handed: keys that came by environment or prompt, by provider.
        port: where to listen; 0 takes a free one.
        finish_seconds: how long calls in flight may go on at the end.
    """

    settings: Keyguard
    admin_key: str
    handed: Mapping[str, str]
    port: int
    finish_seconds: float


async def run(start: Start, announce: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve until told to stop.

    Args:
        announce: is told the root URL once the gateway listens.

    Raises:
        ConfigurationError, PolicyError, PriceError: it cannot start; the message is for the host.
    """
    settings = start.settings
    async with contextlib.AsyncExitStack() as stack:
        database = await asyncio.to_thread(Database, settings.database_url)
        stack.callback(database.close)
        presence = await asyncio.to_thread(Presence, database)
        stack.callback(presence.leave)
        await sweep(database, presence.id)
        directory = Directory(database)
        await _load_policy(directory, settings, database.path.parent)
        gate = await stack.enter_async_context(_gate(start, database, directory, presence))
        app = build_app(gate, start.admin_key, loopback=settings.ip in _LOOPBACK, base_url=settings.base_url)
        url = await stack.enter_async_context(_listening(app, start))
        sweeper = asyncio.create_task(sweep_for_ever(database, presence.id))
        stack.callback(sweeper.cancel)
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again and again
        gc.set_threshold(20_000, 20, 50)
        with announced(url, start.admin_key):
            announce(url)
            await stop.wait()


def build_app(gate: Gate, admin_key: str, *, loopback: bool, base_url: str = "/") -> web.Application:
    """Put the data plane and the API into one application."""
    metrics = Metrics()
    outer = web.Application(middlewares=[refusing(metrics, loopback=loopback)])
    app = outer if not base_url.strip("/") else web.Application()
    add_gate_routes(app, gate, metrics)
    Control(gate, admin_key).add_routes(app)
    if app is not outer:
        outer.add_subapp("/" + base_url.strip("/"), app)
    return outer


@contextlib.asynccontextmanager
async def _gate(start: Start, database: Database, directory: Directory, presence: Presence) -> AsyncIterator[Gate]:
    settings = start.settings
    table = prices.load(settings.prices)
    by_name = {}
    async with contextlib.AsyncExitStack() as stack:
        for name, spec in settings.specs().items():
            key = await read_key(name, spec.source, start.handed)
            by_name[name] = Provider(spec, key, settings.provider_timeout_seconds)
            stack.push_async_callback(by_name[name].close)
        book = Book(database.path, presence)
        stack.push_async_callback(book.close)
        bounds = Bounds(
            default_cap=settings.default_max_output_tokens,
            floor=settings.minimum_output_tokens,
            wait_seconds=settings.hold_wait_seconds,
            body_bytes=settings.max_body_bytes,
            choices=settings.max_choices,
        )
        yield Gate(database, book, directory, Providers(by_name, table), table, bounds)


@contextlib.asynccontextmanager
async def _listening(app: web.Application, start: Start) -> AsyncIterator[str]:
    settings = start.settings
    # Compressed bodies are refused, not inflated.
    runner = web.AppRunner(
        app, access_log=None, auto_decompress=False, handle_signals=False, shutdown_timeout=start.finish_seconds
    )
    await runner.setup()
    try:
        tls = _tls(settings)
        site = web.TCPSite(runner, settings.ip, start.port, ssl_context=tls, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(
                f"The gateway cannot listen on {settings.ip}:{start.port}: {error.strerror or error}. Set Keyguard.ip "
                "and Keyguard.port."
            ) from error
        yield _root(runner.addresses[0], settings, tls is not None)
    finally:
        await runner.cleanup()


def _tls(settings: Keyguard) -> ssl.SSLContext | None:
    if not settings.certfile:
        if settings.ip not in _LOOPBACK:
            log.warning("the gateway listens on %s without TLS: keys and prompts can be read on the way", settings.ip)
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certfile, settings.keyfile or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"Keyguard.certfile {settings.certfile} cannot be used: {error}") from error
    return context


def _root(address: tuple[Any, ...], settings: Keyguard, tls: bool) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104  (shown, not bound)
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{host}:{address[1]}/{settings.base_url.strip('/')}".rstrip("/")


async def _load_policy(directory: Directory, settings: Keyguard, folder: Path) -> None:
    await directory.refresh()
    if settings.policy_file:
        done = await apply_policy(directory, parse_policy(_read_policy(Path(settings.policy_file).expanduser())))
        log.info("policy %s applied: %d changes", settings.policy_file, len(done["changes"]))
    elif not directory.projects:
        path = folder / "policy.yaml"
        if not path.exists():
            path.write_text(STARTER.format(path=path))
        await apply_policy(directory, parse_policy(_read_policy(path)))
        log.warning("there was no policy, so a starter policy is in force: see %s\n\n%s", path, path.read_text())


def _read_policy(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise PolicyError("", f"the policy file {path} cannot be read: {reason}") from error


# --- the two ways to start -----------------------------------------------------------------------------------------


def serve_standalone(settings: Keyguard) -> int:
    """Serve in the foreground until Ctrl-C or SIGTERM; return the exit status."""
    sources = settings.key_sources()
    variables = {name: source.value for name, source in sources.items() if source.kind == "environment"}
    taken = take([*variables.values(), "KEYGUARD_ADMIN_KEY"])
    handed = {name: taken[variable].decode() for name, variable in variables.items() if variable in taken}
    handed |= {name: _ask(name) for name, source in sources.items() if source.kind == "prompt"}
    admin_key = taken["KEYGUARD_ADMIN_KEY"].decode() if "KEYGUARD_ADMIN_KEY" in taken else ""

    def announce(url: str) -> None:
        log.info("the gateway listens at %s (providers: %s)", url, ", ".join(sources))

    try:
        admin_key = admin_key or _kept_admin_key(settings)
        start = Start(settings, admin_key, handed, settings.port, FINISH_SECONDS)
        _run_loop(lambda stop: run(start, announce, stop), watch_stdin=False)
    except KeyguardError as error:
        log.error("%s", error)
        return 1
    return 0


def serve_embedded() -> int:
    """Serve as the child of a Jupyter server, which speaks first and whose end is ours; return the exit status."""
    try:
        document = json.loads(sys.stdin.buffer.readline())
        handed = take_and_put_back(*document["vault"]) if document["vault"] else {}
        settings = Keyguard(config=Config({"Keyguard": document["config"]}))
        start = Start(settings, document["admin_key"], handed, document["port"], FINISH_SECONDS_EMBEDDED)
        del document
        _run_loop(lambda stop: run(start, lambda url: _say(url=url, pid=os.getpid()), stop), watch_stdin=True)
    except KeyguardError as error:
        _say(error=str(error))
        return 1
    return 0


def _say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _run_loop(main: Callable[[asyncio.Event], Any], *, watch_stdin: bool) -> None:
    async def supervise() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if watch_stdin:
            loop.add_reader(0, lambda: None if os.read(0, 4096) else _end_of_stdin(loop, stop))
        await main(stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(supervise())


def _end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    loop.remove_reader(0)
    stop.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _ask(provider: str) -> str:
    from getpass import getpass

    return getpass(f"Key for {provider} (not shown): ")


def _kept_admin_key(settings: Keyguard) -> str:
    """Return the admin key beside the database; it is made and written at the first start."""
    path = path_of(settings.database_url).with_name("admin-key")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"The admin key cannot be written to {path}: {error.strerror}.") from error
    with os.fdopen(file, "w") as stream:
        stream.write(make_key(ADMIN_PREFIX) + "\n")
    log.info("a new admin key was written to %s", path)
    return path.read_text().strip()


def set_up_logging() -> None:
    """Log to stderr, as Jupyter does."""
    logging.basicConfig(level=logging.INFO, format="[%(levelname).1s %(asctime)s %(name)s] %(message)s")
    logging.getLogger("aiohttp").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)


if __name__ == "__main__":
    set_nondumpable()
    set_up_logging()
    sys.exit(serve_embedded())
