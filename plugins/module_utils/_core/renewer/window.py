# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Whether the renewer looks often enough: at least once between the moment a certificate is due and its end."""

from __future__ import annotations

from datetime import timedelta
from typing import Optional

from .. import durations
from ..x509 import certificates


def of_options(wanted) -> Optional[timedelta]:
    """How long a certificate of this request.Request is due before it ends; None where its options alone do not show it."""
    lives = [limit for limit in (wanted.not_after, wanted.max_lifetime) if isinstance(limit, timedelta)]
    if isinstance(wanted.renew_before, timedelta):
        return wanted.renew_before
    return durations.threshold_of(wanted.renew_before, min(lives)) if lives else None


def of_chain(chain, renew_before) -> timedelta:
    """The same for a certificate that is there."""
    return certificates.end_of_life(chain) - certificates.renew_at(chain, renew_before)


def measured(one) -> Optional[tuple]:
    """What problem and warning take, of a configuration.Configuration; None where nothing is to be judged."""
    chain = certificates.read(one.certificate_path)[0] if one.interval and not one.only_by_play else None
    return (one.certificate_path, of_chain(chain, one.wanted().renew_before), one.interval) if chain else None


def problem(path: str, window: timedelta, interval: timedelta) -> str:
    """Why a certificate may end before the renewer has looked at it, a sentence; "" where it cannot.

    window: as above; a renew_before of zero asks for no renewal, so nothing is missed.
    """
    if not timedelta() < window < interval:
        return ""
    return (
        "%s is due only %s before it ends, and the renewer runs every %s: it may expire between two runs. Give a longer "
        "renew_before (or a longer life), or a shorter interval (stepca_renewer_interval)."
        % (path, *_words(window, interval))
    )


def warning(path: str, window: timedelta, interval: timedelta) -> str:
    """The same where one look that fails is one too many."""
    if not interval <= window < 2 * interval:
        return ""
    return (
        "%s is due %s before it ends, and the renewer runs every %s: where one renewal fails, there may be no second. Give a "
        "longer renew_before, or a shorter interval (stepca_renewer_interval)." % (path, *_words(window, interval))
    )


def _words(*spans: timedelta) -> list:
    return [durations.format_duration(timedelta(seconds=int(span.total_seconds()))) for span in spans]
