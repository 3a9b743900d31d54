# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The examination by a host that asks the CA itself. What is due then, ladder.py does."""

from __future__ import annotations

from dataclasses import replace

from ..errors import StepCAError
from ..wire import Answer
from . import examine as examination
from . import fileset


def examine(wanted, context: fileset.Context, connection) -> Answer:
    """examine.examine, by a host that fetches the roots and the list of revoked certificates itself.

    connection: connections.Connection. In a steady run nothing is fetched, and nothing of HTTP imported.
    """
    authorities = []

    def authority():
        if not authorities:
            from ..ca import client, https

            authorities.append(client.StepCA(connection, https.Transport))
        return authorities[0]

    def revoked():
        from ..ca import crl

        return crl.fetch(authority(), context.now)

    if wanted.check_revocation and wanted.state == "present":
        context.revoked = _once(context, "revoked", revoked).sentence
    answer = examination.examine(wanted, context)
    if answer.needs_roots:
        context.roots = authority().trust()
        answer = examination.with_repairs(examination.examine(wanted, context), answer)
    warnings = [warning for one in authorities for warning in one.warnings]
    return replace(answer, warnings=answer.warnings + warnings)


def _once(context: fileset.Context, name: str, ask):
    """What ask() returns or raises, learnt once for all certificates of the task."""
    if name not in context.learnt:
        try:
            context.learnt[name] = ask()
        except StepCAError as error:
            context.learnt[name] = error
    if isinstance(context.learnt[name], StepCAError):
        raise context.learnt[name]
    return context.learnt[name]
