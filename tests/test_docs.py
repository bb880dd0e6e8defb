"""What the documentation shows is true: code runs or compiles, files parse, messages exist."""

import ast
import json
import re
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest

from meshsdk.cli import main
from meshsdk.cli.coverage import report
from meshsdk.cli.coverage_extensions import registries
from meshsdk.config.bootstrap import from_istio_environment
from meshsdk.config.yaml import load
from meshsdk.identity.refusal import Refusal
from meshsdk.wire.bootstrap_form import static_resources
from meshsdk.xds.static import static_snapshot
from tools import support_matrix

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text()) if kind == language]


SNIPPETS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, code in enumerate(blocks(page, "python"))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_python_in_the_documentation_imports_what_there_is(code: str) -> None:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("meshsdk"):
            module = import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_support_page_is_what_the_tables_say() -> None:
    assert support_matrix.TARGET.read_text() == support_matrix.text(), (
        "run: python tools/support_matrix.py"
    )


def test_the_static_mesh_of_the_documentation_is_covered_whole() -> None:
    (text,) = blocks(DOCS / "how-to/static-mesh.md", "yaml")
    config = load(text, "mesh.yaml")

    snapshot = static_snapshot(static_resources(config, "mesh.yaml"), registries())

    assert set(snapshot.clusters) == {"reviews-v1", "reviews-v2"}
    uses = {finding.use for finding in report(config, "mesh.yaml").findings}
    assert uses == {"ignored"}


def test_the_pod_of_the_documentation_has_what_connect_reads() -> None:
    (text,) = blocks(DOCS / "how-to/istio-without-sidecar.md", "yaml")
    pod = cast("dict[str, dict[str, dict[str, object]]]", load(text, "d.yaml")["spec"])["template"]
    (container,) = cast("list[dict[str, list[dict[str, str]]]]", pod["spec"]["containers"])
    environment = {one["name"]: one.get("value", "10.0.0.1") for one in container["env"]}
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]

    found = from_istio_environment(environment)

    assert found is not None
    assert found.files is None
    assert found.ca is not None
    every = [*found.servers, found.ca]
    read = [
        path for each in every for path in (each.credentials.token_file, each.credentials.root_file)
    ]
    assert {str(Path(path).parent) for path in read} == set(mounts)
    assert found.node.metadata["LABELS"] == {"app": "reviews", "version": "v1"}


def test_the_check_of_the_documentation_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = DOCS / "reference/cli.md"
    (tmp_path / "config.yaml").write_text(blocks(page, "yaml")[0])
    (tmp_path / "requests").write_text(blocks(page, "json")[1])

    code = main(["check", str(tmp_path / "config.yaml"), "--requests", str(tmp_path / "requests")])

    outcomes = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [outcome["status"] for outcome in outcomes] == [
        403,
        200,
        200,
    ]  # the third by its retry policy


def test_the_messages_of_the_troubleshooting_page_exist() -> None:
    page = (DOCS / "how-to/troubleshooting.md").read_text()
    sources = "\n".join(
        path.read_text()
        for folder in ("meshsdk", "integrations")
        for path in (ROOT / folder).rglob("*.py")
    )
    refusals = {refusal.value for refusal in Refusal}
    missing = [
        part
        for row in re.findall(r"^\| (?:[^`|]*)((?:`[^`]+`[^`|]*)+) \|", page, re.MULTILINE)
        for message in re.findall(r"`([^`]+)`", row)
        for part in (piece.strip(" {}[]") for piece in message.split("…"))
        if part and part not in sources and part not in refusals and part != "refusal"
    ]

    assert missing == []


def test_every_metric_is_on_its_page() -> None:
    page = (DOCS / "reference/metrics.md").read_text()
    kinds = "total|seconds|milliseconds|bytes|info|version|resources|connected|build|active"
    name = re.compile(rf'"((?:meshsdk|istio|grpc_xds_client|envoy_cluster)_[a-z_]+_(?:{kinds}))"')
    sources = [path.read_text() for path in (ROOT / "meshsdk").rglob("*.py")]

    names = {found for text in sources for found in name.findall(text)}

    assert len(names) > 15
    assert {each for each in names if f"`{each}`" not in page and f"`{each}{{" not in page} == set()
