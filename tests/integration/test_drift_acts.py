# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Every drift is seen: told in check mode with the wanted and the found value, repaired once, and then it is quiet.

Rows that stand elsewhere: foreign pairs and lost files in test_certificate_drift.py, `force` and a CSR with another key
in test_certificate_drift.py and test_certificate.py, what is due or expired in test_renewal.py.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import pytest

from tests.integration.drifting import Case, prove
from tests.integration.judging import backups, mode, openssl, owner, somebody
from tests.integration.pairs import OUTPUTS, TLS, everything
from tests.integration.support import enrolment
from tools.authority import Provisioner
from tools.commands import wait_until
from tools.pki import make_intermediate, make_root

pytestmark = pytest.mark.oldest_core


def harm(*endings, to):
    """Make something else of the files with these endings: to(content) -> bytes, None for no file."""

    def act(tls, name):
        for ending in endings:
            path = tls / (name + ending)
            content = to(path.read_bytes())
            path.unlink() if content is None else path.write_bytes(content)

    return act


def under_an_intermediate_that_ended(root, folder):
    """The same names and key in a certificate of this root's, whose intermediate has expired since."""

    def act(tls, name):
        issuer = make_intermediate(root, "the former one", timedelta(seconds=2))
        given = {"ca.crt": issuer.pem, "ca.key": issuer.key_pem, "names": "subjectAltName=DNS:%s.example.com" % name}
        for file, content in given.items():
            (folder / file).write_text(content, encoding="ascii")
        files = [folder / file for file in ("ca.crt", "ca.key", "names", "leaf.csr", "leaf.crt")]
        subject = "/CN=%s.example.com" % name
        openssl("req", "-new", "-key", tls / (name + ".key"), "-subj", subject, "-out", files[3])
        signed = ["-CA", files[0], "-CAkey", files[1], "-set_serial", "4711", "-days", "2", "-extfile", files[2]]
        openssl("x509", "-req", "-in", files[3], *signed, "-out", files[4])
        (tls / (name + ".crt")).write_text(files[4].read_text(encoding="ascii") + issuer.pem, encoding="ascii")
        end = issuer.certificate.not_valid_after_utc
        wait_until(lambda: datetime.now(timezone.utc) > end, 10, "the intermediate's end")

    return act


def blocks(content):
    """The PEM blocks of a file."""
    end = b"-----END CERTIFICATE-----\n"
    return [block + end for block in content.split(end) if block.strip()]


def missing(content):
    return None


def empty(content):
    return b""


def garbage(content):
    return b"\x00garbage\xff" * 40


