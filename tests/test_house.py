"""The rules of the house that no linter knows: indexes, doors, packaging, links."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import import_module
from inspect import getmodule
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any, cast

import pytest

import meshsdk
from meshsdk.cli.coverage_tables import all_tables
from meshsdk.config.extension import (
    HttpFilterExtension,
    LbPolicyExtension,
    NetworkFilterExtension,
)
from meshsdk.config.fields import MessageTable, Use
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.identity.sources import SOURCES
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.resources import RESOURCE_TYPES, whole_messages
from meshsdk.wire.pool import find_message_class
from meshsdk.wire.well_known import BARE, is_map_entry

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "meshsdk"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted(
    path
    for folder in ("meshsdk", "integrations", "tools", "tests", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if "meshsdk/integrations" not in str(path)
)


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def modules_of(room: str) -> Iterator[ModuleType]:
    package = import_module(f"meshsdk.{room}")
    for found in walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith(".__main__"):
            yield import_module(found.name)


# -- indexes --------------------------------------------------------------------------------------


def extensions_in(room: str, kind: type) -> dict[int, str]:
    """The extensions that a room's modules define, by identity, with their module's last name."""
    return {
        id(value): module.__name__.rpartition(".")[2]
        for module in modules_of(room)
        for value in vars(module).values()
        if isinstance(value, kind) and module.__name__.count(".") == 2
    }


@pytest.mark.parametrize(
    ("room", "kind", "index"),
    [
        ("filters", HttpFilterExtension, HTTP_FILTERS),
        ("filters", NetworkFilterExtension, NETWORK_FILTERS),
        ("lb_policies", LbPolicyExtension, LB_POLICIES),
    ],
)
def test_every_extension_has_its_line_and_its_test(
    room: str, kind: type, index: tuple[object, ...]
) -> None:
    defined = extensions_in(room, kind)

    assert set(defined) == {id(extension) for extension in index}
    tests = {name: ROOT / f"tests/{room}/test_{name}.py" for name in defined.values()}
    assert [name for name, path in tests.items() if not path.exists()] == []


def test_every_identity_source_has_its_line_and_its_test() -> None:
    files = {module.__name__ for module in modules_of("identity.sources")}

    assert files == {cast(ModuleType, getmodule(source)).__name__ for source in SOURCES}
    names = [name.rpartition(".")[2] for name in files]
    tests = [ROOT / f"tests/identity/sources/test_{name}.py" for name in names]
    assert [path.name for path in tests if not path.exists()] == []


def test_every_resource_type_has_its_line_and_its_test() -> None:
    files = {
        module.__name__.rpartition(".")[2]
        for module in modules_of("resources")
        if {"TYPE_URL", "parse"} <= set(vars(module))
    }
    indexed = {
        cast(ModuleType, getmodule(kind.parse)).__name__.rpartition(".")[2]
        for kind in RESOURCE_TYPES
    }

    assert indexed == files
    tests = [ROOT / f"tests/resources/test_{name}.py" for name in sorted(files)]
    assert [path.name for path in tests if not path.exists()] == []


def test_every_subcommand_has_its_module_and_its_line() -> None:
    commands = import_module("meshsdk.cli")._COMMANDS

    homes = {module.rpartition(".")[2] for module, _ in commands.values()}

    assert homes == {
        name
        for module in modules_of("cli")
        if {"configure", "run"} <= set(vars(module))
        for name in [module.__name__.rpartition(".")[2]]
    }


# -- tables ---------------------------------------------------------------------------------------

NOT_MESSAGES = {
    "(an input without fields)",
    # Istio sends it in a TypedStruct alone.
    "io.istio.http.peer_metadata.Config",
    "io.istio.http.peer_metadata.Config.DiscoveryMethod",
    "io.istio.http.peer_metadata.Config.IstioHeaders",
}


def descriptor(table: MessageTable) -> Any:
    cls = find_message_class(table.message)
    assert cls is not None, f"no message {table.message}"
    return cls.DESCRIPTOR


def tables() -> list[MessageTable]:
    return [table for table in all_tables() if table.message not in NOT_MESSAGES]


def test_tables_name_fields_that_there_are() -> None:
    wrong = [
        f"{table.message}.{name}"
        for table in tables()
        for name in table.fields
        if name not in descriptor(table).fields_by_name
    ]

    assert wrong == []


def test_every_message_that_a_table_honours_has_a_table() -> None:
    known = {table.message for table in tables()}

    missing = {
        kind.full_name
        for table in tables()
        for field in descriptor(table).fields
        if table.use_of(field.name).use is Use.HONOURED
        for kind in [message_of(field)]
        if kind is not None and kind.fields and kind.full_name not in known | BARE
    }

    assert missing == set()


def message_of(field: Any) -> Any:
    kind = field.message_type
    if kind is not None and is_map_entry(kind):
        return kind.fields_by_name["value"].message_type
    return kind


def test_messages_that_are_read_without_a_check_are_listed_whole() -> None:
    for table in whole_messages.TABLES:
        assert set(table.fields) == set(descriptor(table).fields_by_name), table.message


def test_what_is_not_built_is_remembered_where_a_table_is_checked() -> None:
    """A check whose answer is dropped must be of a table without such fields."""
    dropped = [
        f"{module.__name__}:{node.lineno}"
        for room in ("matching", "resources", "filters", "lb_policies")
        for module in modules_of(room)
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text()))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        if ast.unparse(node.value.func) == "check" and isinstance(node.value.args[1], ast.Name)
        for table in [vars(module)[node.value.args[1].id]]
        if table.message not in NOT_MESSAGES
        if any(table.use_of(field.name).use is Use.NOT_BUILT for field in descriptor(table).fields)
    ]

    assert dropped == []


# -- doors ----------------------------------------------------------------------------------------

PROMISED = {
    "call": """
        Address Attempt BodyEnd BodyRead CallApp CallContext Certificate Condition Connection
        Continue DecisionRecord Deliver Dial Dialed Effect Endpoint Fetch Fetched Flow GrpcFetch GrpcFetched
        Headers HealthStatus Host HostState HttpFilter LocalReply Locality Mirror NearMiss NetworkFilter OnResponse Outcome Peer
        Protocol ReadBody Reply Request Reset ResetReason Response SeesEveryAnswer Send Shown SideCall Sleep
        SpiffeId Step Verdict
        WaitForConfig read_body sleep
    """,
    "config": """
        Extension Extensions Field HONOURED HttpFilterExtension LbPolicyExtension MessageTable
        NetworkFilterExtension Override PlacedFilter Reader Registry Status Table Use check honoured ignored
        not_built refused
    """,
    "filters": "HTTP_FILTERS NETWORK_FILTERS",
    "identity": """
        CredentialFiles FilesSource IdentityStatus PeerRefusedError Refusal SourceState SpiffeId
        StaticSource Svid TlsCertificate TrustBundle TrustBundles X509Context
    """,
    "lb_policies": """
        HashPolicy LB_POLICIES LoadBalancer PickContext Picker Source SourcePolicy build
    """,
    "telemetry": """
        CallDenied ConfigAcknowledged ConfigReported DecisionAudited DryRunDecided Emit Event HostEjected
        IdentityChanged
        MeshStatus PlanPublished Rejection ResourceRejected SeenCall SideCallEnded
        StreamChanged Why silent
    """,
    "testing": "AdsServer FakeCa FakeClock SeededRandom chain_pem private_key_pem",
}


@pytest.mark.parametrize("room", PROMISED)
def test_a_door_gives_what_is_promised(room: str) -> None:
    module = import_module(f"meshsdk.{room}")

    assert sorted(module.__all__) == sorted(PROMISED[room].split())
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_the_front_door_is_the_same_to_type_checkers() -> None:
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    listed: list[str] = []
    homes: dict[str, str] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            homes.update({alias.name: node.module for alias in node.names})
        if isinstance(node, ast.Assign):
            listed = ast.literal_eval(node.value)

    assert listed == list(meshsdk.__all__)
    assert homes == vars(meshsdk)["_HOMES"]
    assert {*homes, "__version__"} == set(listed)


def test_every_name_of_the_front_door_is_there() -> None:
    assert [name for name in meshsdk.__all__ if not hasattr(meshsdk, name)] == []


HEAVY = {
    "anyio",
    "asyncio",
    "cryptography",
    "google.protobuf",
    "grpc",
    "h2",
    "httptools",
    "httpx",
    "jwt",
    "opentelemetry",
    "ssl",
    "tenacity",
    "yaml",
}


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return set(found.stdout.split())


def test_importing_meshsdk_loads_nothing_else() -> None:
    loaded = loaded_by("import meshsdk")

    assert loaded.isdisjoint(HEAVY)
    assert {name for name in loaded if name.startswith("meshsdk")} == {"meshsdk"}


@pytest.mark.parametrize("room", ["call", "config", "telemetry", "filters", "lb_policies"])
def test_importing_a_core_room_loads_no_third_party_library(room: str) -> None:
    assert loaded_by(f"import meshsdk.{room}").isdisjoint(HEAVY)


# -- files ----------------------------------------------------------------------------------------


def test_no_module_is_longer_than_400_lines() -> None:
    ours = [path for path in MODULES if not path.is_relative_to(ROOT / "tests")]

    long = [path for path in ours if len(path.read_text().splitlines()) > 400]

    assert relative(long) == []


def test_any_stays_where_messages_are_read() -> None:
    allowed = ("meshsdk/wire/", "meshsdk/config/reader.py")
    uses = re.compile(r"^from typing import .*\bAny\b|^\s+Any,$|typing\.Any", re.MULTILINE)

    found = [path for path in MODULES if uses.search(path.read_text())]

    ours = [name for name in relative(found) if name.startswith(("meshsdk/", "integrations/"))]
    assert [name for name in ours if not name.startswith(allowed)] == []


WITHOUT_LIBRARY = {"asgi": set[str](), "wsgi": set[str](), "httpx_api": set[str]()}
"""An adapter of a protocol, and what two libraries of one API have in common."""


@pytest.mark.parametrize(
    "path", sorted((ROOT / "integrations").glob("[!_]*.py")), ids=lambda path: path.stem
)
def test_an_adapter_imports_its_library_alone(path: Path) -> None:
    roots: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            roots.add(node.module.partition(".")[0])

    third_party = roots - set(sys.stdlib_module_names) - {"meshsdk"}

    assert third_party == WITHOUT_LIBRARY.get(path.stem, {path.stem})


def test_the_layers_name_every_room() -> None:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (layers,) = [contract for contract in contracts if contract["type"] == "layers"]
    named = {room.strip() for line in layers["layers"] for room in line.split("|")}

    rooms = {path.stem for path in PACKAGE.glob("[!_]*.py")}
    rooms |= {path.parent.name for path in PACKAGE.glob("[!_]*/__init__.py")}

    assert layers["exhaustive"] is True
    assert named == rooms


def test_the_build_server_can_run_its_script() -> None:
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o111
    assert script.read_text().startswith("#!/usr/bin/env bash")


# -- packaging ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_wheel_holds_the_library_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=50)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if "/licenses/" in name]

    sources = {str(path.relative_to(ROOT)) for path in MODULES if path.is_relative_to(PACKAGE)} | {
        f"meshsdk/{path.relative_to(ROOT)}" for path in (ROOT / "integrations").rglob("*.py")
    }
    beside = {"meshsdk/__init__.pyi", "meshsdk/py.typed", "meshsdk/wire/descriptors.binpb.z"}
    beside |= {str(path.relative_to(ROOT)) for path in (PACKAGE / "cli/demo").rglob("*.yaml")}
    assert names == sources | beside
    assert {Path(name).name for name in licences} == {"LICENSE", "NOTICE"}
    assert wheel.stat().st_size < 1_500_000


def test_integrations_is_a_link_beside_the_typing_marker() -> None:
    assert (PACKAGE / "integrations").is_symlink()
    assert (PACKAGE / "integrations").resolve() == ROOT / "integrations"
    assert (PACKAGE / "py.typed").exists()


# -- texts ----------------------------------------------------------------------------------------

TEXTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changelog.d").glob("*.md")]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text()) if "://" not in link]

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_news_are_named_by_issue_and_kind() -> None:
    name = re.compile(r"\d+\.(added|changed|fixed|removed|security)\.md")
    news = [path for path in (ROOT / "changelog.d").iterdir() if path.name != ".gitkeep"]

    assert news
    assert [path.name for path in news if not name.fullmatch(path.name)] == []
    assert [path.name for path in news if not path.read_text().strip()] == []
