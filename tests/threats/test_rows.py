"""Every row of sections 1 to 6 of the threat model, and every line of its table in section 10, has a
test. A row in DECIDED or TOKENS is a row of those tables; the others are named here."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.downstream.wsgi_exchange import Input
from meshsdk.resources.hcm_options import EscapedSlashes, HcmOptions
from meshsdk.routing.canonical import canonicalize
from meshsdk.routing.path import canonical_path
from tests.routing.calls import context
from tests.threats import test_decisions, test_tokens

TESTS: Final = Path(__file__).parents[1]
_PATHS = "routing/test_path.py::"
_CANONICAL = "routing/test_canonical.py::"
_ASGI = "integrations/test_asgi.py::"
_UVICORN = "integrations/test_uvicorn.py::"
_RAW = "integrations/test_raw_requests.py::test_what_reaches_the_application_is_what_was_judged"
_FIELDS = "control_plane/istio/test_authz_decisions.py::test_every_decision_by_field_is_envoys"
_GOLDEN = (
    "control_plane/istio/test_authz_golden.py::test_a_policy_becomes_the_filters_that_istiod_makes"
)
_JWT = "filters/test_jwt_authn.py::"
_REMOTE = "filters/test_jwt_authn_remote.py::"
_RBAC = "filters/test_rbac.py::"
_HERE = "threats/test_rows.py::"

ROWS: Final[Mapping[str, str]] = {
    "P9": "downstream/test_app_path.py::test_an_asgi_application_is_not_handed_a_segment_more_than_was_judged",
    "P27": _HERE + "test_p27_long_paths_take_no_more_than_their_length",
    "H3": "filters/test_rbac_lists.py::test_a_part_of_a_joined_field_counts_where_that_is_the_safe_side",
    "H5": "integrations/test_wsgi.py::test_a_path_that_a_header_has_moved_is_refused",
    "H12": "threats/test_tokens.py::test_h12_a_claim_cannot_begin_another_field",
    "H14": _ASGI + "test_an_address_from_a_header_is_nobodys",
    "H15": _CANONICAL + "test_repeats_of_a_control_field_do_not_survive_its_removal",
    "H20": _FIELDS,
    "H22": _HERE + "test_h22_a_request_without_a_host_matches_hosts_in_a_deny_alone",
    "H27": _UVICORN + "test_trailers_never_reach_the_applications_headers",
    "H29": "",
    "H30": _HERE + "test_h30_a_redirect_carries_no_octets_that_end_its_field",
    "A1": _ASGI + "test_an_unknown_scope_is_refused",
    "A2": _UVICORN + "test_without_lifespan_the_port_is_the_meshs_all_the_same",
    "A3": _ASGI + "test_a_mounted_path_is_judged_whole",
    "A4": _ASGI + "test_a_layer_outside_that_changes_the_request_is_told_once",
    "A5": _ASGI + "test_a_path_without_octets_that_is_ambiguous_is_refused",
    "A6": _ASGI + "test_a_denied_request_reaches_neither_the_application_nor_its_body",
    "A7": _ASGI + "test_an_exception_in_the_check_is_a_bare_500_logged_once",
    "A8": _UVICORN + "test_a_denied_upload_is_answered_before_its_body_is_invited",
    "A9": _UVICORN + "test_each_request_of_a_kept_connection_is_judged_anew",
    "A11": _ASGI + "test_addresses_come_from_the_socket",
    "A12": _RAW,
    "A13": _HERE + "test_a13_what_a_server_raises_of_a_body_reaches_the_application",
    "J2": "threats/test_tokens.py::test_j2_a_public_key_is_no_hmac_secret",
    "J7": _JWT + "test_a_weak_rsa_key_verifies_nothing",
    "J9": "threats/test_tokens.py::test_j9_an_audience_is_a_member_not_a_part",
    "J15": "threats/test_tokens.py::test_every_token_of_a_request_must_be_good",
    "J16": "threats/test_tokens.py::test_every_token_of_a_request_must_be_good",
    "J17": "threats/test_tokens.py::test_j17_a_token_in_the_query_is_judged_and_taken_out",
    "J18": "threats/test_tokens.py::test_j18_a_preflight_skips_tokens_alone",
    "J19": "threats/test_tokens.py::test_j19_a_caller_cannot_write_the_fields_of_claims",
    "J20": _JWT + "test_every_recorded_outcome_is_envoys",
    "J21": _JWT + "test_every_recorded_outcome_is_envoys",
    "J22": _REMOTE + "test_without_keys_tokens_fail_and_requests_without_one_are_judged_alone",
    "J23": _REMOTE + "test_one_call_fetches_while_the_others_wait",
    "J24": "upstream/test_fetcher.py::test_a_redirect_is_an_answer_and_not_followed",
    "J25": "identity/test_jwt.py::test_one_bad_key_does_not_void_the_others",
    "J26": _JWT + "test_the_key_is_bound_to_its_provider",
    "J27": "threats/test_tokens.py::test_j27_a_huge_token_is_no_work",
    "J28": _REMOTE + "test_a_verdict_does_not_outlive_the_keys_that_it_rests_on",
    "B5": "control_plane/istio/test_authorization_policy.py::test_what_istiod_refuses_is_refused",
    "B6": "control_plane/istio/test_authorization_policy.py::test_what_istiod_refuses_is_refused",
    "B7": _GOLDEN,
    "B8": "filters/test_ext_authz.py::test_a_service_that_cannot_say_denies_unless_told_to_fail_open",
    "B9": _GOLDEN,
    "B13": _RBAC + "test_strict_takes_only_what_a_certificate_vouches_for",
    "B15": "matching/test_regex.py::test_octets_beyond_ascii_are_matched_as_octets",
    "B16": _GOLDEN,
    "B17": "",
    "B18": "threats/test_decisions.py::test_b18_a_dry_run_never_enforces_and_is_never_skipped",
    "B19": _RBAC + "test_actions_and_empty_rules",
    "R1": "matching/test_regex.py::test_what_backtracking_could_blow_up_on_is_left_to_re2",
    "R2": "matching/test_regex.py::test_what_re2_refuses_is_refused",
    "R3": "matching/test_regex.py::test_without_re2_the_answers_are_those_of_re2",
    "R4": "wire/test_json_form.py::test_deeper_nesting_is_refused_both_ways",
    "R5": "upstream/test_fetcher.py::test_an_answer_above_the_limit_is_a_reset",
    "F1": "flow/test_inbound.py::test_nothing_passes_before_the_first_configuration",
    "F2": "e2e/test_control_plane_loss.py::test_calls_go_on_without_a_control_plane_and_follow_it_when_it_returns",
    "F3": "e2e/test_control_plane_loss.py::test_a_nacked_update_leaves_the_last_good_one_in_force",
    "F4": _RBAC + "test_what_cannot_be_decided_is_refused_by_path",
    "F5": "flow/test_inbound.py::test_a_port_that_no_chain_knows_is_closed",
    "F6": "downstream/test_plan_decider.py::test_without_a_certificate_of_ours_no_handshake_begins",
    "F7": "identity/test_tls_contexts.py::test_our_expired_certificate_stops_new_connections_though_nobody_tells_us",
    "F8": "identity/test_svid_cases.py::test_a_refusal_names_what_was_expected_and_found",
    "F9": _REMOTE + "test_without_keys_tokens_fail_and_requests_without_one_are_judged_alone",
    "F10": "filters/test_ratelimit.py::test_a_service_that_fails_lets_pass_unless_told_to_deny",
    "F11": _ASGI + "test_an_exception_in_the_check_is_a_bare_500_logged_once",
    "F12": "runtime/test_mesh.py::test_a_hook_that_raises_stops_nobody",
    "F13": "telemetry/test_prometheus.py::test_nobody_fills_the_memory_with_labels",
    "F14": "",
}  # fmt: skip
"""Row of the threat model to its test. Empty: see ELSEWHERE."""
ELSEWHERE: Final[Mapping[str, str]] = {
    "H29": "floods of HTTP/2 are the server's to bound: none of ours speaks it",
    "B17": "istiod's proxyless generator: a server's listeners come by a sidecar node's name alone",
    "F14": "shedding load by file descriptors or memory is not built",
}
SIZES: Final = {"P": 28, "H": 30, "A": 13, "J": 28, "B": 19, "R": 5, "F": 14}
DECIDED: Final = {
    row[0] for row in (*test_decisions.PATHS, *test_decisions.FIELDS, *test_decisions.RULES)
}
TOKENS: Final = {row[0] for row in test_tokens.TOKENS}


def test_every_row_has_a_test_or_a_reason() -> None:
    rows = {f"{letter}{i}" for letter, size in SIZES.items() for i in range(1, size + 1)}

    assert rows - DECIDED - TOKENS - ROWS.keys() == set()
    assert {row for row, test in ROWS.items() if not test} == ELSEWHERE.keys()


@pytest.mark.parametrize("row", [row for row, test in ROWS.items() if test])
def test_the_test_of_a_row_is_there(row: str) -> None:
    file, _, name = ROWS[row].partition("::")

    text = (TESTS / file).read_text()

    assert re.search(rf"^(async )?def {name}\b", text, re.MULTILINE), ROWS[row]


@pytest.mark.parametrize("unit", ["a/../", "/", "./", "%2e%2e/", ";a/", "..;/", "\\"])
def test_p27_long_paths_take_no_more_than_their_length(unit: str) -> None:
    import time

    def seconds(length: int) -> float:
        path = "/" + unit * (length // len(unit))
        best = 9.0
        for _ in range(3):
            begin = time.thread_time()
            canonical_path(path)
            best = min(best, time.thread_time() - begin)
        return best

    # 60 KB in far less than the second that a quadratic walk of them takes.
    assert seconds(60_000) < 0.1


def test_h22_a_request_without_a_host_matches_hosts_in_a_deny_alone() -> None:
    found = canonicalize(
        Request("GET", "", "/"), HcmOptions(normalize_path=True, compat="strict"), context()
    )

    # Stricter than the row asks: without an authority there is no request.
    assert isinstance(found, LocalReply)
    assert found.status == 400


def test_h30_a_redirect_carries_no_octets_that_end_its_field() -> None:
    options = HcmOptions(
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=EscapedSlashes.UNESCAPE_AND_REDIRECT,
        compat="envoy",
    )

    found = canonicalize(
        Request("GET", "a.test", "/a%2fb%0d%0aSet-Cookie:x", Headers([])), options, context()
    )

    assert isinstance(found, LocalReply)
    assert found.status == 307
    assert all("\r" not in value and "\n" not in value for _, value in found.headers)


class _Broken(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise ValueError("invalid chunk")


def test_a13_what_a_server_raises_of_a_body_reaches_the_application() -> None:
    body = Input(_Broken())

    with pytest.raises(ValueError, match="invalid chunk"):
        body.read(10)
