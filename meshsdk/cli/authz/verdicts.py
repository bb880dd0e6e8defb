"""Running cases through the real flows, and what became of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

from meshsdk.call.decision_record import SHOWN
from meshsdk.cli.authz.cases import Case, Expected, Suite, WorkloadSpec
from meshsdk.cli.authz.workload import config_of
from meshsdk.cli.check.case import Json
from meshsdk.cli.check.checker import Checker
from meshsdk.control_plane.istio.loader import Loaded, load
from meshsdk.control_plane.istio.request_authentication import RequestAuthentication
from meshsdk.errors import ConfigError
from meshsdk.identity.unusable_jwks import make_unusable_jwks

_JWT: Final = "envoy.filters.http.jwt_authn"
_NAMESPACES: Final = ("envoy.filters.http.rbac", "envoy.filters.network.rbac")
_MATCHED: Final = re.compile(r"rbac_access_denied_matched_policy\[(.*)\]")
_ISTIO: Final = re.compile(r"ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[[0-9]+\]")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a case."""

    case: Case
    found: Expected
    policy: str
    """That decided; empty: none matched, or no policy was asked."""
    details: str
    why: tuple[str, ...] = ()
    """Records of the decisions."""

    @property
    def passed(self) -> bool:
        """Whether that was expected."""
        return self.found == self.case.expect and is_policy(self.policy, self.case.policy)


def is_policy(found: str, expected: str) -> bool:
    """Whether a policy is meant: Envoy's name, or Istio's with or without its namespace. `none`:
    no policy matched."""
    if not expected or found == expected:
        return True
    if expected == "none":
        return not found
    parts = _ISTIO.search(found)
    return parts is not None and expected in (parts[2], f"{parts[1]}/{parts[2]}")


def run_suite(suite: Suite, compat: Literal["strict", "envoy"]) -> list[Result]:
    """Every case on a fresh configuration: none has seen another's requests."""
    if suite.envoy is not None:
        return [_run(case, suite.envoy, compat) for case in suite.cases]
    loaded = load(suite.istio)
    if loaded.errors:
        raise ConfigError("", "\n".join(map(str, loaded.errors)))
    known: dict[str, Json] = {}
    keys = make_unusable_jwks() if loaded.all(RequestAuthentication) else ""
    return [_run(case, _config(loaded, case.workload, keys, known), compat) for case in suite.cases]


def _config(loaded: Loaded, spec: WorkloadSpec, keys: str, known: dict[str, Json]) -> Json:
    key = repr(spec)
    if key not in known:
        known[key] = config_of(loaded, spec, keys)
    return known[key]


def _run(case: Case, config: Json, compat: Literal["strict", "envoy"]) -> Result:
    checker = Checker(config, compat, is_inbound=True)
    [outcome] = checker.run([_request(case)])
    details = str(outcome.get("error") or outcome.get("details") or "")
    allowed = bool(outcome.get("cluster")) and not outcome.get("error")
    denying = _MATCHED.search(details)
    policy = _allowed_by(outcome) if denying is None else denying[1]
    why: tuple[str, ...] = ()
    if checker.context is not None:
        found = (judgement.explain(SHOWN) for judgement in checker.context.judgements)
        why = tuple(str(record) for record in found)
    return Result(
        case, "allow" if allowed else "deny", "" if policy == "none" else policy, details, why
    )


def _request(case: Case) -> Json:
    """The request with what cases may leave out, and claims where a token's filter puts them."""
    request = {"id": "1", "authority": "app", "dest_port": case.workload.port, **case.request}
    claims = request.pop("claims", None)
    if claims is not None:
        if not isinstance(claims, Mapping):
            raise ConfigError(f"case {case.name}: request.claims", "expected a mapping")
        known = cast("Mapping[str, object]", request.get("dynamic_metadata") or {})
        request["dynamic_metadata"] = {**known, _JWT: {"payload": claims}}
    return request


def _allowed_by(outcome: Json) -> str:
    published = cast("Mapping[str, Mapping[str, object]]", outcome.get("dynamic_metadata") or {})
    for namespace in _NAMESPACES:
        for key, value in published.get(namespace, {}).items():
            if key.endswith("enforced_effective_policy_id"):
                return str(value)
    return ""
