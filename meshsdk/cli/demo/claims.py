"""What the demo claims of the running mesh, each with what was expected and what was seen."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from meshsdk.cli.demo import shop
from meshsdk.cli.demo.calls import Calls
from meshsdk.cli.demo.child import Child
from meshsdk.clock import SystemClock
from meshsdk.control_plane.ads_server import AdsServer, NodeSnapshot

CALLS: Final = 1_000
_AFTER_A_CRASH: Final = 300
_AFTER_A_PUSH: Final = 400
_VICTIM: Final = "reviews-v1-b"


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the verdict."""

    title: str
    expected: str
    seen: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Running:
    """The demo's mesh while it runs."""

    server: AdsServer
    frontend: Child
    stranger: Child
    reviews: Mapping[str, Child]
    ports: Mapping[str, int]
    """By process name."""

    def resources(self, weights: Mapping[str, int]) -> NodeSnapshot:
        """What a caller is told."""
        by_version: dict[str, list[int]] = {}
        for workload, version in shop.REVIEWS.items():
            by_version.setdefault(version, []).append(self.ports[workload.name])
        return shop.caller_resources(by_version, weights)


async def all_claims(mesh: Running) -> AsyncIterator[Claim]:
    """Try them one after the other."""
    for check in (_identities, _split, _wrong_caller, _plaintext, _crash, _push):
        for claim in await check(mesh):
            yield claim


async def _identities(mesh: Running) -> list[Claim]:
    seen = await mesh.frontend.call(1)
    caller, server = _only(seen.caller), _only(seen.server)
    reviews = next(iter(shop.REVIEWS)).spiffe_id
    frontend = shop.FRONTEND.spiffe_id
    return [
        Claim("The server knows its caller by certificate", frontend, caller, caller == frontend),
        Claim("The caller knows the server by certificate", reviews, server, server == reviews),
    ]


async def _split(mesh: Running) -> list[Claim]:
    seen = await mesh.frontend.call(CALLS)
    holds = _is_split(seen, CALLS, canary=0.1) and seen.all_answered(CALLS)
    expected = f"v1 about 900, v2 about 100 of {CALLS:,} calls"
    return [Claim("Traffic is split 90/10 by weight", expected, _versions(seen), holds)]


async def _wrong_caller(mesh: Running) -> list[Claim]:
    seen = await mesh.stranger.call(1)
    answer = f"{_only(seen.status)} {_only(seen.text)}"
    expected = "403 RBAC: access denied"
    title = "Policy turns the wrong caller away (batch)"
    return [Claim(title, expected, answer, answer == expected)]


async def _plaintext(mesh: Running) -> list[Claim]:
    port = next(iter(mesh.ports.values()))
    title, expected = "A STRICT port refuses plaintext", "connection closed, no answer"
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(f"http://127.0.0.1:{port}/")
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return [Claim(title, expected, expected, True)]
    except httpx.TransportError as error:
        return [Claim(title, expected, type(error).__name__, False)]
    return [Claim(title, expected, f"HTTP {response.status_code}", False)]


async def _crash(mesh: Running) -> list[Claim]:
    victim = mesh.reviews[_VICTIM]
    address = f"127.0.0.1:{mesh.ports[victim.name]}"
    await victim.kill()
    during = await mesh.frontend.call(_AFTER_A_CRASH)
    after = await mesh.frontend.call(100)
    answered, retried = during.status.get("200", 0), during.retried
    hidden = Claim(
        f"One of the v1 processes is killed, retries hide it ({victim.name})",
        f"{_AFTER_A_CRASH} of {_AFTER_A_CRASH} calls answered 200, some by a retry",
        f"{answered} of {_AFTER_A_CRASH} calls answered 200, {retried} by a retry",
        answered == _AFTER_A_CRASH and retried > 0,
    )
    is_ejected = address in during.ejected
    ejected = Claim(
        "Then it is ejected, and nobody tries it any more",
        f"{address} ejected, 0 of the next 100 calls retried",
        f"{address if is_ejected else 'nothing'} ejected, "
        f"{after.retried} of the next 100 calls retried",
        is_ejected and after.retried == 0 and after.all_answered(100),
    )
    return [hidden, ejected]


async def _push(mesh: Running) -> list[Claim]:
    node_id, weights = shop.FRONTEND.node.id, {"v1": 50, "v2": 50}
    started = SystemClock.monotonic()
    mesh.server.update(node_id, shop.route_resources(weights))
    is_acked = await asyncio.to_thread(mesh.server.wait_settled, node_id, 5.0)
    milliseconds = (SystemClock.monotonic() - started) * 1000
    seen = await mesh.frontend.call(_AFTER_A_PUSH)
    same_process = seen.pid == mesh.frontend.process.pid
    half = _AFTER_A_PUSH // 2
    return [
        Claim(
            "A push changes the weights to 50/50, nothing restarts",
            f"accepted; v1 about {half}, v2 about {half} of {_AFTER_A_PUSH} calls; same process",
            f"{f'accepted in {milliseconds:.0f} ms' if is_acked else 'not accepted'}; "
            f"{_versions(seen)}; {'same' if same_process else 'another'} process",
            is_acked
            and same_process
            and _is_split(seen, _AFTER_A_PUSH, canary=0.5)
            and seen.all_answered(_AFTER_A_PUSH),
        )
    ]


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
