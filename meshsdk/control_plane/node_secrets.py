"""What a node gets over SDS: Secrets of its namespace, and for an Envoy its own certificate."""

from collections.abc import Mapping

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.control_plane.ca import Signing
from meshsdk.control_plane.istio.loader import Loaded
from meshsdk.control_plane.istio.secret import TlsSecret
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.control_plane.shapes.vanilla_envoy import Credentials

_SCHEME = "kubernetes://"
_ROOTS_ONLY = "-cacert"  # istiod's name of the roots of a Secret


def secrets_for(loaded: Loaded, caller: SpiffeId | None) -> Mapping[str, Json]:
    """The `kubernetes.io/tls` Secrets of the caller's own namespace, by the name that a feed has
    for them; nothing for a caller who has proved nothing. Keys leave the process only here."""
    if caller is None or caller.namespace is None:
        return {}
    found: dict[str, Json] = {}
    for secret in loaded.all(TlsSecret):
        if secret.metadata.namespace != caller.namespace:
            continue
        name = _SCHEME + secret.metadata.name
        found[name] = {
            "name": name,
            "tls_certificate": {
                "certificate_chain": {"inline_string": secret.certificate_chain},
                "private_key": {"inline_string": secret.private_key},
            },
        }
        if secret.roots:
            roots = name + _ROOTS_ONLY
            context = {"trusted_ca": {"inline_string": secret.roots}}
            found[roots] = {"name": roots, "validation_context": context}
    return found


def envoy_credentials(signing: Signing, caller: SpiffeId, ttl: float) -> Credentials:
    """A certificate with a key that we make: an Envoy has nobody who asks for it by request."""
    made = signing.authority.mint(caller, ttl=ttl).certificate
    return Credentials(
        made.chain_pem.decode(), made.private_key_pem.decode(), signing.roots_pem.decode()
    )