def cut_short(content):
    return content[: len(content) // 3]


def cut_late(content):
    return content[: len(content) * 9 // 10]


#: How a file is harmed, and what is said of a certificate, of a key, of what is made of them.
HARMS = {
    "missing": (missing, "is missing", "is missing", "is missing"),
    "empty": (empty, "is empty", "is empty", "is empty"),
    "garbage": (garbage, "cannot be read", "cannot be read as one", ""),
    "truncated": (cut_short, "cannot be read", "cannot be read as one", ""),
}


def damaged():
    """A row for each file of the set and each way to harm it."""
    for way, (to, of_certificate, of_key, of_output) in HARMS.items():
        name = "certificate-" + way
        yield Case(name, ["the certificate {tls}/%s.crt %s" % (name, of_certificate)], harm=harm(".crt", to=to))
        name = "key-" + way
        yield Case(name, ["the private key {tls}/%s.key %s" % (name, of_key)], harm=harm(".key", to=to))
        name = "outputs-" + way
        endings = [*OUTPUTS.values(), ".p12"]
        words = ["{tls}/%s%s %s" % (name, ending, of_output) for ending in endings]
        yield Case(name, words, "files", everything(name), harm=harm(*endings, to=to))


def test_files_that_are_damaged(play, host, authority, tmp_path):
    """Missing, empty, cut short, filled with rubbish: the pair is issued anew, what is made of it is made of it again."""
    tls = host.path("/etc/tls")
    other = make_intermediate(make_root()).pem.encode("ascii")
    cases = [
        *damaged(),
        Case("cut-late", ["does not lead to a trusted root", "was issued by"], harm=harm(".crt", to=cut_late)),
        Case(
            "intermediate-foreign",
            ["was not issued by the next certificate"],
            harm=harm(".crt", to=lambda content: blocks(content)[0] + other),
        ),
        Case(
            "ended",
            ["the intermediate CN=the former one expired on "],
            harm=under_an_intermediate_that_ended(authority.root, tmp_path),
        ),
        Case(
            "reversed",
            ["is for another key than the one in {tls}/reversed.key", "the names are"],
            harm=harm(".crt", to=lambda content: b"".join(reversed(blocks(content)))),
            fresh_key=True,
        ),
    ]
    kept = {}

    def remember():
        names = ["outputs-%s%s" % (way, ending) for way in HARMS for ending in (".crt", ".key", *OUTPUTS.values())]
        kept.update({name: (tls / name).read_bytes() for name in names})

    prove(play, host, authority, cases, enrolment(authority), meanwhile=remember)
    assert {name: (tls / name).read_bytes() for name in kept} == kept, "the same pair, and the same made of it"
    for way in HARMS:
        opened = ["pkcs12", "-in", tls / ("outputs-%s.p12" % way), "-passin", "pass:first", "-nokeys"]
        assert "outputs-%s.example.com" % way in openssl(*opened)
    unreadable = ["outputs-garbage" + ending for ending in (*OUTPUTS.values(), ".p12")]
    unreadable += ["certificate-garbage.crt", "key-garbage.key"]
    foreign = ["reversed.crt", "reversed.key", "intermediate-foreign.crt"]
    assert backups(host) == {*unreadable, *foreign}, (
        "what is cut short is ours and repaired; what nobody can read is kept"
    )


def later():
    """The next whole second."""
    return (datetime.now(timezone.utc) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def asked_in_other_ways():
    """A row for each option whose change is drift."""
    two = {"sans": ["one.example.com", "two.example.com"]}
    yield Case("key-type", ["the key is of type ec-p256, expected ed25519"], asked={"key_type": "ed25519"})
    yield Case(
        "key-type-kin",
        ["of type rsa-2048, expected ec-p384"],
        "issued",
        {"key_type": "rsa-2048"},
        {"key_type": "ec-p384"},
    )
    yield Case(
        "subject",
        ["the commonName is 'subject.example.com', expected 'Somebody'"],
        asked={"common_name": "Somebody"},
    )
    wanted = "the names are dns:one.example.com, dns:two.example.com, expected "
    yield Case(
        "added",
        ["dns:one.example.com, expected dns:one.example.com, dns:two.example.com"],
        "issued",
        {"sans": ["one.example.com"]},
        two,
    )
    yield Case("removed", [wanted + "dns:two.example.com"], "issued", two, {"sans": ["two.example.com"]})
    replaced = ["one.example.com", "three.example.com"]
    yield Case("replaced", [wanted + "dns:one.example.com, dns:three.example.com"], "issued", two, {"sans": replaced})
    yield Case(
        "kind",
        ["the names are dns:kind.example.com, expected uri:https://kind.example.com"],
        asked={"sans": ["https://kind.example.com"], "common_name": "kind.example.com"},
    )
    yield Case(
        "address", ["ip:10.0.0.7, expected ip:10.0.0.8"], "issued", {"sans": ["10.0.0.7"]}, {"sans": ["10.0.0.8"]}
    )
    yield Case(
        "names-dropped",
        [wanted + "dns:one.example.com"],
        "issued",
        {**two, "common_name": "one.example.com"},
        {"sans": None},
    )
    keep = {"key_policy": "keep"}
    yield Case(
        "kept", ["expected dns:other.example.com"], made=keep, asked={"sans": ["other.example.com"]}, fresh_key=False
    )
    yield Case("longer", ["not_after was 5h, expected 6h"], "issued", {"not_after": "5h"}, {"not_after": "6h"})
    yield Case("lifetime", ["not_after was the CA's own, expected 6h"], asked={"not_after": "360m"})
    yield Case("begin", ["not_before was the CA's own, expected 1s"], asked={"not_before": "1s"})
    yield Case(
        "unrecorded",
        ["the certificate lives for 5h1m, expected not_after 2h"],
        "issued",
        {"not_after": "5h"},
        {"not_after": "2h"},
        lambda tls, name: (tls / (".%s.crt.stepca.json" % name)).unlink(),
    )
    yield Case(
        "capped",
        ["the certificate lives for 24h", ", expected at most 2h (max_lifetime)"],
        asked={"max_lifetime": "2h"},
        posts=["/1.0/sign"] * 2,
    )
    yield Case("since", ["it was first issued on ", ", expected since "], asked=lambda: {"issued_since": later()})
    yield Case(
        "template",
        ["template_data was SHA-256 ", ", expected SHA-256 "],
        "issued",
        {"template_data": {"a": 1}},
        {"template_data": {"a": 2}},
    )
    yield Case("template-given", ["template_data was none, expected SHA-256 "], asked={"template_data": {"a": 2}})


def test_what_is_asked_for_changes(play, host, authority):
    """Key, subject, names, life, cap, template's data: another value is drift, and the reason has both."""
    told = prove(play, host, authority, list(asked_in_other_ways()), enrolment(authority))
    assert told.after["capped"].seconds <= 2 * 3600 + 60
    assert told.after["kind"].names == ["URI:https://kind.example.com"]
    assert told.after["names-dropped"].names == ["DNS:one.example.com"]
    assert 2 * 3600 <= told.after["unrecorded"].seconds <= 2 * 3600 + 60
    assert backups(host) == set()


def opened_up(tls, name):
    """Every file of the set may be written by all."""
    for path in tls.glob(name + ".*"):
        path.chmod(0o666)


def test_attributes_and_passwords_are_put_right_alone(play, host, authority):
    """Owner, group and mode of every file, the PKCS#12 password: outcome files, the certificate is not touched."""
    tls = host.path("/etc/tls")
    user, group = somebody()
    endings = [".crt", ".key", *OUTPUTS.values(), ".p12"]
    private = (".key", ".pem", ".p12")
    given = {"owner": user, "group": group, "key_owner": user, "key_group": group}
    words = [
        "of {tls}/%s is 0666, expected %s" % ("modes" + one, "0600" if one in private else "0644") for one in endings
    ]
    cases = [
        Case("modes", words, "files", everything("modes"), harm=opened_up),
        Case(
            "password",
            ["the PKCS#12 file {tls}/password.p12 is damaged or does not open with the password asked for"],
            "files",
            everything("password"),
            everything("password", "second"),
        ),
    ]
    if os.getuid() == 0:
        words = ["%s of {tls}/owners%s" % (what, one) for what in ("owner", "group") for one in endings]
        cases.append(Case("owners", words, "files", everything("owners"), given))
    told = prove(play, host, authority, cases, enrolment(authority))
    assert {mode(tls / ("modes" + one)) for one in endings if one not in private} == {"0644"}
    assert {mode(tls / ("modes" + one)) for one in private} == {"0600"}
    if os.getuid() == 0:
        assert {owner(tls / ("owners" + one)) for one in endings} == {(user, group)}
    assert len(told.reasons("password")) == 1
    openssl("pkcs12", "-in", tls / "password.p12", "-passin", "pass:second", "-noout")


def test_another_provisioner_or_authority(play, host, authority, new_authority):
    """The name of the provisioner; a root that is no longer trusted, of another CA or after a rotation."""
    options = [Case("other", ["the provisioner 'ansible' issued it, expected 'long'"])]
    prove(play, host, authority, options, enrolment(authority), enrolment(authority, "long"))

    mine = new_authority(Provisioner("ansible", rounds=100_000))
    found = "was issued by CN=privatepki.stepca test root, which is none of the trusted roots (CN="
    words = [found + "privatepki.stepca test root, SHA-256 " + mine.fingerprint[:16]]
    prove(play, host, mine, [Case("other", words)], enrolment(authority), enrolment(mine))
    assert backups(host) == {"other.crt", "other.key"}

    root = make_root("the next root")
    words = [found + "the next root, SHA-256 " + root.fingerprint[:16]]
    trusted = {**enrolment(mine), "ca_fingerprint": root.fingerprint}
    prove(
        play,
        host,
        mine,
        [Case("rotated", words)],
        enrolment(mine),
        trusted,
        meanwhile=lambda: mine.rotate_root(root),
    )


@pytest.mark.parametrize("request_from", ["controller", "host"])
def test_revoked(play, host, authority, request_from):
    """Told by the CA's list, where it is asked for; the key is another one afterwards."""
    cases = [Case("revoked", ["the CA revoked it (serial ", "reason keyCompromise"]), Case("valid", outcome="none")]
    options = enrolment(authority, check_revocation=True, request_from=request_from)

    def revoke():
        serial = {"certificate_path": TLS + "revoked.crt", "reason": "keyCompromise", **enrolment(authority)}
        play([{"name": "revoke", "privatepki.stepca.stepca_revoke": serial}]).expect_ok()

    told = prove(play, host, authority, cases, options, meanwhile=revoke)
    assert told.before["revoked"].serial in told.reasons("revoked")[0]
    assert ("GET", "/1.0/crl") in told.asked


def test_an_intermediate_that_ends_first(play, host, new_authority):
    """Its end is that of the certificate, which is due before it."""
    authority = new_authority(Provisioner("ansible", rounds=100_000))
    authority.intermediates.append(make_intermediate(authority.root, lifetime=timedelta(minutes=5)))
    authority.restart()
    end = authority.intermediates[-1].certificate.not_valid_after_utc
    # By its client certificate: step-ca looks at a proof as of the leaf's end, when the intermediate is no more.
    options = enrolment(authority, request_from="host")
    words = ["it is due since ", "and ends on " + end.strftime("%Y-%m-%dT%H:%M:%SZ")]
    due = Case("due", words, "renewed", {"renew_before": "1m"}, {"renew_before": "4m58s"})

    def rotate():
        authority.rotate_intermediate()
        moment = end - timedelta(minutes=4, seconds=58)
        wait_until(lambda: datetime.now(timezone.utc) > moment, 60, "the certificate to be due")

    told = prove(play, host, authority, [due], options, meanwhile=rotate)
    assert told.before["due"].not_after > end
