"""The yardstick: a reverse proxy in aiohttp that passes everything through and checks nothing.

``python benchmarks/bare_proxy.py --upstream http://127.0.0.1:9000 --key sk-…`` prints ``{"url": …, "pid": …}`` once it
listens. It replaces the key, as any proxy must that keeps one; it parses nothing, counts nothing and stores nothing.
"""

import argparse
import asyncio
import json
import os
import signal
import sys

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

# These belong to one connection, or are set anew by the side that sends.
OWN = {
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
REPLACED = OWN | {"authorization"}
UPSTREAM = web.AppKey("UPSTREAM", str)
KEY = web.AppKey("KEY", str)
SESSION = web.AppKey("SESSION", aiohttp.ClientSession)


async def pass_on(request: web.Request) -> web.StreamResponse:
    """Send a request upstream, and what comes back to the caller: in one write if it is short, else as it arrives."""
    app = request.app
    headers = CIMultiDict((name, value) for name, value in request.headers.items() if name.lower() not in REPLACED)
    headers["Authorization"] = app[KEY]
    body = await request.read() if request.can_read_body else None
    url = URL(app[UPSTREAM] + request.raw_path, encoded=True)
    async with app[SESSION].request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
        back = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in OWN)
        if answer.content_length is not None and answer.content_length < 1_000_000:
            return web.Response(status=answer.status, headers=back, body=await answer.read())
        response = web.StreamResponse(status=answer.status, headers=back)
        await response.prepare(request)
        async for block in answer.content.iter_any():
            await response.write(block)
        await response.write_eof()
        return response


async def open_session(app: web.Application) -> None:
    """Open the client session, which compresses nothing and limits nothing."""
    app[SESSION] = aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
    )


async def close_session(app: web.Application) -> None:
    """Close the client session."""
    await app[SESSION].close()


async def serve(upstream: str, key: str, port: int) -> None:
    """Serve until a signal comes."""
    app = web.Application(client_max_size=100_000_000)
    app[UPSTREAM], app[KEY] = upstream.rstrip("/"), f"Bearer {key}"
    app.on_startup.append(open_session)
    app.on_cleanup.append(close_session)
    app.router.add_route("*", "/{path:.*}", pass_on)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, bound = runner.addresses[0][:2]
    sys.stdout.write(json.dumps({"url": f"http://{host}:{bound}", "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True, help="where to, without a path")
    parser.add_argument("--key", required=True, help="what to send as the bearer token")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    uvloop.run(serve(given.upstream, given.key, given.port))


if __name__ == "__main__":
    main()
