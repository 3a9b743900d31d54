# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Why the CA refused a token. step-ca answers nearly every token problem with one and the same 401 text, so we look.

What can be seen from outside: clocks, the provisioner's name, its key, the host in the audience.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from .. import durations
from ..errors import ApiError, TransportError
from ..x509 import certificates, extensions, jws
from . import api, connections

#: step-ca allows this much between its clock and a token's (go-jose leeway).
LEEWAY = timedelta(seconds=60)


def explain(error: ApiError, token: str, authority, source: str, purpose: str = "/sign") -> str:
    """The refusal of a token as a whole text: what came back, what is wrong as far as can be seen, what to do.

    authority: client.StepCA; source: where the provisioner's name came from, "" if from nowhere; purpose: the end of
    the URL that the token must be for.
    """
    text = "step-ca at %s refused the token (%s)." % (authority.url, api.status_line(error.status))
    if "certificate authority logs" not in error.message:
        text += " It says: %s" % error.message
    content = jws.claims(token)[1]
    finding = (
        clock_problem(content, error.date)
        or provisioner_problem(token, authority, source)
        or audience_problem(content, authority, purpose)
        or "Its clock, provisioner, key and audience look right, so the token was probably used before or made before the CA "
        "last started. Each token serves once; the CA's log names the reason."
    )
    return "%s %s" % (text, finding)


def explain_signing(error: ApiError, token: str, authority, source: str) -> ApiError:
    """The CA's refusal to sign, with its cause as far as can be seen."""
    if not error.message or error.status not in (400, 401, 403):  # not in the words of a step-ca, or plain enough
        return error
    if error.status == 401:
        return ApiError(explain(error, token, authority, source), 401)
    text = 'step-ca at %s does not sign this (%s; provisioner "%s"): %s' % (
        authority.url,
        api.status_line(error.status),
        jws.claims(token)[1].get("iss"),
        error.message,
    )
    if "requested duration" in error.message:
        text += " Ask for a life within that (not_after), or change the claims of the provisioner at the CA."
    return ApiError(text, error.status)


def explain_revoking(error: ApiError, token: str, authority, source: str, serial: str) -> ApiError:
    """The CA's refusal to revoke, with its cause as far as can be seen."""
    if not error.message:  # not in the words of a step-ca
        return error
    if error.status == 401:
        return ApiError(explain(error, token, authority, source, "/revoke"), 401)
    hint = " Revocation needs the CA's database (db in its ca.json)." if error.status == 501 else ""
    return ApiError(
        "step-ca at %s did not revoke the certificate with the serial %s (%s). %s%s"
        % (authority.url, serial, api.status_line(error.status), error.message, hint),
        error.status,
    )


def explain_renewal(error: ApiError, proof: str, authority=None) -> str:
    """Why the CA did not renew a certificate, as part of a sentence. proof: what it was asked with, "" for none."""
    if not error.message:  # not in the words of a step-ca
        return "the CA did not renew it (%s)" % str(error).rstrip(".")
    if "certificate authority logs" not in error.message:
        text = "the CA refused to renew it (%s: %s)" % (api.status_line(error.status), error.message.rstrip("."))
        problem = _renewal_host_problem(proof, authority) if "audience" in error.message and proof and authority else ""
        return "%s. %s" % (text, problem.rstrip(".")) if problem else text
    clock = clock_problem(jws.claims(proof)[1], error.date) if proof else ""
    return "the CA refused to renew it (%s)%s" % (
        api.status_line(error.status),
        ". %s" % clock.rstrip(".")
        if clock
        else ": it may have been revoked, its provisioner may be gone, or may not allow renewals; the CA's log names the reason",
    )


def _renewal_host_problem(proof: str, authority) -> str:
    audiences = _audiences(jws.claims(proof)[1])
    return host_problem({connections.host_of(one) for one in audiences}, _names_of(authority), "The proof")


