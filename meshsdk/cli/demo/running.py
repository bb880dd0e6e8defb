"""The demo's mesh: its control plane, fed from YAML, and its processes."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.cli.demo.child import Child
from meshsdk.cli.demo.members import MEMBERS, TRUST_DOMAIN, Member
from meshsdk.clock import SystemClock
from meshsdk.control_plane.istio.translate import translate
from meshsdk.control_plane.serving import ControlPlane, ServingOptions
from meshsdk.control_plane.state_directory import ROOTS, LastGood, StateDirectory, write_private
from meshsdk.control_plane.tokens import OWN_ISSUER, TokenIssuer, mint
from meshsdk.identity.issue import CertificateAuthority
from meshsdk.identity.token_key import TokenKey

ISSUER: Final = "https://auth.finserv.com"
CANARY: Final = "canary.yaml"
_JWKS_URI: Final = "https://auth.finserv.com/.well-known/jwks.json"
_PROGRAM: Final = "meshsdk.cli.demo.program"
_CLOCK: Final = SystemClock()
_PATIENCE: Final = 10.0
_TOKEN_LIFETIME: Final = 12 * 3600.0
_STRIPE_ANSWER: Final = b'{"app": "api.stripe.com"}'


@dataclass(frozen=True, slots=True)
class Running:
    """The mesh while it runs."""

    directory: Path
    plane: ControlPlane
    control_plane: str
    """host:port."""
    state: StateDirectory
    partner_key: TokenKey
    """Signs tokens of the outside issuer that jwt.yaml names."""
    children: Mapping[Member, Child]
    ports: Mapping[Member, int]

    @classmethod
    async def start(cls, directory: Path, stack: AsyncExitStack) -> Self:
        """Everything; `stack` ends it. Blocks the loop for moments only."""
        config = directory / "config"
        config.mkdir()
        for folder in ("seed", "own"):
            for file in files("meshsdk.cli.demo").joinpath(folder).iterdir():
                if file.name.endswith(".yaml"):
                    (config / file.name).write_text(file.read_text())
        stripe_port, stripe_roots = await _stripe(directory, stack)
        children = await _children(directory, stripe_roots, stack)
        state = StateDirectory(directory / "state", TRUST_DOMAIN, _CLOCK)
        state.prepare()
        partner_key = TokenKey.generate()
        ports = {m: int(str((await child.receive())["port"])) for m, child in children.items()}
        entries = [member.workload_entry(port) for member, port in ports.items()]
        (config / "workloads.yaml").write_text("\n---\n".join(entries))
        write_private(config / "secret.yaml", _secret(state).encode())
        plane = _plane(config, state, partner_key)
        address = f"127.0.0.1:{plane.listen()}"
        plane.start()
        stack.callback(plane.stop)
        mesh = cls(directory, plane, address, state, partner_key, children, ports)
        for member, child in children.items():
            await child.send({**mesh.membership(member), "stripe_port": str(stripe_port)})
        for child in children.values():
            await child.receive()
        return mesh

    def membership(self, member: Member) -> Mapping[str, str]:
        """What a member needs to join: files and an address."""
        token = self.directory / f"{member.name}.token"
        key = self.state.token_key()
        text = mint(key, member.namespace, member.app, _CLOCK, _TOKEN_LIFETIME)
        write_private(token, text.encode())
        return {
            "control_plane": self.control_plane,
            "roots": str(self.state.path / ROOTS),
            "token": str(token),
        }

    def partner_token(self, role: str) -> str:
        """As the outside issuer would sign one."""
        now = int(_CLOCK.time())
        return self.partner_key.sign(
            {"iss": ISSUER, "sub": "acme", "role": role, "iat": now, "exp": now + 600}
        )

    def edit(self, name: str, changes: Mapping[str, str]) -> None:
        """Change words of a YAML file, as an editor would."""
        path = self.directory / "config" / name
        text = path.read_text()
        for before, after in changes.items():
            text = text.replace(before, after)
        beside = self.directory / name
        beside.write_text(text)
        beside.replace(path)


async def _children(
    directory: Path, stripe_roots: Path, stack: AsyncExitStack
) -> Mapping[Member, Child]:
    async def start(member: Member) -> tuple[Member, Child]:
        message = {"name": member.name, "stripe_roots": str(stripe_roots)}
        child = await Child.start(_PROGRAM, message, directory)
        stack.push_async_callback(child.kill)
        return member, child

    return dict([await start(member) for member in MEMBERS])


def _plane(config: Path, state: StateDirectory, partner_key: TokenKey) -> ControlPlane:
    options = ServingOptions(
        trust_domain=TRUST_DOMAIN, key_sets={_JWKS_URI: partner_key.jwks.decode()}
    )
    own = TokenIssuer.of(OWN_ISSUER, state.token_key().jwks)
    return ControlPlane(config, translate, options, signing=LastGood(state), own_issuer=own)


def _secret(state: StateDirectory) -> str:
    """The Secret that gateway.yaml names, with a certificate that nobody has used before."""
    made = state.signing().authority.mint_server(["api.payments.finserv.com"])
    lines = ["apiVersion: v1", "kind: Secret", "type: kubernetes.io/tls"]
    lines += ["metadata: {name: payment-api-tls, namespace: istio-system}", "stringData:"]
    for name, pem in (("tls.crt", made.chain_pem), ("tls.key", made.private_key_pem)):
        lines += [f"  {name}: |", *(f"    {line}" for line in pem.decode().splitlines())]
    return "\n".join(lines) + "\n"


async def _stripe(directory: Path, stack: AsyncExitStack) -> tuple[int, Path]:
    """A TLS server on loopback in the place of api.stripe.com: its port, and the roots by which it
    is known."""
    authority = CertificateAuthority.self_signed("stripe.demo", _CLOCK)
    made = authority.mint_server(["api.stripe.com"])
    roots, chain = directory / "stripe-roots.pem", directory / "stripe.pem"
    roots.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    write_private(chain, made.chain_pem + made.private_key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(_STRIPE_ANSWER)}\r\nconnection: close\r\n"
        writer.write(f"{head}content-type: application/json\r\n\r\n".encode() + _STRIPE_ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    stack.callback(server.close)
    return int(server.sockets[0].getsockname()[1]), roots
