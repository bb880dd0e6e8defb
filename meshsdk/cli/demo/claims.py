"""What the demo claims of the running mesh, each with what was expected and what was seen."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final, cast

import httpx

from meshsdk.cli.demo.calls import Calls
from meshsdk.cli.demo.members import (
    API_V1_A,
    API_V1_B,
    FRONTEND,
    ORDER_SERVICE,
    PAYMENT_SERVICE,
    Member,
)
from meshsdk.cli.demo.running import CANARY, Running
from meshsdk.clock import SystemClock
from meshsdk.control_plane.ads_session import ROUTE_CONFIGURATION
from meshsdk.control_plane.ads_status import ClientStatus

CALLS: Final = 1_000
_AFTER_A_CRASH: Final = 300
_AFTER_AN_EDIT: Final = 400
_PATIENCE: Final = 5.0
_API: Final = "http://api-service/"
_GATEWAY: Final = "http://api-gateway/api/items"
_CHARGES: Final = "http://payment-service.payments/api/v1/charges"
_PARTNERS: Final = "http://payment-api.payments/"
_NO_POLICY: Final = "rbac_access_denied_matched_policy[none]"
_NEAREST: Final = "ns[payments]-policy[allow-order-to-payment]-rule[0]"
_DENIED: Final = "403 RBAC: access denied"


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the verdict."""

    title: str
    expected: str
    seen: str
    holds: bool


async def all_claims(mesh: Running) -> AsyncIterator[Claim]:
    """Try them one after the other."""
    for check in (
        _identities,
        _split,
        _plaintext,
        _payments,
        _request_id,
        _partners,
        _egress,
        _crash,
        _edit,
        _rotation,
    ):
        for claim in await check(mesh):
            yield claim


async def _identities(mesh: Running) -> list[Claim]:
    seen = await mesh.children[FRONTEND].call(_API)
    caller, server = _only(seen.caller), _only(seen.server)
    return [
        _same("The server knows its caller by certificate", FRONTEND.spiffe_id, caller),
        _same("The caller knows the server by certificate", API_V1_A.spiffe_id, server),
    ]


async def _split(mesh: Running) -> list[Claim]:
    seen = await mesh.children[FRONTEND].call(_API, CALLS)
    holds = _is_split(seen, CALLS, canary=0.1) and seen.all_answered(CALLS)
    expected = f"v1 about 900, v2 about 100 of {CALLS:,} calls"
    return [Claim("Traffic is split 90/10 (canary.yaml)", expected, _versions(seen), holds)]


async def _plaintext(mesh: Running) -> list[Claim]:
    port = mesh.ports[PAYMENT_SERVICE]
    title = "STRICT refuses plaintext (peer-authentication.yaml)"
    expected = "connection closed, no answer"
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(f"http://127.0.0.1:{port}/")
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return [Claim(title, expected, expected, True)]
    except httpx.TransportError as error:
        return [Claim(title, expected, type(error).__name__, False)]
    return [Claim(title, expected, f"HTTP {response.status_code}", False)]


async def _payments(mesh: Running) -> list[Claim]:
    orders, frontend = mesh.children[ORDER_SERVICE], mesh.children[FRONTEND]
    allowed = await orders.call(_CHARGES, method="POST")
    other_path = await orders.call(_CHARGES.replace("charges", "refunds"), method="POST")
    before = await _denials(mesh, PAYMENT_SERVICE)
    stolen = await frontend.call(_CHARGES, method="POST")
    logged = (await _denials(mesh, PAYMENT_SERVICE))[len(before) :]
    line = f"{_NO_POLICY} {FRONTEND.spiffe_id}, nearest {_NEAREST}"
    return [
        _same("order-service may POST /api/v1/charges", "200", _answer(allowed)),
        _same("All else is denied: order-service, another path", _DENIED, _answer(other_path)),
        _same("A compromised frontend cannot charge", _DENIED, _answer(stolen)),
        _same(
            "And payment-service's log says who was denied", line, ", ".join(logged) or "nothing"
        ),
    ]


async def _request_id(mesh: Running) -> list[Claim]:
    frontend = mesh.children[FRONTEND]
    with_one = await frontend.call(_GATEWAY, headers={"x-request-id": "demo-1"})
    without = await frontend.call(_GATEWAY, headers={"x-request-id": ""})
    title = 'request.headers[x-request-id] notValues [""]:'
    return [
        _same(f"{title} with a value it is allowed", "200", _answer(with_one)),
        _same(f"{title} without one the mesh gives one first", "200", _answer(without)),
    ]


async def _partners(mesh: Running) -> list[Claim]:
    orders = mesh.children[ORDER_SERVICE]
    seen: list[str] = []
    for role in ("partner", "guest", ""):
        headers = {"authorization": f"Bearer {mesh.partner_token(role)}"} if role else {}
        seen.append(_answer(await orders.call(_PARTNERS, headers=headers)))
    forged = {"authorization": f"Bearer {mesh.partner_token('partner')[:-8]}AAAAAAAA"}
    seen.append(_answer(await orders.call(_PARTNERS, headers=forged)))
    expected = f"partner: 200; guest, none: {_DENIED}; forged: 401"
    shown = f"partner: {seen[0]}; guest: {seen[1]}; none: {seen[2]}; forged: {seen[3]}"
    holds = seen[0] == "200" and seen[1] == seen[2] == _DENIED and seen[3].startswith("401 ")
    return [Claim("Only tokens with role=partner pass (jwt.yaml)", expected, shown, holds)]


async def _egress(mesh: Running) -> list[Claim]:
    payments = mesh.children[PAYMENT_SERVICE]
    stripe = await payments.call("https://api.stripe.com/v1/charges", method="POST")
    unknown = await payments.call("http://evil.example/")
    return [
        _same("A ServiceEntry opens api.stripe.com (egress.yaml)", "200", _answer(stripe)),
        _same("REGISTRY_ONLY blocks any other host", "502", _only(unknown.status)),
    ]


