# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The command line of the renewer: renew, status, enrol. It needs Python and cryptography, and nothing of Ansible.

Each command imports what it needs: all that is imported of a zipapp is compiled, at every run of a timer. Whatever it
imports later comes of the zipapp that was started (see _zipapp.py), though a play may have replaced that.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from contextlib import ExitStack

from .. import durations, library
from ..certificate import record
from ..errors import HostFileError, OptionError, StepCAError, one_line, shown, unforeseen
from ..files import folders, locks, places
from . import configuration, defaults, history

_USAGE = 64  # EX_USAGE of sysexits.h: 1 and 2 are answers of status
_ABOUT = """\
Keeps the certificates of this host alive, by asking the step-ca authority that issued them.

  renew    renews what is due, and tells the services that use it; a timer runs this
  status   says how each certificate is; exit code 0: all fine, 1: something is due or failing, 2: something has expired
  enrol    obtains the first certificate with a one-time token, where no playbook does

Each certificate has a file in %s, which the Ansible module privatepki.stepca.stepca_renewer writes.
No secret is in it: a host proves itself to the authority with the key of the certificate that it renews.
"""
_EXAMPLES = """\
examples:
  %(prog)s status                                  a table of all certificates
  %(prog)s renew --check                           what would be done now, and why
  %(prog)s renew --force /etc/nginx/tls/site.crt   renew this one, due or not
"""
_ENROL_EXAMPLE = """\
example, at first boot; the token comes from lookup('privatepki.stepca.stepca_token', 'web-17.internal'):
  %(prog)s /etc/nginx/tls/site.crt --key-path /etc/nginx/tls/site.key \\
      --ca-url https://ca.internal --ca-fingerprint 5575... --token-file - < token
Where an image brought a configuration for the certificate, the path and --token-file are enough.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(_USAGE, "%s: %s\n" % (self.prog, message))


def parser() -> argparse.ArgumentParser:
    """What can be asked."""
    raw = argparse.RawDescriptionHelpFormatter
    whole = _Parser(description=_ABOUT % defaults.CONFIGURATIONS, epilog=_EXAMPLES, formatter_class=raw)
    commands = whole.add_subparsers(dest="command", metavar="renew | status | enrol")
    renew = commands.add_parser(
        "renew", help="renew what is due", epilog=_EXAMPLES.replace("%(prog)s", "renewer.pyz"), formatter_class=raw
    )
    renew.add_argument("certificates", nargs="*", metavar="CERTIFICATE", help="path of a certificate; none: all")
    renew.add_argument("--force", action="store_true", help="renew although it is not due")
    renew.add_argument("--check", action="store_true", help="say what would be done, and do nothing")
    renew.add_argument(
        "--metrics", metavar="FILE", help="write the state of all for node_exporter's textfile collector"
    )
    show = commands.add_parser("status", help="say how the certificates are")
    show.add_argument("certificates", nargs="*", metavar="CERTIFICATE", help="path of a certificate; none: all")
    show.add_argument("--json", action="store_true", help="the same for programs")
    show.add_argument("--metrics", metavar="FILE", help="write it for node_exporter's textfile collector, too")
    enrol = commands.add_parser(
        "enrol", help="obtain a first certificate with a token", epilog=_ENROL_EXAMPLE, formatter_class=raw
    )
    enrol.add_argument("certificate", metavar="CERTIFICATE", help="path of the certificate to be")
    enrol.add_argument(
        "--token-file", required=True, metavar="FILE", help="holds the one-time token; - is standard input"
    )
    enrol.add_argument("--key-path", metavar="FILE", help="where the key goes")
    enrol.add_argument(
        "--san", action="append", dest="sans", metavar="NAME", help="a name, once for each; default: those of the token"
    )
    enrol.add_argument("--ca-url", action="append", metavar="URL", help="where the authority is, tried in order")
    enrol.add_argument("--ca-fingerprint", action="append", metavar="SHA256", help="fingerprint of the root to trust")
    for one in (renew, show, enrol):
        one.add_argument("--config", default=defaults.CONFIGURATIONS, metavar="FOLDER", help="default: %(default)s")
        one.add_argument("--state", default=history.FOLDER, metavar="FOLDER", help="default: %(default)s")
    return whole


def main(words=None) -> int:
    """Do what the words of the command line say; the exit code."""
    arguments = parser().parse_args(words)
    if not arguments.command:
        parser().print_help()
        return 0
    try:
        _require_cryptography()
        return {"renew": _renew, "status": _status, "enrol": _enrol}[arguments.command](arguments)
    except OptionError as error:
        _complain("", error)
        return _USAGE
    except Exception as error:
        _complain("", unforeseen(error))
        return 1


def _renew(arguments) -> int:
    _finish_enrolments(arguments)
    chosen = _chosen(arguments)
    failed, locked_out = False, None
    with ExitStack() as held:
        if not arguments.check:
            folders.make(arguments.state)
            try:
                held.enter_context(locks.locked(os.path.join(arguments.state, "renewals")))
            except HostFileError as error:  # as loud as any other failure
                locked_out = error
        learnt = defaultdict(dict)
        for path in chosen:
            failed = not _renew_one(path, arguments, learnt, locked_out) or failed
        return 1 if _write_metrics(arguments) or failed else 0


def _finish_enrolments(arguments) -> None:
    if configuration.waiting(arguments.config) and not arguments.check:
        from . import enrolment

        enrolment.settle(arguments.config, durations.now())


def _renew_one(path: str, arguments, learnt: dict, locked_out) -> bool:
    """Whether all is well with it. learnt: {URLs of a CA: what it said to other certificates}; locked_out: why it cannot be."""
    from . import renewal

    subject = path
    try:
        one = configuration.load(path)
        subject = one.certificate_path
        past = history.load(arguments.state, os.path.basename(path))
        outcome, reasons, warnings = renewal.run(
            one,
            past,
            durations.now(),
            arguments.force,
            arguments.check,
            learnt[tuple(one.connection.urls)],
            problem=locked_out,
        )
    except Exception as error:
        _complain(subject, unforeseen(error))
        return False
    for warning in warnings:
        _say("warning: %s" % warning, 4)
    if outcome != "none":
        _say("%s%s: %s" % ("would be " * arguments.check, _past_tense(outcome, subject), "; ".join(reasons)))
    elif arguments.check:
        _say("%s: nothing to do" % subject)
    return True


def _past_tense(outcome: str, subject: str) -> str:
    return "%s %s" % ("repaired" if outcome == "files" else outcome, subject)


def _status(arguments) -> int:
    from . import status

    rows = _rows(arguments, _chosen(arguments))
    if arguments.json:
        _write(sys.stdout, json.dumps(rows, indent=2, sort_keys=True).replace("\x7f", "\\u007f"))
    elif rows:
        _write(sys.stdout, status.table(rows))
    return max(status.exit_code(rows), _write_metrics(arguments))


def _enrol(arguments) -> int:
    from . import enrolment

    certificate = os.path.abspath(arguments.certificate)
    given = {
        "certificate_path": certificate,
        "key_path": arguments.key_path and os.path.abspath(arguments.key_path),
        "sans": arguments.sans,
    }
    given.update(ca_url=arguments.ca_url, ca_fingerprint=arguments.ca_fingerprint)
    if arguments.token_file == "-":
        token = enrolment.read_token(sys.stdin)
    else:
        with places.explained("read", arguments.token_file), open(
            arguments.token_file, encoding="utf-8-sig", errors="replace"
        ) as stream:
            token = enrolment.read_token(stream)
    path = os.path.join(arguments.config, record.name_of(certificate))
    folders.make(arguments.state)
    outcome, reasons, _warnings = enrolment.enrol(path, arguments.state, given, token, durations.now())
    if outcome == "none":
        _say("%s: nothing to do" % certificate)
    else:
        _say("%s: %s" % (_past_tense(outcome, certificate), "; ".join(reasons)))
    return 0


def _chosen(arguments) -> list:
    """The configurations of the certificates named, or all; HostFileError for one that has none."""
    if not arguments.certificates:
        found = configuration.paths(arguments.config)
        if not found:
            _say("There are no certificates: %s holds no configuration." % arguments.config)
        return found
    paths = [os.path.join(arguments.config, record.name_of(os.path.abspath(one))) for one in arguments.certificates]
    for certificate, path in zip(arguments.certificates, paths):
        if not places.exists(path):
            raise HostFileError(
                "%s has no configuration in %s. Those that have one: see status." % (certificate, arguments.config)
            )
    return paths


def _rows(arguments, paths: list) -> list:
    from . import status

    now = durations.now()
    return [status.look(path, arguments.state, now) for path in paths]


def _write_metrics(arguments) -> int:
    """1 where that failed; metrics are of all certificates, whichever were named."""
    if not arguments.metrics or getattr(arguments, "check", False):
        return 0
    from . import metrics

    try:
        metrics.write(os.path.abspath(arguments.metrics), _rows(arguments, configuration.paths(arguments.config)))
    except Exception as error:
        _complain("--metrics", unforeseen(error))
        return 1
    return 0


def _require_cryptography() -> None:
    if not library.is_new_enough():
        raise HostFileError(
            "cryptography >= %d.%d is needed by %s%s. Install python3-cryptography (on Alpine py3-cryptography), or start the "
            "renewer with a Python that has it."
            % (library.MINIMUM + (sys.executable, "; it has %s" % library.VERSION if library.VERSION else ""))
        )


def _complain(subject: str, error: StepCAError) -> None:
    text, subject = str(error), shown(subject)
    _say("failed%s: %s" % ("" if not subject or subject in text else " " + subject, text), 3)


def _say(text: str, priority: int = 6) -> None:
    """One line; to the journal with its priority (sd-daemon(3))."""
    stream = sys.stdout if priority > 4 else sys.stderr
    prefix = "<%d>" % priority if os.environ.get("JOURNAL_STREAM") else ""
    _write(stream, prefix + one_line(text))


def _write(stream, text: str) -> None:
    """A line, or many; what the locale has no letter for is written as an escape."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
