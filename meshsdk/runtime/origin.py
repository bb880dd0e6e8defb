"""Where the configuration and the credentials of this process come from."""

import os
from pathlib import Path

from meshsdk.clock import Clock
from meshsdk.config.bootstrap import (
    Bootstrap,
    CertificateFiles,
    from_istio_environment,
    parse_grpc_bootstrap,
)
from meshsdk.errors import ConfigError, UsageError
from meshsdk.identity.sources.files import CredentialFiles, FilesSource
from meshsdk.identity.sources.static import StaticSource
from meshsdk.identity.x509_context import X509Context
from meshsdk.runtime.identity import IdentitySource
from meshsdk.runtime.istio_ca import IstioCa, istio_ca_of

_GRPC_FILE = "GRPC_XDS_BOOTSTRAP"
_GRPC_INLINE = "GRPC_XDS_BOOTSTRAP_CONFIG"

Identity = IdentitySource | X509Context | CredentialFiles | IstioCa


def identity_source(identity: Identity | None, clock: Clock) -> IdentitySource | None:
    """The source of an identity that was given in any of its forms."""
    match identity:
        case X509Context():
            return StaticSource(identity, clock)
        case CredentialFiles():
            return FilesSource(identity, clock)
        case IstioCa():
            return identity.source(clock)
        case _:
            return identity


def text_of(path: str | Path) -> str:
    """A configuration file. ConfigError where it cannot be read as UTF-8 text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"expected a readable file: {error}") from error


def bootstrap_of(bootstrap: str | Path | Bootstrap | None) -> Bootstrap:
    """A bootstrap given in any of its forms; None: what the environment says."""
    if isinstance(bootstrap, Bootstrap):
        return bootstrap
    return bootstrap_from_environment() if bootstrap is None else bootstrap_from_file(bootstrap)


def bootstrap_from_file(path: str | Path) -> Bootstrap:
    """gRPC's bootstrap JSON. ConfigError where the file cannot be read, or says too little."""
    return parse_grpc_bootstrap(text_of(path), str(path))


def bootstrap_from_environment() -> Bootstrap:
    """The bootstrap that gRPC's variables name, or Istio's make. UsageError where neither is set."""
    path = os.environ.get(_GRPC_FILE)
    if path:
        return bootstrap_from_file(path)
    inline = os.environ.get(_GRPC_INLINE)
    if inline:
        return parse_grpc_bootstrap(inline, _GRPC_INLINE)
    found = from_istio_environment(os.environ)
    if found is None:
        raise UsageError(
            "nothing says where the control plane is: give Mesh.connect a bootstrap file or a"
            f" server, or set {_GRPC_FILE}, or Istio's POD_NAME, POD_NAMESPACE and INSTANCE_IP"
        )
    return found


def identity_of(bootstrap: Bootstrap) -> CredentialFiles | IstioCa | None:
    """The certificate files of a bootstrap, or those that lie where Istio puts a workload's, or a
    certificate from the bootstrap's CA."""
    files = bootstrap.files
    if files is not None:
        return credential_files(files)
    return CredentialFiles.near_workload() or istio_ca_of(bootstrap)


def credential_files(files: CertificateFiles) -> CredentialFiles:
    """The same files as the identity room names them."""
    return CredentialFiles(
        Path(files.certificate_file), Path(files.key_file), Path(files.root_file)
    )