async def _crash(mesh: Running) -> list[Claim]:
    frontend, victim = mesh.children[FRONTEND], mesh.children[API_V1_B]
    address = f"127.0.0.1:{mesh.ports[API_V1_B]}"
    await victim.kill()
    during = await frontend.call(_API, _AFTER_A_CRASH)
    after = await frontend.call(_API, 100)
    answered, retried = during.status.get("200", 0), during.retried
    is_ejected = address in during.ejected
    return [
        Claim(
            f"One of the two v1 processes is killed, retries hide it ({victim.name})",
            f"{_AFTER_A_CRASH} of {_AFTER_A_CRASH} calls answered 200, some by a retry",
            f"{answered} of {_AFTER_A_CRASH} calls answered 200, {retried} by a retry",
            answered == _AFTER_A_CRASH and retried > 0,
        ),
        Claim(
            "Then it is ejected, and nobody tries it any more",
            f"{address} ejected, 0 of the next 100 calls retried",
            f"{address if is_ejected else 'nothing'} ejected, "
            f"{after.retried} of the next 100 calls retried",
            is_ejected and after.retried == 0 and after.all_answered(100),
        ),
    ]


async def _edit(mesh: Running) -> list[Claim]:
    frontend, before = mesh.children[FRONTEND], _route_version(mesh, FRONTEND)
    started = SystemClock.monotonic()
    mesh.edit(CANARY, {"weight: 90": "weight: 50", "weight: 10": "weight: 50"})
    is_acked = await asyncio.to_thread(
        mesh.plane.ads.wait, lambda _: _route_version(mesh, FRONTEND) != before, _PATIENCE
    )
    milliseconds = (SystemClock.monotonic() - started) * 1000
    seen = await frontend.call(_API, _AFTER_AN_EDIT)
    same_process = seen.pid == frontend.process.pid
    half = _AFTER_AN_EDIT // 2
    holds = (
        is_acked
        and same_process
        and _is_split(seen, _AFTER_AN_EDIT, canary=0.5)
        and seen.all_answered(_AFTER_AN_EDIT)
    )
    accepted = f"accepted in {milliseconds:.0f} ms" if is_acked else "not accepted"
    return [
        Claim(
            "canary.yaml is edited to 50/50, nothing restarts",
            f"accepted; v1 about {half}, v2 about {half} of {_AFTER_AN_EDIT} calls; same process",
            f"{accepted}; {_versions(seen)}; {'same' if same_process else 'another'} process",
            holds,
        )
    ]


async def _rotation(mesh: Running) -> list[Claim]:
    """A new root is trusted, then it signs, then the old one is gone; calls go on all the while."""
    frontend = mesh.children[FRONTEND]
    old = await frontend.call(_API, 60)
    calls, failed = 0, 0
    for step in (mesh.state.prepare_root, mesh.state.activate_root, mesh.state.finish_root):
        count = int(str((await frontend.seen())["identities"]))
        step()
        ends = SystemClock.monotonic() + _PATIENCE
        after = 0.0
        while SystemClock.monotonic() < ends:
            seen = await frontend.call(_API, 40)
            calls += 40
            failed += 40 - seen.status.get("200", 0)
            now = int(str((await frontend.seen())["identities"]))
            if now > count and not after:
                after = SystemClock.monotonic() + _OTHERS_LOOK
            if after and SystemClock.monotonic() >= after:
                break
            await asyncio.sleep(_BREATH)
    new = await frontend.call(_API, 60)
    renewed = not set(old.certificate) & set(new.certificate)
    return [
        Claim(
            "Certificates and the root that signs them are replaced under load",
            "0 calls failed, no server has its old certificate",
            f"{failed} of {calls} calls failed, {len(new.certificate)} servers,"
            f" {'none has' if renewed else 'some have'} its old certificate",
            failed == 0 and renewed and new.all_answered(60),
        )
    ]


_BREATH: Final = 0.05  # seconds, so that the load leaves the machine to the others
_OTHERS_LOOK: Final = 0.8  # seconds; each process looks at its mounted roots twice a second


async def _denials(mesh: Running, member: Member) -> list[str]:
    found = (await mesh.children[member].seen())["denials"]
    return [str(each) for each in cast("list[object]", found)]


def _route_version(mesh: Running, member: Member) -> str:
    def is_it(client: ClientStatus) -> bool:
        return client.node_id == member.node.id and ROUTE_CONFIGURATION in client.types

    found = [
        client.types[ROUTE_CONFIGURATION] for client in mesh.plane.ads.clients() if is_it(client)
    ]
    return found[0].version_acked if found else ""


def _same(title: str, expected: str, seen: str) -> Claim:
    return Claim(title, expected, seen, seen == expected)


def _answer(seen: Calls) -> str:
    """Status and, of an answer that is not 200, body."""
    return f"{_only(seen.status)} {_only(seen.text) if seen.text else ''}".strip()


def _is_split(seen: Calls, calls: int, *, canary: float) -> bool:
    """Within four and a half standard deviations: a fair draw fails once in 150,000 demos."""
    deviation = math.sqrt(calls * canary * (1 - canary))
    return abs(seen.version.get("v2", 0) - calls * canary) <= 4.5 * deviation


def _versions(seen: Calls) -> str:
    shown = [f"{name} {count}" for name, count in sorted(seen.version.items())]
    others = [f"{count}x {name}" for name, count in seen.status.items() if name != "200"]
    return ", ".join([*shown, *others]) or "nothing"


def _only(counted: Mapping[str, int]) -> str:
    return ", ".join(counted) or "nothing"
