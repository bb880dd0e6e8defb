"""`meshsdk control-plane DIR` without --check and --dump: serve it; and its tokens and roots."""

import argparse
import logging
import math
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Final

from meshsdk.call.spiffe_id import is_trust_domain
from meshsdk.clock import SystemClock
from meshsdk.control_plane.configuration import Translation
from meshsdk.control_plane.debug import DebugServer, show_over_xds
from meshsdk.control_plane.folder import Options, load_folder
from meshsdk.control_plane.istio.translate import translate
from meshsdk.control_plane.serving import ControlPlane, ServingOptions
from meshsdk.control_plane.state_directory import ROOTS, LastGood, StateDirectory, write_private
from meshsdk.control_plane.tokens import OWN_ISSUER, TokenIssuer, mint
from meshsdk.errors import UsageError

TOKEN: Final = "token"  # noqa: S105 - a word
ROTATE_ROOT: Final = "rotate-root"
_TLS: Final = "127.0.0.1:15012"
_DEBUG_PORT: Final = 15014
_LAST_PORT: Final = 65535
_TOKEN_LIFETIME: Final = 12 * 3600.0  # istiod's projected tokens
_DOMAIN: Final = "cluster.local"
_CLOCK: Final = SystemClock()


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of serving, and of the words that stand in DIR's place."""
    parser.add_argument(
        "step", nargs="?", help=f"with {ROTATE_ROOT} in DIR's place: prepare, activate or finish"
    )
    serving = parser.add_argument_group("serving")
    serving.add_argument("--listen", metavar="HOST:PORT", default=_TLS, help=f"TLS, {_TLS}")
    serving.add_argument(
        "--mtls-listen", metavar="HOST:PORT", help="TLS for callers with a client certificate"
    )
    serving.add_argument(
        "--plaintext",
        metavar="HOST:PORT",
        help="configuration for anybody on this machine, without proof and without a CA",
    )
    serving.add_argument("--debug-port", type=_port, default=_DEBUG_PORT, metavar="PORT")
    serving.add_argument(
        "--state", type=Path, metavar="DIR", help="where the CA and its keys lie (mode 0700)"
    )
    serving.add_argument(
        "--trust-domain", metavar="NAME", help=f"the mesh config's, else {_DOMAIN}"
    )
    serving.add_argument("--ca-certificate", type=Path, metavar="PEM", help="a root to sign with")
    serving.add_argument("--ca-key", type=Path, metavar="PEM", help="its key")
    serving.add_argument(
        "--certificate-ttl", type=_seconds, metavar="SECONDS", help="cut certificates to this"
    )
    serving.add_argument(
        "--token-issuer",
        metavar="ISSUER=JWKS_FILE",
        action="append",
        default=[],
        help="whose tokens count, beside our own; may be repeated",
    )
    minting = parser.add_argument_group(f"{TOKEN} (in DIR's place)")
    minting.add_argument("--namespace", metavar="NAME", help="of the workload")
    minting.add_argument("--service-account", metavar="NAME", help="of the workload")
    minting.add_argument("--lifetime", type=_seconds, default=_TOKEN_LIFETIME, metavar="SECONDS")
    minting.add_argument("--out", type=Path, metavar="FILE", help="write it there, mode 0600")


def token(options: argparse.Namespace) -> int:
    """Print a token, or write it to a file that only its owner reads."""
    if not options.namespace or not options.service_account:
        raise UsageError("expected --namespace N --service-account S")
    state = _state(options, options.trust_domain or _DOMAIN)
    try:
        key = state.token_key()
    except OSError as error:
        raise UsageError(f"{state.path}: {error.strerror}") from error
    text = mint(key, options.namespace, options.service_account, _CLOCK, options.lifetime)
    if options.out is None:
        print(text)
        return 0
    try:
        write_private(options.out, text.encode())
    except OSError as error:
        raise UsageError(f"--out {options.out}: {error.strerror}") from error
    return 0


def rotate_root(options: argparse.Namespace) -> int:
    """One step of a rotation of the root; a running control plane follows."""
    state = _state(options, options.trust_domain or _DOMAIN)
    steps = {
        "prepare": state.prepare_root,
        "activate": state.activate_root,
        "finish": state.finish_root,
    }
    step = steps.get(options.step or "")
    if step is None:
        raise UsageError(f"expected {ROTATE_ROOT} prepare, activate or finish")
    try:
        step()
    except OSError as error:
        raise UsageError(f"{state.path}: {error.strerror}") from error
    print(
        f"{options.step}: done; workloads that mount {state.path / ROOTS} know at once,"
        " the others when they renew"
    )
    return 0


