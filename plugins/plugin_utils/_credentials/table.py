# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The kinds of credentials that there are. Of those whose options are given, the first vouches."""

from __future__ import annotations

from .credential import Credential, Nobody
from .jwk import JWK
from .token import Token

KINDS = (Token, JWK)
#: Those that make tokens.
MINTING = tuple(kind for kind in KINDS if not kind.SERVES_ONE)


def check(settings) -> list:
    """OptionError for what the options of all kinds show by themselves; returns what is to be warned of."""
    for kind in KINDS:
        kind.check(settings)
    return [sentence for kind in KINDS for sentence in kind.warnings(settings)]


def choose(settings, connection, authority, kinds=KINDS) -> Credential:
    """The credential of this task; see Credential for the arguments."""
    kind = next((kind for kind in kinds if settings.nearest(*kind.OPTIONS)), Nobody)
    return kind(settings, connection, authority)
