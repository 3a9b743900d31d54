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
"""

from __future__ import annotations


class StepCAError(Exception):
    """Base of every error that a user can cause; its text is a whole sentence for that user."""


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


def nobody_vouches(need: str) -> OptionError:
    """The error where something needs a credential and none is given. need: the clause that says what."""
    return OptionError(
        "%s, and no option says who vouches for it. Give provisioner and provisioner_password, or provisioner_key, or a token."
        % need
    )
