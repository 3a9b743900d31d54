# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""How every module ends: with a result, or with a sentence, whatever happens meanwhile.

ansible-core 2.21 says "Module failed." of a module that an exception ended, and nothing else.
"""

from __future__ import annotations

__all__ = ["run"]

from . import _cryptography, _options
from ._core.errors import unforeseen


def run(module, act) -> None:
    """End the module with what act(module) returns, a result, or with the error that it raises."""
    _options.refuse_bypass(module)
    try:
        _cryptography.ensure(module)
        result = _encodable(act(module))
    except Exception as error:
        result = {"failed": True, "msg": str(unforeseen(error))}
    # Out here, so that Ansible adds no traceback: it would show lines that hold what is nobody's business.
    (module.fail_json if result.pop("failed", False) else module.exit_json)(**result)


def _encodable(value):
    """The same with an escape for each half surrogate, which is no text that JSON could carry."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, (list, tuple)) else value
