"""`meshsdk control-plane`: a folder of Istio's YAML, checked, as one node would get it, or served."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from meshsdk.cli import serve_control_plane
from meshsdk.control_plane.folder import Options, build_config, load_folder
from meshsdk.control_plane.istio.loader import Loaded
from meshsdk.control_plane.istio.proxies import parse_proxy
from meshsdk.control_plane.istio.request_authentication import key_set_problem
from meshsdk.control_plane.istio.translate import translate
from meshsdk.errors import UsageError

_USAGE: Final = """meshsdk control-plane DIR [options of serving]
       meshsdk control-plane DIR --check
       meshsdk control-plane DIR --dump NODE.json [--also TYPE=NAME]
       meshsdk control-plane token --namespace NAME --service-account NAME [--out FILE]
       meshsdk control-plane rotate-root prepare|activate|finish"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.usage = _USAGE
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        help="folder of YAML files, served until Ctrl-C; or the word token, or rotate-root",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="say what is wrong with the documents; exit code 1 where one cannot be used",
    )
    parser.add_argument(
        "--dump",
        metavar="NODE.json",
        type=Path,
        help="print all resources that this node (a config.core.v3.Node) would get",
    )
    parser.add_argument(
        "--jwks",
        metavar="URI=FILE",
        action="append",
        default=[],
        help="the key set of a jwksUri, in place of a fetch; may be repeated",
    )
    parser.add_argument(
        "--ip-autoallocate",
        action="store_true",
        help="give services without address one of 240.240.0.0/16",
    )
    parser.add_argument(
        "--also",
        metavar="TYPE=NAME",
        action="append",
        default=[],
        help="with --dump: a name that the node asks for besides, RDS=9999 or EDS=CLUSTER",
    )
    parser.add_argument("--remote-jwks", action="store_true", help="let the proxies fetch key sets")
    serve_control_plane.configure(parser)


def run(options: argparse.Namespace) -> int:
    """Checks, dumps or serves."""
    if str(options.folder) == serve_control_plane.TOKEN:
        return serve_control_plane.token(options)
    if str(options.folder) == serve_control_plane.ROTATE_ROOT:
        return serve_control_plane.rotate_root(options)
    if options.check:
        return check(options.folder)
    if options.dump is not None:
        return dump(options.folder, options.dump, read_options(options), _also(options.also))
    if options.also:
        raise UsageError("--also stands only with --dump")
    return serve_control_plane.serve(options, read_options(options))


def read_options(options: argparse.Namespace) -> Options:
    """The options beside the folder."""
    return Options(
        dict(_given(text) for text in options.jwks),
        options.ip_autoallocate,
        options.remote_jwks,
    )


def check(folder: Path) -> int:
    """Prints each problem as FILE:LINE:COL; 1 where a document cannot be used."""
    loaded = load_folder(folder)
    report(loaded)
    errors, documents = len(loaded.errors), len(loaded.documents)
    print(f"{documents} documents, {errors} errors", file=sys.stderr)
    return 1 if errors else 0


def dump(
    folder: Path,
    node: Path,
    options: Options,
    also: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> int:
    """Prints the state of a node as JSON; problems go to standard error. `also`: RDS and EDS to
    further names that the node asks for."""
    proxy = parse_proxy(_read_node(node))
    loaded = load_folder(folder)
    report(loaded)
    config = build_config(loaded, options)
    state = translate(config, proxy, also.get("RDS", ()), also.get("EDS", ()))
    json.dump(state.dump(), sys.stdout, indent=1, sort_keys=True)
    print()
    return 0


def report(loaded: Loaded) -> None:
    """Every problem, on standard error."""
    for problem in loaded.problems:
        print(f"{problem.severity}: {problem}", file=sys.stderr)


def _read_node(path: Path) -> Mapping[str, object]:
    try:
        found: object = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path}: expected the JSON of a Node: {error}") from error
    if not isinstance(found, Mapping):
        raise UsageError(f"{path}: expected the JSON of a Node, found another value")
    return cast("Mapping[str, object]", found)


def _also(texts: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        kind, _, name = text.partition("=")
        if kind not in ("RDS", "EDS") or not name:
            raise UsageError(f"--also: expected RDS=NAME or EDS=NAME, found {text!r}")
        found.setdefault(kind, []).append(name)
    return found


def _given(text: str) -> tuple[str, str]:
    uri, equals, file = text.rpartition("=")
    if not equals or not uri:
        raise UsageError(f"--jwks: expected URI=FILE, found {text!r}")
    try:
        keys = Path(file).read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--jwks: cannot read {file}: {error}") from error
    problem = key_set_problem(keys)
    if problem is not None:
        raise UsageError(f"--jwks: {file}: expected a JSON Web Key Set: {problem}")
    return uri, keys
