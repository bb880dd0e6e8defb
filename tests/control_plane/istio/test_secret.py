"""Secret: only certificates are read."""

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.secret import OtherSecret


def _text(kind: str, data: str) -> str:
    return f"""\
apiVersion: v1
kind: Secret
metadata: {{name: s, namespace: shop}}
type: {kind}
data: {data}
"""


def test_the_contents_of_another_secret_are_not_kept() -> None:
    loaded = load({"a.yaml": _text("Opaque", "{password: aHVudGVyMg==}")})

    [secret] = loaded.all(OtherSecret)
    assert secret.metadata.name == "s"
    assert "aHVudGVyMg" not in repr(loaded)


def test_a_certificate_that_is_none_is_refused() -> None:
    errors = load({"a.yaml": _text("kubernetes.io/tls", "{tls.crt: '!', tls.key: aa}")}).errors
    missing = load({"a.yaml": _text("kubernetes.io/tls", "{}")}).errors

    assert "expected base64 of PEM at tls.crt" in str(errors[0])
    assert "expected tls.crt and tls.key of one pair" in str(missing[0])
