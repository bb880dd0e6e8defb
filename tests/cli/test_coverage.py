"""The coverage report: of small configurations, and of every recording of a real istiod."""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from meshsdk.cli import main
from meshsdk.cli.coverage import Report, report, run_coverage
from meshsdk.cli.coverage_tables import Tables, all_tables
from meshsdk.errors import ConfigError
from meshsdk.wire.ads_codec import decode_response
from meshsdk.wire.bootstrap_form import SHORT_NAMES
from meshsdk.wire.pool import full_name
from tests import recordings

URL = "type.googleapis.com/"
GOLDEN = Path(__file__).parents[1] / "data" / "coverage.json"
SHORT = {message: short for short, message in SHORT_NAMES.items()}
FOLDERS = sorted({folder.partition("/")[0] for folder, _, _ in recordings.streams()})
Config = dict[str, Any]


def cluster(**fields: object) -> Config:
    return {"static_resources": {"clusters": [{"name": "c", "connect_timeout": "1s", **fields}]}}


def listener(http_filter: Config) -> Config:
    router = {"name": "router", "typed_config": {"@type": f"{URL}{HTTP}.router.v3.Router"}}
    manager = {
        "@type": f"{URL}envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"name": "r"},
        "http_filters": [http_filter, router],
    }
    chain = {"filters": [{"name": "hcm", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 80}}
    one = {"name": "l", "address": address, "filter_chains": [chain]}
    return {"static_resources": {"listeners": [one]}}


HTTP = "envoy.extensions.filters.http"


def found(config: Config) -> dict[str, str]:
    return {
        f"{f.message.rpartition('.')[2]}.{f.field}".rstrip("."): f.use
        for f in report(config, "test").findings
    }


def test_a_field_is_reported_by_what_becomes_of_it() -> None:
    config = cluster(
        health_checks=[{"timeout": "1s"}], track_cluster_stats={"timeout_budgets": True}
    )

    assert found(config) == {
        "Cluster.health_checks": "not built",
        "Cluster.track_cluster_stats": "ignored",
    }


def test_what_is_honoured_is_only_counted() -> None:
    result = report(cluster(lb_policy="RANDOM"), "test")

    assert result.findings == {}
    assert result.types["CDS"].uses == {"honoured": 3}


def test_a_refused_tls_field_is_covered() -> None:
    tls = {
        "@type": f"{URL}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "allow_renegotiation": True,
    }

    result = report(cluster(transport_socket={"name": "tls", "typed_config": tls}), "test")

    assert result.exit_code == 0
    assert [r.path for r in result.refusals] == [
        "cluster.transport_socket.typed_config.allow_renegotiation"
    ]


def test_an_unknown_http_filter_is_refused_by_its_type() -> None:
    lua = {"name": "lua", "typed_config": {"@type": f"{URL}{HTTP}.lua.v3.Lua"}}

    result = report(listener(lua), "test")

    assert found(listener(lua))["Lua"] == "refused"
    assert "no HTTP filter takes" in result.refusals[0].problem
    assert result.exit_code == 0


def test_an_optional_filter_is_skipped_unless_it_would_decide_access() -> None:
    lua = {"@type": f"{URL}{HTTP}.lua.v3.Lua"}
    jwt = {"@type": f"{URL}{HTTP}.oauth2.v3.OAuth2"}

    skipped = found(listener({"name": "x", "is_optional": True, "typed_config": lua}))
    refused = found(listener({"name": "x", "is_optional": True, "typed_config": jwt}))

    assert skipped["Lua"] == "skipped"
    assert refused["OAuth2"] == "refused"


def test_a_security_field_without_a_table_is_a_gap() -> None:
    tables = [table for table in all_tables() if not table.message.endswith(".TlsParameters")]
    tls = {
        "@type": f"{URL}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"tls_params": {"ecdh_curves": ["X25519"]}},
    }
    config = cluster(transport_socket={"name": "tls", "typed_config": tls})

    result = report(config, "test", Tables({"a": tuple(tables)}))

    (gap,) = [finding for finding in result.findings if finding.is_gap]
    assert (gap.use, gap.field) == ("unlisted", "ecdh_curves")
    assert result.exit_code == 1


def test_the_command_reads_yaml_json_and_gzip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = json.dumps({"CDS": {"c": {"name": "c", "connectTimeout": "1s"}}}).encode()
    (tmp_path / "a.yaml").write_text("static_resources: {clusters: [{name: c}]}")
    (tmp_path / "b.json").write_bytes(state)
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(state))

    codes = [run_coverage(str(path), as_json=True) for path in sorted(tmp_path.iterdir())]

    assert codes == [0, 0, 0]
    assert capsys.readouterr().out.count('"resources": 1') == 3


