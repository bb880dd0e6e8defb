import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.clock import SystemClock
from meshsdk.errors import IdentityError
from meshsdk.identity import CredentialFiles, FilesSource, SourceState, SpiffeId
from meshsdk.identity.issue import CertificateAuthority
from meshsdk.testing.ca import FakeCa, private_key_pem

CA = FakeCa("cluster.local")
CLOCK = SystemClock()


def watched(directory: Path, workload: str = "shop/a") -> FilesSource:
    return FilesSource(CA.write(directory, workload), CLOCK)


def current(source: FilesSource) -> str:
    return str(source.poll().usable().svid().spiffe_id)


def test_files_give_an_svid_and_a_flat_bundle(tmp_path: Path) -> None:
    status = watched(tmp_path).poll()

    assert status.state is SourceState.FRESH
    assert str(status.usable().svid().spiffe_id) == "spiffe://cluster.local/ns/shop/sa/a"
    assert status.usable().bundles.flat == CA.bundle


def test_unchanged_files_are_no_rotation(tmp_path: Path) -> None:
    source = watched(tmp_path)
    first = source.poll()

    for path in tmp_path.iterdir():
        os.utime(path)

    assert source.poll().context is first.context


def test_changed_files_are_one(tmp_path: Path) -> None:
    source = watched(tmp_path)
    first = source.poll()

    CA.write(tmp_path, "shop/a")

    assert source.poll().context != first.context


def test_a_key_that_does_not_fit_yet_keeps_the_last_good_and_says_so(tmp_path: Path) -> None:
    source = watched(tmp_path)
    first = source.poll()
    key = (tmp_path / "key.pem").read_bytes()
    CA.write(tmp_path, "shop/b")
    fitting = (tmp_path / "key.pem").read_bytes()

    (tmp_path / "key.pem").write_bytes(key)
    torn = source.poll()
    (tmp_path / "key.pem").write_bytes(fitting)

    assert torn.context is first.context
    assert torn.state is SourceState.UNREACHABLE
    assert "expected the key of the leaf" in torn.detail
    assert current(source) == "spiffe://cluster.local/ns/shop/sa/b"
    assert source.poll().state is SourceState.FRESH


@pytest.mark.parametrize("name", ["cert-chain.pem", "key.pem", "root-cert.pem"])
def test_a_missing_or_half_written_file_keeps_the_last_good(tmp_path: Path, name: str) -> None:
    source = watched(tmp_path)
    first = source.poll()
    whole = (tmp_path / name).read_bytes()

    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    half = source.poll()
    (tmp_path / name).unlink()
    missing = source.poll()
    (tmp_path / name).write_bytes(whole)
    back = source.poll()

    assert half.context is missing.context is back.context is first.context
    assert half.state is missing.state is SourceState.UNREACHABLE
    assert name in missing.detail
    assert back.state is SourceState.FRESH


def test_a_symlink_swap_as_kubernetes_does_it_is_one_change(tmp_path: Path) -> None:
    for version, workload in (("..1", "shop/a"), ("..2", "shop/b")):
        CA.write(tmp_path / version, workload)
    (tmp_path / "..data").symlink_to("..1")
    for name in ("cert-chain.pem", "key.pem", "root-cert.pem"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    source = FilesSource(CredentialFiles.in_directory(tmp_path), CLOCK)
    before = current(source)

    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    assert (before[-1], current(source)[-1]) == ("a", "b")


def test_nothing_yet_is_no_identity_and_names_the_file(tmp_path: Path) -> None:
    files = CredentialFiles(tmp_path / "c", tmp_path / "k", tmp_path / "r")

    status = FilesSource(files, CLOCK).poll()

    assert status.context is None
    assert status.detail == f"cannot read {tmp_path / 'c'}: No such file or directory"


def test_expiry_is_found_by_our_clock(tmp_path: Path) -> None:
    class Later(SystemClock):
        __slots__ = ()

        def time(self) -> float:
            return SystemClock.time() + 7200

    status = FilesSource(CA.write(tmp_path, "shop/a"), Later()).poll()

    assert status.state is SourceState.EXPIRED


@pytest.mark.parametrize(
    "names",
    [
        ("cert-chain.pem", "key.pem", "root-cert.pem"),
        ("certificates.pem", "private_key.pem", "ca_certificates.pem"),
    ],
)
@pytest.mark.parametrize("where", ["var/run/secrets/workload-spiffe-credentials", "etc/certs"])
def test_the_layouts_near_a_workload_are_found(
    tmp_path: Path, where: str, names: tuple[str, str, str]
) -> None:
    assert CredentialFiles.near_workload(tmp_path) is None
    written = CA.write(tmp_path / where, "shop/a")
    paths = written.certificate_chain, written.private_key, written.roots
    for path, name in zip(paths, names, strict=True):
        path.rename(path.with_name(name))

    files = CredentialFiles.near_workload(tmp_path)

    assert files is not None
    assert files.crl == tmp_path / "var/run/secrets/istio/crl/ca-crl.pem"
    assert current(FilesSource(files, CLOCK)) == "spiffe://cluster.local/ns/shop/sa/a"


def test_a_folder_of_another_layout_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"cert-chain.pem or certificates.pem, found neither"):
        CredentialFiles.in_directory(tmp_path)


def test_a_chain_with_an_intermediate_is_sent_without_its_root(tmp_path: Path) -> None:
    root = CertificateAuthority.self_signed("cluster.local", CLOCK)
    svid = root.intermediate().mint(SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/a"))
    files = CA.write(tmp_path, "shop/a")
    pem = b"".join(
        x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        for der in (*svid.certificate.chain, root.root)
    )
    files.certificate_chain.write_bytes(pem)
    files.private_key.write_bytes(private_key_pem(svid))

    status = FilesSource(files, CLOCK).poll()

    assert len(status.usable().svid().certificate.chain) == 2
