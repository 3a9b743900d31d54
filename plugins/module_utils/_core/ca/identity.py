# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Show a certificate of this host to whoever it connects to. OpenSSL takes nothing but paths, and paths may lead anywhere."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack, contextmanager


def present(context, chain: bytes, key: bytes) -> None:
    """Have an ssl.SSLContext show this certificate with its intermediates, in PEM. OSError, ValueError."""
    with _path_of(chain) as chain_path, _path_of(key) as key_path:
        context.load_cert_chain(chain_path, key_path, password="")


@contextmanager
def _path_of(content: bytes):
    """A path by which this content is read: of memory, or where there is none of a file of ours for a moment."""
    with ExitStack() as stack:
        if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
            stream = stack.enter_context(os.fdopen(os.memfd_create("stepca"), "wb"))
            path = "/proc/self/fd/%d" % stream.fileno()
        else:
            stream = stack.enter_context(tempfile.NamedTemporaryFile(prefix="stepca-"))
            path = stream.name
        stream.write(content)
        stream.flush()
        yield path
