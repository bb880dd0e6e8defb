"""The caller over real sockets, against a server that answers as a real istiod was recorded."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.config.bootstrap import Bootstrap, CertificateFiles, Credentials, Node, Server
from meshsdk.identity import CredentialFiles, SourceState
from meshsdk.identity.sources.istio_ca import CaRefusal, IstioCaSource
from meshsdk.runtime.istio_ca import METHOD, SERVICE, IstioCa, IstioCaCaller, istio_ca_of
from meshsdk.runtime.origin import identity_of
from meshsdk.testing import FakeCa
from meshsdk.testing.clock import FakeClock, SeededRandom
from meshsdk.wire.grpc_server import GrpcServer, ServerCall, ServerTls
from meshsdk.wire.unary import serve_unary

RECORDED = json.loads((Path(__file__).parents[1] / "data/istio_ca.json").read_text())
NAME = "istiod.istio-system.svc"
CART = SpiffeId.of_workload("cluster.local", "shop", "cart")
GOOD = "good EC P-256 CSR"


@dataclass
class RecordedCa:
    """Answers every request as one recorded case was answered."""

    case: str = GOOD
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    requests: list[dict[str, object]] = field(default_factory=list[dict[str, object]])

    def create(self, request: dict[str, object], call: ServerCall) -> dict[str, object]:
        self.metadata = call.metadata()
        self.requests.append(request)
        answer = RECORDED[self.case]
        if answer["status"] != "OK":
            call.abort(answer["status"], answer["details"])
        return {"cert_chain": answer["cert_chain"]}


@pytest.fixture
def ca() -> RecordedCa:
    return RecordedCa()


@pytest.fixture
def server(ca: RecordedCa, tmp_path: Path) -> Iterator[Server]:
    own = FakeCa()
    certificate = own.authority.mint_server([NAME])
    serving = GrpcServer(threads=2)
    serving.add(SERVICE, unaries={METHOD: serve_unary(SERVICE, METHOD, ca.create)})
    port = serving.listen(tls=ServerTls(certificate.private_key_pem, certificate.chain_pem))
    serving.start()
    (tmp_path / "token").write_text("a.b.c\n")
    (tmp_path / "roots.pem").write_bytes(own.root_pem)
    credentials = Credentials(
        root_file=str(tmp_path / "roots.pem"),
        token_file=str(tmp_path / "token"),
        server_name=NAME,
        metadata=(("clusterid", "Kubernetes"),),
    )
    yield Server(f"127.0.0.1:{port}", credentials)
    serving.stop()


def recorded_key() -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(RECORDED["key"].encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def a_source(server: Server) -> IstioCaSource:
    leaf = x509.load_pem_x509_certificate(RECORDED[GOOD]["cert_chain"][0].encode())
    clock = FakeClock(time=leaf.not_valid_before_utc.timestamp() + 120.0)
    caller = IstioCaCaller(server)
    return IstioCaSource(caller, CART, clock, SeededRandom(), new_key=recorded_key)


def test_a_real_istiods_answer_becomes_an_identity(ca: RecordedCa, server: Server) -> None:
    status = a_source(server).poll()

    assert status.state is SourceState.FRESH, status.detail
    context = status.usable()
    assert context.svid().spiffe_id == CART
    assert len(context.svid().certificate.chain) == 2
    assert context.bundles.flat is not None
    assert len(context.bundles.flat.roots) == 2  # istiod's, and the mounted one
    assert ca.requests[0]["validity_duration"] == 86400
    assert ca.metadata["authorization"] == "Bearer a.b.c"
    assert ca.metadata["clusterid"] == "Kubernetes"


@pytest.mark.parametrize(
    "case", [name for name, each in RECORDED.items() if name != "key" and each["status"] != "OK"]
)
def test_a_real_istiods_refusal_is_told(ca: RecordedCa, server: Server, case: str) -> None:
    ca.case = case

    status = a_source(server).poll()

    assert status.state is SourceState.UNREACHABLE
    assert str(RECORDED[case]["status"]) in status.detail
    assert str(RECORDED[case]["details"]) in status.detail


def test_a_ca_that_does_not_prove_its_name_gets_no_token(ca: RecordedCa, server: Server) -> None:
    other = Credentials(
        root_file=server.credentials.root_file,
        token_file=server.credentials.token_file,
        server_name="evil.example",
    )

    answer = IstioCaCaller(Server(server.target, other)).create_certificate("csr", 60)

    assert isinstance(answer, CaRefusal)
    assert answer.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert ca.requests == []


def test_a_bootstrap_says_who_asks_and_files_go_before_the_ca() -> None:
    server = Server("istiod:15012")
    node = Node("n", metadata={"NAMESPACE": "shop", "SERVICE_ACCOUNT": "cart", "MESH_ID": "td"})

    asked = istio_ca_of(Bootstrap((server,), node, ca=server))
    files = identity_of(
        Bootstrap((server,), node, files=CertificateFiles("a", "b", "c"), ca=server)
    )

    assert asked == IstioCa(server, SpiffeId.of_workload("td", "shop", "cart"))
    assert isinstance(files, CredentialFiles)
    assert istio_ca_of(Bootstrap((server,), node)) is None
