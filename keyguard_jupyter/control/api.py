"""The REST API under ``/api``: handlers that only translate."""

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from ..core.keys import hash_key
from ..core.people import Caller
from ..core.policy import Project, Settings
from ..errors import BadRequest, Forbidden, NotFound, PolicyError
from ..gate.body import read_body
from ..gate.identify import bearer_of, identify
from ..gate.parse import parse_body
from ..gate.pipeline import Gate
from ..ledger.directory import KeyRecord
from ..ledger.statement import GROUPINGS, Range, rows, sums
from ..money import usd
from .answers import key_row, read_time, usage_row
from .issuing import read_new_key, read_renewal
from .own import describe_caller, explain
from .policies import apply_policy, dump_policy, dump_policy_json, parse_policy, read_policy

POLICY_BYTES_MOST = 8 * 1024 * 1024
PAGE_MOST = 5000
_DIGITS = re.compile(r"[0-9]+")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """The host's verbs over HTTP.

    Args:
        gate: the data plane, whose decisions are explained here.
        admin_key: whoever presents it is the host.
    """

    def __init__(self, gate: Gate, admin_key: str) -> None:
        self._gate = gate
        self._admin = hash_key(admin_key)

    def add_routes(self, app: web.Application) -> None:
        """Add the API's routes."""
        app.router.add_get("/api/me", self._me)
        app.router.add_get("/api/me/usage", self._my_usage)
        app.router.add_get("/api/explain", self._explain)
        app.router.add_get("/api/keys", self._hosts(self._list_keys))
        app.router.add_post("/api/keys", self._hosts(self._issue_key))
        app.router.add_post("/api/keys/renew", self._hosts(self._renew_keys))
        app.router.add_delete("/api/keys/{id}", self._hosts(self._revoke_key))
        app.router.add_get("/api/policy", self._hosts(self._show_policy))
        app.router.add_put("/api/policy", self._hosts(self._put_policy))
        app.router.add_get("/api/usage", self._hosts(self._usage))

    # --- who ----------------------------------------------------------------------------------------------------

    def _is_host(self, request: web.Request) -> bool:
        return hmac.compare_digest(hash_key(bearer_of(request.headers)), self._admin)

    def _hosts(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            await self._gate.freshen()
            if not self._is_host(request):
                self._caller(request)  # an unknown key is told so; a known one is refused
                raise Forbidden("This is for the host: it needs an admin key.", code="forbidden")
            return await handler(request)

        return handle

    def _caller(self, request: web.Request) -> tuple[Caller, KeyRecord, Project]:
        return identify(self._gate.directory, request.headers, datetime.now(UTC))

    # --- oneself ------------------------------------------------------------------------------------------------

    async def _me(self, request: web.Request) -> web.Response:
        await self._gate.freshen()
        return web.json_response(await describe_caller(self._gate, *self._caller(request)))

    async def _my_usage(self, request: web.Request) -> web.Response:
        await self._gate.freshen()
        caller, record, _project = self._caller(request)
        key_id = record.id if request.query.get("key") == "self" else None
        covered = Range(caller.project, caller.person, key_id, *_times(request))
        return await self._rows(request, covered, whose=False)

    async def _explain(self, request: web.Request) -> web.Response:
        await self._gate.freshen()
        model = request.query.get("model")
        if not model:
            raise _bad("model", "is missing: which model?")
        for_host = self._is_host(request)
        who = self._somebody(request) if for_host else self._caller(request)
        return web.json_response(await explain(self._gate, *who, model, for_host=for_host))

    def _somebody(self, request: web.Request) -> tuple[Caller, KeyRecord, Project]:
        name, person = request.query.get("project", "default"), request.query.get("person")
        project = self._gate.directory.projects.get(name)
        if project is None:
            raise NotFound(f"There is no project {name!r}.", code="not_found", param="project")
        if not person:
            raise _bad("person", "is missing: may who use it?")
        caller = Caller(name, person, project.groups_of(person), "", "", "personal")
        nobody = KeyRecord("", "", "", name, person, None, "personal", None, None, Settings(), 0, None, None, None)
        return caller, nobody, project

    # --- keys ---------------------------------------------------------------------------------------------------

    async def _list_keys(self, request: web.Request) -> web.Response:
        after, most = request.query.get("after", ""), _page(request)
        found = [record for record in self._gate.directory.all_keys() if record.id > after]
        return web.json_response(
            {
                "keys": [key_row(record) for record in found[:most]],
                "next": found[most - 1].id if len(found) > most else None,
            }
        )

    async def _issue_key(self, request: web.Request) -> web.Response:
        new = read_new_key(self._gate.directory, await self._json(request))
        record, key = await self._gate.directory.issue(new)
        return web.json_response({**key_row(record), "key": key}, status=201)

    async def _renew_keys(self, request: web.Request) -> web.Response:
        ids, lease = read_renewal(await self._json(request))
        renewed = await self._gate.directory.renew(ids, lease)
        return web.json_response({"renewed": renewed, "refused": sorted(set(ids) - set(renewed))})

    async def _revoke_key(self, request: web.Request) -> web.Response:
        key_id = request.match_info["id"]
        record = await self._gate.directory.revoke(key_id)
        if record is None:
            raise NotFound(f"There is no key with the id {key_id[:100]!r}.", code="not_found", param="id")
        return web.json_response({"id": record.id, "revoked_at": key_row(record)["revoked_at"]})

    # --- policy -------------------------------------------------------------------------------------------------

    async def _show_policy(self, request: web.Request) -> web.Response:
        projects = self._gate.directory.projects
        if "json" in request.headers.get("Accept", ""):
            return web.Response(text=dump_policy_json(projects), content_type="application/json")
        return web.Response(text=dump_policy(projects), content_type="application/yaml")

    async def _put_policy(self, request: web.Request) -> web.Response:
        raw = await request.content.read(POLICY_BYTES_MOST + 1)
        while len(raw) <= POLICY_BYTES_MOST and (more := await request.content.read(POLICY_BYTES_MOST + 1)):
            raw += more
        if len(raw) > POLICY_BYTES_MOST:
            raise BadRequest("The policy is larger than 8 MB.", code="invalid_request")
        dry_run = _flag(request, "dry_run")
        try:
            if request.content_type == "application/json":  # not every JSON document means the same in YAML
                wanted = await asyncio.to_thread(read_policy, parse_body(raw))
            else:
                wanted = await asyncio.to_thread(parse_policy, raw.decode())
        except UnicodeDecodeError:
            raise BadRequest("The policy is not UTF-8.", code="invalid_request") from None
        except PolicyError as error:
            raise BadRequest(str(error), code="invalid_request", param=error.path or None) from None
        return web.json_response(await apply_policy(self._gate.directory, wanted, dry_run=dry_run))

    # --- usage --------------------------------------------------------------------------------------------------

    async def _usage(self, request: web.Request) -> web.Response:
        covered = Range(request.query.get("project"), request.query.get("person"), None, *_times(request))
        by = [name for name in request.query.get("group_by", "").split(",") if name]
        if not by:
            return await self._rows(request, covered, whose=True)
        if unknown := [name for name in by if name not in GROUPINGS]:
            raise _bad("group_by", f"{unknown[0]!r} is not among {', '.join(GROUPINGS)}")
        found = await self._gate.database.read(lambda db: sums(db, covered, list(dict.fromkeys(by))))
        return web.json_response(
            {"rows": [{**{n: v for n, v in row.items() if n != "cost"}, "cost_usd": usd(row["cost"])} for row in found]}
        )

    async def _rows(self, request: web.Request, covered: Range, *, whose: bool) -> web.Response:
        after, most = request.query.get("after", "0"), _page(request)
        if not _DIGITS.fullmatch(after) or len(after) > 18:
            raise _bad("after", "must be the id of the last row seen")
        found = await self._gate.database.read(lambda db: rows(db, covered, after=int(after), most=most + 1))
        return web.json_response(
            {
                "rows": [usage_row(row, whose=whose) for row in found[:most]],
                "next": str(found[most - 1]["seq"]) if len(found) > most else None,
            }
        )

    async def _json(self, request: web.Request) -> dict[str, Any]:
        return parse_body(await read_body(request, self._gate.bounds.body_bytes))


def _times(request: web.Request) -> tuple[int | None, int | None]:
    query = request.query
    return read_time(query.get("since"), "since"), read_time(query.get("until"), "until")


def _page(request: web.Request) -> int:
    text = request.query.get("limit", "1000")
    if not _DIGITS.fullmatch(text) or len(text) > 9 or not 1 <= int(text) <= PAGE_MOST:
        raise _bad("limit", f"must be a number of rows up to {PAGE_MOST}")
    return int(text)


def _flag(request: web.Request, name: str) -> bool:
    text = request.query.get(name, "false").lower()
    if text not in {"1", "true", "yes", "0", "false", "no"}:
        raise _bad(name, "must be true or false")
    return text in {"1", "true", "yes"}


def _bad(field: str, problem: str) -> BadRequest:
    return BadRequest(f"{field} {problem}", code="invalid_request", param=field)
