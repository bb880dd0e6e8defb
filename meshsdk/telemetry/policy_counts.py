"""How policies judged requests: denials, and what dry runs would have done."""

import re
from collections.abc import Iterator
from typing import Final

from meshsdk.telemetry.events import CallDenied, DryRunDecided
from meshsdk.telemetry.prometheus import sample_lines

_KEPT: Final = 5000
"""Series; those that come later count as `other`."""
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_]")
_OTHER: Final = "other"


class PolicyCounts:
    """Counts events. Its caller holds the lock."""

    def __init__(self) -> None:
        self._dry_runs: dict[tuple[str, ...], int] = {}
        self._by_policy: dict[tuple[str, ...], int] = {}
        self._denied: dict[tuple[str, ...], int] = {}

    def count(self, event: CallDenied | DryRunDecided) -> None:
        """One more."""
        if isinstance(event, CallDenied):
            _add(self._denied, (event.listener, str(event.status)), (_OTHER, _OTHER))
            return
        result = "allowed" if event.allowed else "denied"
        rest = (_OTHER, _OTHER, _OTHER)
        if event.action:
            _add(self._dry_runs, (event.filter_chain, event.action, result), rest)
        _add(self._by_policy, (event.policy or "none", event.action, result), rest)

    def lines(self) -> Iterator[str]:
        """Istio's names where there are any: `envoy_http_inbound_0_0_0_0_8080_rbac`."""
        chains = sorted({key[0] for key in self._dry_runs})
        for chain in chains:
            name = f"envoy_http_inbound_{_NOT_IN_A_NAME.sub('_', chain)}_rbac"
            yield from sample_lines(
                name,
                "counter",
                [
                    ({"authz_dry_run_action": action, "authz_dry_run_result": result}, float(n))
                    for (at, action, result), n in self._dry_runs.items()
                    if at == chain
                ],
            )
        policies = [
            ({"policy": policy, "action": action, "result": result}, float(n))
            for (policy, action, result), n in self._by_policy.items()
        ]
        yield from sample_lines("meshsdk_authz_dry_run_total", "counter", policies)
        denied = [
            ({"listener": listener, "status": status}, float(n))
            for (listener, status), n in self._denied.items()
        ]
        yield from sample_lines("meshsdk_denied_total", "counter", denied)


def _add(counts: dict[tuple[str, ...], int], key: tuple[str, ...], rest: tuple[str, ...]) -> None:
    if key not in counts and len(counts) >= _KEPT:
        key = rest
    counts[key] = counts.get(key, 0) + 1