def clock_problem(content: dict, date) -> str:
    """What is wrong between a token's times and the CA's clock (an aware datetime or None); "" if nothing."""
    if not date:
        return ""
    skew = date - durations.now()
    begin, end = _instant(content.get("nbf")), _instant(content.get("exp"))
    apart = "The CA's clock is %s %s the controller's: set the clocks (NTP)." % (
        durations.format_duration(timedelta(seconds=abs(round(skew.total_seconds())))),
        "behind" if skew < timedelta(0) else "ahead of",
    )
    if begin and begin > date + LEEWAY:
        early = "The token is not valid yet: it begins on %s." % durations.format_time(begin)
        return early + (" " + apart if abs(skew) > LEEWAY else " Wait, or make another.")
    if end and end < date - LEEWAY:
        expired = "The token expired on %s." % durations.format_time(end)
        return expired + (" " + apart if abs(skew) > LEEWAY else " Make a new one.")
    return ""


def list_provisioners(provisioners) -> str:
    """Names and types, for people."""
    return ", ".join('"%s" (%s)' % (item.get("name"), item.get("type")) for item in provisioners) or "none at all"


def provisioner_problem(token: str, authority, source: str) -> str:
    header, content = jws.claims(token)
    name, key_id = content.get("iss"), header.get("kid")
    try:
        provisioners = authority.provisioners()
    except (ApiError, TransportError):
        return ""
    named = [item for item in provisioners if item.get("name") == name]
    if not named:
        return 'The CA has no provisioner "%s"; it has: %s. Check the option provisioner%s.' % (
            name,
            list_provisioners(provisioners),
            " (%s)" % source if source else "",
        )
    if named[0].get("state") == "Uninitialized":
        return 'The provisioner "%s" is not working at the CA: %s.' % (name, named[0].get("stateReason"))
    jwk = named[0].get("key") or {}
    if jwk.get("kid") and key_id and jwk["kid"] != key_id:
        return 'The key is not that of the provisioner "%s": the token was made with the key id %s, the CA has %s.' % (
            name,
            key_id,
            jwk["kid"],
        )
    if key_id and _is_another_key(jwk, token):
        return (
            'The key is not that of the provisioner "%s": the token names its key id %s, but was signed with another key. '
            "Take the private key that belongs to it." % (name, key_id)
        )
    return ""


def audience_problem(content: dict, authority, purpose: str) -> str:
    audiences = _audiences(content)
    if not any(one.endswith(purpose) or one == "step-certificate-authority" for one in audiences):
        return "The token's audience is %s, which is not for %s: it must end with /1.0%s." % (
            ", ".join(audiences) or "nobody",
            "signing" if purpose == "/sign" else "revoking",
            purpose,
        )
    return host_problem({connections.host_of(one) for one in audiences}, _names_of(authority), "The token")


def _audiences(content: dict) -> list:
    """Whom a token is for, as texts; it may be one or a list (RFC 7519, 4.1.3)."""
    found = content.get("aud")
    return [str(one) for one in (found if isinstance(found, list) else [found] if found else [])]


def host_problem(hosts: set, names: list, what: str) -> str:
    """What is wrong between the hosts that a token or proof (what) is for and the names of the CA; "" if nothing.

    names: as the CA's own certificate spells them, which is how dnsNames of its configuration does, but for addresses.
    """
    if not names or hosts & set(names):
        return ""
    alike = [name for name in names for host in hosts if connections.is_same_host(host, name)]
    if any(":" in name for name in alike):  # step-ca compares with dnsNames, whose spelling of an address nobody sees
        return ""
    text = "%s is for %s, but the CA knows itself as %s" % (
        what,
        ", ".join(sorted(hosts - {""})) or "no audience",
        ", ".join(sorted(names)),
    )
    if not alike:
        return "%s. Set ca_name to one of these." % text
    return (
        "%s, and compares each letter, capitals too. Set ca_name to %s, spelled like this, or write dnsNames in the CA's ca.json "
        "in lower case." % (text, alike[0])
    )


def _names_of(authority) -> list:
    try:
        peer = authority.ask(api.HEALTH).peer
        return extensions.texts(certificates.load_der(peer).extensions) if peer else []
    except (ApiError, TransportError, ValueError):
        return []


def _instant(seconds):
    try:
        return datetime.fromtimestamp(seconds, timezone.utc) if isinstance(seconds, (int, float)) else None
    except (ValueError, OverflowError, OSError):
        return None


def _is_another_key(jwk: dict, token: str) -> bool:
    """Whether another key than that of a public JWK made this token; False where that cannot be told."""
    try:
        return not jws.is_signed_by(jws.public_key(jwk), token)
    except ValueError:
        return False
