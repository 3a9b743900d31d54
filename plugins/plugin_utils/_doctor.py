# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The doctor's look at what the controller can see: its own libraries, the CA, the provisioner. Nothing is issued.

Each finding is a dict: check; fine (True, False, or None where there is nothing to judge); found (what, and what to do).
"""

from __future__ import annotations

import platform
from dataclasses import replace

from ansible.release import __version__ as core_version

from ..module_utils._core import durations
from ..module_utils._core.ca import api, client, connections, diagnosis
from ..module_utils._core.errors import nobody_vouches, one_line, unforeseen
from ..module_utils._core.x509 import certificates, extensions, jws
from . import _libraries
from ._ca import CA, age_problem
from ._credentials.credential import Nobody, Purpose

_LIMITS = ("minTLSCertDuration", "maxTLSCertDuration", "defaultTLSCertDuration")


#: What begins a line of the table is nothing that a host or a CA can say within one.
_MARKS = str.maketrans("✘✔", "xv")


class Findings(list):
    """What was found, in order."""

    def add(self, check: str, fine, found: str) -> None:
        """One finding."""
        self.append({"check": check, "fine": fine, "found": one_line(found).translate(_MARKS)})

    def attempt(self, check: str, act):
        """What act() returns, or None where it fails; an error is a finding."""
        try:
            return act()
        except Exception as error:
            self.add(check, False, str(unforeseen(error)))
            return None


def controller(findings: Findings) -> None:
    """The libraries of the controller."""
    versions = _libraries.versions()
    known = ", ".join("%s %s" % one for one in sorted(versions.items()) if one[1])
    missing = [name for name, version in versions.items() if not version]
    found = "ansible-core %s, Python %s, %s." % (core_version, platform.python_version(), known)
    if missing:
        found += " Missing: %s. Install it in the environment that Ansible runs in." % ", ".join(missing)
    findings.add("controller", not missing, found)


def authority(findings: Findings, action, certificates_asked: list):
    """The CA and the provisioner; returns the connection (connections.Connection), None where options make none."""
    ca = findings.attempt("pin", lambda: CA(action))
    if ca is None:
        return None
    if not ca.connection.urls:
        findings.add("url", False, "ca_url: no option says where the CA is. Set stepca_ca_url.")
        return None
    answered = [_url(findings, action, ca.connection, url) for url in ca.connection.urls]
    if not any(answered):
        return ca.connection
    if findings.attempt("pin", lambda: _pin(findings, ca)):
        _ca_name(findings, ca)
        listed = findings.attempt("provisioner", ca.authority.provisioners)
        token = findings.attempt("provisioner", lambda: _token(findings, ca))
        if token and listed is not None:
            _provisioner_of(findings, ca, token, listed, certificates_asked)
    return ca.connection


def _url(findings: Findings, action, connection: connections.Connection, url: str) -> bool:
    """Whether the CA is well at this one of its URLs."""
    alone = action.authority(replace(connection, urls=[url], retries=0))
    health = findings.attempt("url", lambda: client.health(alone))
    if health is None:
        return False
    findings.add("url", True, "%s is well: step-ca %s." % (url, health["version"]))
    old = findings.attempt("version", lambda: age_problem(alone))
    if old:
        findings.add("version", False, old)
    skew = health["clock_skew"]
    if skew is not None:
        fine = abs(skew) <= diagnosis.LEEWAY.total_seconds()
        found = "The CA's clock at %s is that of the controller." % url
        if not fine:
            found = "The CA's clock at %s is %d s %s the controller's. Set the clocks (NTP)." % (
                url,
                abs(skew),
                "ahead of" if skew > 0 else "behind",
            )
        findings.add("clock", fine, found)
    return True


def _pin(findings: Findings, ca: CA) -> bool:
    now = durations.now()
    for root in ca.authority.trust():
        end = certificates.not_after(root)
        found = "The CA proves itself by the root %s, SHA-256 %s..., which ends on %s." % (
            root.subject.rfc4514_string(),
            certificates.fingerprint(root)[:16],
            durations.format_time(end),
        )
        findings.add("pin", end > now, found if end > now else found + " Rotate it.")
    for sentence in ca.authority.warnings:
        findings.add("pin", None, "%s Fine while a root is being rotated." % sentence)
    return True


def _ca_name(findings: Findings, ca: CA) -> None:
    peer = ca.authority.ask(api.HEALTH).peer
    if not peer:
        return
    names = extensions.texts(certificates.load_der(peer).extensions)
    audiences = connections.audiences(ca.connection, "sign")
    # What hosts sign themselves, and tokens that they are handed, is made where nobody has seen the CA's certificate.
    problem = diagnosis.host_problem({connections.host_of(one) for one in audiences}, names, "The token of a host")
    found = "Tokens are for %s; the CA's certificate names %s." % (", ".join(audiences), ", ".join(sorted(names)))
    findings.add("ca_name", not problem, problem or found)


def _token(findings: Findings, ca: CA):
    """A token as a certificate would need it, which is sent to nobody; None where no option could make one."""
    if isinstance(ca.credential, Nobody):
        findings.add("provisioner", None, str(nobody_vouches("A certificate may become due")))
        return None
    return ca.credential.mint(Purpose("sign", "doctor", ("doctor",)))(False)


def _provisioner_of(findings: Findings, ca: CA, token: str, listed: list, certificates_asked: list) -> None:
    header, claims = jws.claims(token)
    problem = (
        diagnosis.clock_problem(claims, durations.now())
        or diagnosis.provisioner_problem(token, ca.authority, ca.source)
        or diagnosis.audience_problem(claims, ca.authority, "/sign")
    )
    if problem:
        findings.add("provisioner", False, problem)
        return
    entry = next(item for item in listed if item.get("name") == claims.get("iss"))
    found = 'The key of the provisioner "%s" (%s, key id %s) opens, and is the one that the CA knows.'
    findings.add("provisioner", True, found % (entry["name"], entry.get("type"), header.get("kid")))
    limits = entry.get("claims") if isinstance(entry.get("claims"), dict) else {}
    _lifetime(findings, limits, certificates_asked)
    template = (((entry.get("options") or {}).get("x509") or {}).get("template")) or ""
    findings.add(
        "policy",
        None,
        "%sA CA does not tell which names it allows: a name that it refuses shows when it is asked for, with 403."
        % ("A template of the provisioner may rewrite names and lives. " if template else ""),
    )


def _lifetime(findings: Findings, limits: dict, certificates_asked: list) -> None:
    """What the provisioner itself allows. Limits of the whole CA are told to nobody."""
    if limits.get("disableRenewal"):
        findings.add(
            "renewal", False, "The provisioner forbids renewal (disableRenewal): each certificate is issued anew."
        )
    known = ", ".join("%s %s" % (name, limits[name]) for name in _LIMITS if limits.get(name))
    if not known:
        known = "none of its own, so those of the whole CA hold, which it does not tell (as shipped: 5m to 24h)"
    findings.add("lifetime", True, "Limits of the provisioner: %s." % known)
    for entry in certificates_asked:
        problem = findings.attempt("lifetime", lambda entry=entry: _too_long(entry, limits))
        if problem:
            findings.add("lifetime", False, problem)


def _too_long(entry: dict, limits: dict) -> str:
    lifetime = durations.parse_limit(entry["not_after"], "not_after") if entry.get("not_after") else None
    if not hasattr(lifetime, "total_seconds"):  # a time, or nothing asked for
        return ""
    for name, wrong in (
        ("maxTLSCertDuration", lambda limit: lifetime > limit),
        ("minTLSCertDuration", lambda limit: lifetime < limit),
    ):
        if limits.get(name) and wrong(durations.parse_duration(limits[name], name)):
            return (
                "%s asks for %s, and the provisioner has %s %s. Ask for a life within that (not_after), or change the claim at the CA."
                % (
                    entry.get("certificate_path"),
                    entry["not_after"],
                    name,
                    limits[name],
                )
            )
    return ""
