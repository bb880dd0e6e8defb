"""x-forwarded-client-cert. Source: Envoy, ConnectionManagerUtility::mutateXfccRequestHeader."""

from typing import Final

from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection
from meshsdk.call.headers import Headers
from meshsdk.resources.hcm_options import ClientCertDetails, ForwardClientCert, HcmOptions

XFCC: Final = "x-forwarded-client-cert"


def forwarded_client_cert(
    headers: Headers, options: HcmOptions, connection: Connection
) -> str | None:
    """The field's value for the request; None: the request has none.

    Strict (`xfcc-client`): what the client sent never passes, so every mode that would keep it
    only tells what we know ourselves.
    """
    mode = options.forward_client_cert_details
    strict = options.compat == "strict"
    sent = ",".join(headers.values(XFCC)) if XFCC in headers and not strict else None
    if mode is ForwardClientCert.ALWAYS_FORWARD_ONLY:
        return sent
    certificate = connection.peer.certificate
    if mode is ForwardClientCert.SANITIZE or certificate is None:
        return None
    if mode is ForwardClientCert.FORWARD_ONLY:
        return sent
    element = _element(certificate, connection, options.set_current_client_cert_details)
    if mode is ForwardClientCert.APPEND_FORWARD and sent:
        return f"{sent},{element}"
    return element


def _element(certificate: Certificate, connection: Connection, details: ClientCertDetails) -> str:
    parts = [f"By={uri}" for uri in connection.local_uri_sans]
    if certificate.sha256:
        parts.append(f"Hash={certificate.sha256}")
    if details.cert:
        parts.append(f'Cert="{certificate.url_encoded_pem}"')
    if details.subject:
        parts.append(f'Subject="{certificate.subject}"')
    if details.uri:
        parts.extend(f"URI={uri}" for uri in certificate.uri_sans or ("",))
    if details.dns:
        parts.extend(f"DNS={name}" for name in certificate.dns_sans)
    return ";".join(parts)
