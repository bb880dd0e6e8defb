"""The benchmarks as tests that judge nothing: `pytest -n 0 -m bench -s tests/bench`."""

import pytest

from tests.bench import (
    bench_control_plane,
    bench_decisions,
    bench_grpc,
    bench_httpx,
    bench_mesh,
    bench_rbac,
    bench_routes,
    bench_side_calls,
    bench_telemetry,
)

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


def test_decisions() -> None:
    bench_decisions.main()


def test_routes() -> None:
    bench_routes.main()


def test_authorization() -> None:
    bench_rbac.main()


def test_side_calls() -> None:
    bench_side_calls.main(50)


def test_telemetry() -> None:
    bench_telemetry.main()


def test_control_plane() -> None:
    bench_control_plane.main(1000, 50)


def test_transport_alone() -> None:
    bench_httpx.main(3)


def test_whole_mesh() -> None:
    bench_mesh.main(5)


def test_grpc() -> None:
    bench_grpc.main(3)
