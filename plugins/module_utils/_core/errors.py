# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What can go wrong, as types.

* StepCAError
  x OptionError         what the options say cannot mean anything: nothing was touched
  x HostFileError       a file or folder on the host cannot be read or written
    + Overtaken         ... as it was examined: somebody else was faster
    + HalfReplaced      ... and the former files could not be put back: the next run finishes
  x CsrError            the host's certificate request is not what the task asked for
  x CertificateError    what the CA answered is not what the task asked for
  x ProvisionerError    the provisioner's key or password cannot be used
  x TransportError      no answer from the CA: refused, timeout, TLS
  x ApiError            an answer from the CA, but not a good one

What hosts, CAs, files and certificates say goes through `shown` or `one_line` before a person sees it. Every text of an
error does so here.
"""

from __future__ import annotations

import os
import re

REPORT_AT = "https://github.com/privatepki/privatepki.stepca/issues"
#: Where the code of this collection lies: in the zip that Ansible sends, in the renewer, in a checkout.
_CORE = os.path.dirname(__file__).replace(os.sep, "/")
_COLLECTION = "/stepca/plugins/"


def shown(text: str) -> str:
    """A text that cannot move a cursor, hide, turn around or end a line: whatever is not printed is written as an escape.

    Control and format characters, line and paragraph separators, spaces other than " ", half surrogates.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def one_line(text: str) -> str:
    """The same, where line breaks and runs of blanks become one blank: a sentence fit for a line of a log or table."""
    return shown(re.sub(r"[ \t\r\n]+", " ", text).strip())


def shown_lines(text: str) -> str:
    """The same for what has lines and indents of its own, such as the diff of a file."""
    return re.sub(r"[^\n\t]+", lambda part: shown(part.group()), text)


class StepCAError(Exception):
    """Base of every error that a user can cause; its text is a whole sentence for that user."""

    def __init__(self, text: str = ""):
        super().__init__(one_line(text))


class OptionError(StepCAError):
    """An option, or two options together, cannot mean anything."""


class HostFileError(StepCAError):
    """A file or folder on the host cannot be read or written."""


class Overtaken(HostFileError):
    """The files changed since they were examined: another run, or the host's renewer, was faster."""


class HalfReplaced(HostFileError):
    """A set was replaced in part and could not be put back; what waits beside it must stay for the next run."""


class CsrError(StepCAError):
    """A certificate request is not what the task asked for."""


class CertificateError(StepCAError):
    """A certificate or chain is not what the task asked for."""


class ProvisionerError(StepCAError):
    """The provisioner's key cannot be found, opened or used."""


class TransportError(StepCAError):
    """The CA gave no answer.

    sent: False only when it is certain that no byte of the request reached the CA; retry: whether asking the same
    URL again could help; broken_off: somebody was there and ended the connection, as step-ca does where it does not
    accept a client certificate.
    """

    def __init__(self, message: str, sent: bool = True, retry: bool = True, broken_off: bool = False):
        super().__init__(message)
        self.sent = sent
        self.retry = retry
        self.broken_off = broken_off


class ApiError(StepCAError):
    """The CA answered, but not as hoped.

    status: HTTP status; url: what was asked; message: the CA's own words, "" if it had none;
    date: the CA's clock as aware datetime, or None.
    """

    def __init__(self, text: str, status: int = 0, url: str = "", message: str = "", date=None):
        super().__init__(text)
        self.status = status
        self.url = url
        self.message = message
        self.date = date


def unforeseen(error: BaseException) -> StepCAError:
    """A mistake of ours: type and place and whom to tell. Its own words stay out, for a secret may be among them."""
    if isinstance(error, StepCAError):
        return error
    return StepCAError(
        "Unexpected error: %s at %s. Please report this message at %s."
        % (type(error).__name__, _place_of(error), REPORT_AT)
    )


def _place_of(error: BaseException) -> str:
    """The last line of ours that was on the way to an error, as file:line."""
    place, step = "a place that is not known", error.__traceback__
    while step:
        name = step.tb_frame.f_code.co_filename.replace(os.sep, "/")
        if name.startswith(_CORE + "/"):
            place = "%s:%d" % (name[len(_CORE) + 1 :], step.tb_lineno)
        elif _COLLECTION in name:
            place = "%s:%d" % (name.rpartition(_COLLECTION)[2], step.tb_lineno)
        step = step.tb_next
    return place


def nobody_vouches(need: str) -> OptionError:
    """The error where something needs a credential and none is given. need: the clause that says what."""
    return OptionError(
        "%s, and no option says who vouches for it. Give provisioner and provisioner_password, or provisioner_key, or a token."
        % need
    )