def test_a_file_that_cannot_be_read_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--coverage", "/nowhere/x.yaml"]) == 2

    assert "/nowhere/x.yaml" in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError):
        report({"kind": "Deployment"}, "test")


def test_the_text_names_the_field_its_reason_and_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.json").write_text(json.dumps(cluster(health_checks=[{"timeout": "1s"}])))

    run_coverage(str(tmp_path / "x.json"), as_json=False)

    text = capsys.readouterr().out
    assert "envoy.config.cluster.v3.Cluster.health_checks  (1)  active health checks" in text
    assert "CDS c: health_checks" in text


# -- every recording ----------------------------------------------------------------------------


def states(group: str) -> Iterator[tuple[str, recordings.State]]:
    """The recorded states of a group; of groups that have none, the ends of the delta streams."""
    known = [(f"{f}/{n}", s) for f, n, s in recordings.states() if f.partition("/")[0] == group]
    yield from known
    if known:
        return
    for folder, node, variant in recordings.streams():
        if folder.partition("/")[0] == group and variant == "delta":
            yield f"{folder}/{node}", replayed(folder, node)


def replayed(folder: str, node: str) -> recordings.State:
    held: dict[str, dict[str, Mapping[str, object]]] = {}
    for frame in recordings.stream(folder, node, "delta"):
        if frame.direction != "in":
            continue
        response = decode_response(frame.raw, "delta")
        named = held.setdefault(SHORT.get(full_name(response.type_url), ""), {})
        named.update((r.name or "", r.decode().data) for r in response.resources if r.type_url)
        for name in response.removed:
            named.pop(name, None)
    return {short: named for short, named in held.items() if short}


def pinned(result: Report) -> Config:
    return {
        "exit": result.exit_code,
        "not honoured": sorted(
            f"{f.message}{'.' if f.field else ''}{f.field}: {f.use}: {f.why}"
            for f in result.findings
        ),
        "refused": sorted(f"{r.type} {r.name}: {r.path}: {r.problem}" for r in result.refusals),
    }


@pytest.mark.slow
@pytest.mark.parametrize("group", FOLDERS)
def test_the_report_on_every_recording_is_the_pinned_one(
    group: str, request: pytest.FixtureRequest
) -> None:
    seen = {name: pinned(report(state, name)) for name, state in states(group)}

    if request.config.getoption("--update-golden"):
        write({**read(), **seen})
    assert seen == {name: one for name, one in read().items() if name.partition("/")[0] == group}


def read() -> dict[str, Config]:
    """The golden file: lines that many recordings share are kept once."""
    text = GOLDEN.read_text() if GOLDEN.exists() else '{"lines": [], "recordings": {}}'
    data: Config = json.loads(text)
    lines: list[str] = data["lines"]
    return {
        name: {"exit": code, "not honoured": [lines[i] for i in fields],
               "refused": [lines[i] for i in refused]}
        for name, (code, fields, refused) in data["recordings"].items()
    }  # fmt: skip


def write(all_of_them: Mapping[str, Config]) -> None:
    lines = sorted(
        {line for one in all_of_them.values() for line in (*one["not honoured"], *one["refused"])}
    )
    number = {line: i for i, line in enumerate(lines)}

    def numbers(found: object) -> list[int]:
        return [number[line] for line in cast("list[str]", found)]

    named = {
        name: [one["exit"], numbers(one["not honoured"]), numbers(one["refused"])]
        for name, one in sorted(all_of_them.items())
    }
    text = [f"  {json.dumps(line)}" for line in lines]
    rows = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in named.items()]
    body = ",\n".join(text), ",\n".join(rows)
    GOLDEN.write_text(f'{{"lines": [\n{body[0]}\n], "recordings": {{\n{body[1]}\n}}}}\n')
