import gzip
import json
from pathlib import Path

import pytest

from meshsdk.call.certificate import Certificate
from meshsdk.call.spiffe_id import SpiffeId, is_trust_domain
from meshsdk.errors import MeshError, SpiffeIdError

# [id, valid, trust domain, path, section or reason] and [text, valid, name]
VECTORS = json.loads(
    gzip.decompress((Path(__file__).parent.parent / "data" / "spiffe_ids.json.gz").read_bytes())
)


def test_every_id_of_the_vectors_is_judged_as_the_standard_says() -> None:
    wrong: list[str] = []

    for text, valid, trust_domain, path, why in VECTORS["ids"]:
        try:
            found = SpiffeId.parse(text)
        except SpiffeIdError:
            if valid:
                wrong.append(f"refused {text!r}: {why}")
            continue
        if not valid:
            wrong.append(f"accepted {text!r}: {why}")
        elif (found.trust_domain, found.path, str(found)) != (trust_domain, path, text):
            wrong.append(f"parts of {text!r}: {found.trust_domain} {found.path}")

    assert len(VECTORS["ids"]) == 679
    assert wrong == []


def test_every_trust_domain_of_the_vectors_is_judged_as_the_standard_says() -> None:
    assert len(VECTORS["trust_domains"]) == 25
    for text, valid, name in VECTORS["trust_domains"]:
        # A trust domain may also come as an ID: the name is then the ID's.
        if text.startswith("spiffe://") and valid:
            assert SpiffeId.parse(text).trust_domain == name
        else:
            assert is_trust_domain(text) is valid, text


def test_an_id_in_istio_form_has_namespace_and_service_account() -> None:
    spiffe_id = SpiffeId.of_workload("cluster.local", "shop", "order-service")

    assert str(spiffe_id) == "spiffe://cluster.local/ns/shop/sa/order-service"
    assert (spiffe_id.namespace, spiffe_id.service_account) == ("shop", "order-service")


@pytest.mark.parametrize(
    "path", ["", "/ns/shop", "/ns/shop/sa/a/b", "/NS/shop/sa/a", "/dc/ns/shop/sa/a", "/sa/a/ns/b"]
)
def test_an_id_of_another_form_has_neither(path: str) -> None:
    spiffe_id = SpiffeId.parse(f"spiffe://td{path}")

    assert spiffe_id.namespace is None
    assert spiffe_id.service_account is None


def test_the_refusal_says_what_was_expected_and_found_and_escapes_it() -> None:
    with pytest.raises(MeshError, match="expected a trust domain of 1 to 255") as refusal:
        SpiffeId.parse("spiffe://td\n.test/x")

    assert "'td\\n.test'" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_certificate_url_encodes_its_pem_as_envoy_does() -> None:
    certificate = Certificate(der=b"\xfb\xff" * 30)

    encoded = certificate.url_encoded_pem

    assert encoded.startswith("-----BEGIN%20CERTIFICATE-----%0A%2B%2F")
    assert encoded.endswith("-----END%20CERTIFICATE-----%0A")