def serve(options: argparse.Namespace, given: Options) -> int:
    """Serve until SIGINT or SIGTERM."""
    if options.step is not None:
        raise UsageError(f"{options.step} stands only after {ROTATE_ROOT}, not after a folder")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    mesh = load_folder(options.folder).mesh_config
    domain = options.trust_domain or mesh.trust_domain
    with ExitStack() as stack:
        plane, state = _plane(options, given, domain)
        lines = _listen(plane, options)
        try:
            pages = DebugServer(plane, options.debug_port)
        except OSError as error:
            raise UsageError(f"--debug-port {options.debug_port}: {error.strerror}") from error
        show_over_xds(plane)
        stack.enter_context(plane)
        pages.start()
        stack.callback(pages.stop)
        lines.append(f"debug      http://127.0.0.1:{pages.port}/debug/syncz")
        lines.append(f"roots      {state.path / ROOTS}")
        print(f"serving {options.folder}, trust domain {domain}", *lines, sep="\n  ", flush=True)
        _wait_for_the_end()
    return 0


def _plane(
    options: argparse.Namespace, given: Options, domain: str
) -> tuple[ControlPlane, StateDirectory]:
    state = _state(options, domain)
    try:
        if options.ca_certificate is not None and options.ca_key is not None:
            state.give(options.ca_certificate.read_bytes(), options.ca_key.read_bytes())
        elif options.ca_certificate is not None or options.ca_key is not None:
            raise UsageError("--ca-certificate and --ca-key need each other")
        state.prepare()
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from error
    serving = ServingOptions(
        trust_domain=domain,
        issuers=tuple(_issuer(text) for text in options.token_issuer),
        certificate_ttl=options.certificate_ttl,
        key_sets=given.jwks,
        translation=Translation(
            ip_autoallocate=given.ip_autoallocate, remote_jwks=given.remote_jwks
        ),
    )
    own = TokenIssuer.of(OWN_ISSUER, state.token_key().jwks)
    plane = ControlPlane(
        options.folder, translate, serving, signing=LastGood(state), own_issuer=own
    )
    return plane, state


def _listen(plane: ControlPlane, options: argparse.Namespace) -> list[str]:
    """Bind every address; a line about each."""
    for name in ("listen", "mtls_listen", "plaintext"):
        _check_address(f"--{name.replace('_', '-')}", getattr(options, name))
    lines: list[str] = []
    try:
        host = options.listen.rpartition(":")[0]
        lines.append(f"xDS and CA {host}:{plane.listen(options.listen)} (TLS, by token)")
        if options.mtls_listen:
            host = options.mtls_listen.rpartition(":")[0]
            port = plane.listen(options.mtls_listen, mutual=True)
            lines.append(f"xDS and CA {host}:{port} (TLS, by client certificate)")
        if options.plaintext:
            host = options.plaintext.rpartition(":")[0]
            port = plane.listen_plaintext(options.plaintext)
            lines.append(f"xDS        {host}:{port} (plaintext: anybody here may read it)")
    except OSError as error:
        raise UsageError(str(error)) from error
    return lines


def _wait_for_the_end() -> None:
    ended = Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    ended.wait()


def _check_address(option: str, text: str | None) -> None:
    """gRPC takes a port modulo 65536, and a name without one for a name."""
    if text is None or text.startswith("unix:"):
        return
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > _LAST_PORT:
        raise UsageError(f"{option}: expected HOST:PORT, port 0 to {_LAST_PORT}, found {text!r}")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port, 0 to {_LAST_PORT}, found {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, found {text!r}")
    return found


def _issuer(text: str) -> TokenIssuer:
    issuer, equals, file = text.rpartition("=")
    if not equals or not issuer:
        raise UsageError(f"--token-issuer: expected ISSUER=JWKS_FILE, found {text!r}")
    try:
        return TokenIssuer.of(issuer, Path(file).read_bytes())
    except OSError as error:
        raise UsageError(f"--token-issuer: cannot read {file}: {error.strerror}") from error


def _state(options: argparse.Namespace, domain: str) -> StateDirectory:
    if not is_trust_domain(domain):
        raise UsageError(f"trust domain: expected 1 to 255 of a-z 0-9 . _ -, found {domain!r}")
    path = options.state
    if path is None:
        home = os.environ.get("XDG_STATE_HOME")
        base = Path(home) if home else Path.home() / ".local/state"
        path = base / "meshsdk/control-plane"
    return StateDirectory(path, domain, _CLOCK)
