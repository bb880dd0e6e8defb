"""What people write of a request, checked: a misspelt field would change the verdict unseen."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final, cast

from meshsdk.config.kinds import kind_of
from meshsdk.errors import ConfigError

_FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    "id": (str, int),
    "label": (str,),
    "method": (str,),
    "authority": (str,),
    "scheme": (str,),
    "path": (str,),
    "headers": (list,),
    "body": (str,),
    "protocol": (str,),
    "source_principal": (str,),
    "client_cert": (dict,),
    "tls": (bool,),
    "sni": (str,),
    "source_ip": (str,),
    "source_port": (int,),
    "direct_source_ip": (str,),
    "dest_ip": (str,),
    "dest_port": (int,),
    "dynamic_metadata": (dict,),
    "upstream_script": (list,),
    "upstream_script_by_endpoint": (dict,),
    "keep_counts": (bool,),
    "fresh_connection": (bool,),
    "sleep_before_ms": (int, float),
    "interval_ms": (int, float),
    "repeat": (int,),
    "observe": (str,),
    "observe_status": (bool,),
    "record_elapsed": (bool,),
    "vary": (bool,),
    "concurrent": (int,),
    "stagger_ms": (int, float),
    "tolerance": (int, float),
    "compare": (str,),
}
"""The last two are for whoever compares outcomes with recorded ones."""
_WORDS: Final = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
_SCHEME: Final = "spiffe://"


def check_request(
    request: Mapping[str, object], where: str, also: Collection[str] = ()
) -> Mapping[str, object]:
    """The request as it is; ConfigError for a field that is unknown or of another type. `also`:
    fields that the caller reads itself."""
    for name, value in request.items():
        types = _FIELDS.get(name)
        if types is None and name not in also:
            close = get_close_matches(name, (*_FIELDS, *also), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(where, f"unknown field {name!r} of a request{hint}")
        if types is not None and value is not None:
            _check_type(value, types, f"{where}.{name}")
    for i, pair in enumerate(cast("list[object]", request.get("headers") or [])):
        if not _is_pair(pair):
            problem = f"expected [name, value], two strings, found {kind_of(pair)}"
            raise ConfigError(f"{where}.headers[{i}]", problem)
    principal = request.get("source_principal")
    if isinstance(principal, str) and not principal.startswith(_SCHEME):
        problem = f"expected a SPIFFE ID, {_SCHEME}..., found {kind_of(principal)}"
        raise ConfigError(f"{where}.source_principal", problem)
    return request


def _check_type(value: object, types: tuple[type, ...], where: str) -> None:
    fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
    if fits:
        return
    if list in types:
        expected = "a list of [name, value]" if where.endswith(".headers") else "a list"
    else:
        expected = _WORDS.get(types[-1], "a mapping")
    raise ConfigError(where, f"expected {expected}, found {kind_of(value)}")


def _is_pair(value: object) -> bool:
    parts = cast("list[object]", value) if isinstance(value, list) else []
    return len(parts) == 2 and all(isinstance(part, str) for part in parts)
