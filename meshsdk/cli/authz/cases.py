"""The file of `meshsdk authz test`: a configuration, and requests with what should become of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from meshsdk.cli.check import read_text
from meshsdk.cli.check.case import Json
from meshsdk.cli.check.request_fields import check_request
from meshsdk.config.kinds import kind_of
from meshsdk.config.reader import Reader
from meshsdk.config.yaml import load, load_all
from meshsdk.errors import ConfigError

Expected: TypeAlias = Literal["allow", "deny"]
_EXPECTED: Final[Mapping[str, Expected]] = {"allow": "allow", "deny": "deny"}
_CASE: Final = frozenset({"name", "request", "expect", "policy", "workload"})
_OWN: Final = ("claims",)
"""Fields of a request beside those of `meshsdk check`."""
_KUBERNETES: Final = re.compile(r"""^(?:apiVersion:|[{\s]*"apiVersion"\s*:)""", re.MULTILINE)
"""A key at the left edge in YAML; in JSON `kubectl` indents it."""
_WORKLOAD: Final = frozenset({"namespace", "labels", "port", "protocol"})


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """Whose policies judge: for Istio YAML."""

    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    port: int = 8080
    is_tcp: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One request and the decision that it should get."""

    name: str
    request: Json
    expect: Expected
    policy: str = ""
    """Empty: any. Envoy's whole name, or Istio's `namespace/name` or `name`."""
    workload: WorkloadSpec = WorkloadSpec()


@dataclass(frozen=True, slots=True)
class Suite:
    """One file. Either Envoy configuration or Istio's texts, by the names of their files."""

    cases: tuple[Case, ...]
    envoy: Json | None = None
    istio: Mapping[str, str] = field(default_factory=dict[str, str])


def read_suite(path: Path) -> Suite:
    """ConfigError says what is wrong and where."""
    data = load(read_text(str(path)), str(path))
    unknown = sorted(data.keys() - {"config", "cases"})
    if unknown:
        raise ConfigError(str(path), f"expected config and cases, found {unknown[0]}")
    reader = Reader(data, str(path))
    cases = tuple(_case(item) for item in reader.messages("cases", at_least=1))
    config = data.get("config")
    match config:
        case str() if "\n" not in config:
            return _of_path(path.parent / config, cases)
        case str():
            return _of_text(str(path), config, cases)
        case Mapping():
            return Suite(cases, envoy=cast("Json", config))
        case _:
            problem = f"expected a path, a text or a mapping, found {kind_of(config)}"
            raise ConfigError(f"{path}: config", problem)


def texts_of(path: Path) -> dict[str, str]:
    """A YAML file, or those in a folder and below."""
    if not path.is_dir():
        return {str(path): read_text(str(path))}
    found = sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml", ".json"))
    if not found:
        raise ConfigError(str(path), "expected YAML files, found none")
    return {str(each): read_text(str(each)) for each in found}


def is_istio(texts: Mapping[str, str]) -> bool:
    """Whether documents of Kubernetes' form are among them."""
    return any(_KUBERNETES.search(text) for text in texts.values())


def _of_path(path: Path, cases: tuple[Case, ...]) -> Suite:
    texts = texts_of(path)
    if is_istio(texts):
        return Suite(cases, istio=texts)
    if len(texts) > 1:
        raise ConfigError(str(path), "expected one file of Envoy configuration")
    [(name, text)] = texts.items()
    return Suite(cases, envoy=load(text, name))


def _of_text(name: str, text: str, cases: tuple[Case, ...]) -> Suite:
    if is_istio({name: text}):
        load_all(text, name)
        return Suite(cases, istio={name: text})
    return Suite(cases, envoy=load(text, name))


def _case(reader: Reader) -> Case:
    _only(reader, _CASE)
    request = reader.value.get("request")
    if not isinstance(request, Mapping):
        raise reader.error_at("request", f"expected a mapping, found {kind_of(request)}")
    workload = reader.message("workload")
    reader.required_string("name")
    if not reader.string("expect"):
        raise reader.error_at("expect", "expected allow or deny, found none")
    return Case(
        reader.string("name"),
        check_request(cast("Json", request), f"{reader.path}.request", _OWN),
        reader.enum("expect", _EXPECTED, "deny"),
        reader.string("policy"),
        WorkloadSpec() if workload is None else _workload(workload),
    )


def _workload(reader: Reader) -> WorkloadSpec:
    _only(reader, _WORKLOAD)
    labels: object = reader.value.get("labels", {})
    if not isinstance(labels, Mapping):
        raise reader.error_at("labels", f"expected a mapping, found {kind_of(labels)}")
    return WorkloadSpec(
        reader.string("namespace") or "default",
        {str(key): str(value) for key, value in cast("Mapping[object, object]", labels).items()},
        reader.integer("port", 8080, at_least=1, at_most=65535),
        reader.enum("protocol", {"http": False, "tcp": True}, "http"),
    )


def _only(reader: Reader, names: frozenset[str]) -> None:
    for name in reader.value:
        if name not in names:
            raise reader.error_at(
                name, f"unknown field, expected one of {', '.join(sorted(names))}"
            )
