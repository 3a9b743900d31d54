# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The same for Prometheus, by way of node_exporter's textfile collector: https://github.com/prometheus/node_exporter."""

from __future__ import annotations

from .. import durations
from ..errors import HostFileError, shown_lines
from ..files import reading, replacing

#: (name, what it says, how it is read from a row of status, None where there is nothing to say)
_GAUGES = (
    (
        "stepca_certificate_not_after_timestamp_seconds",
        "When the certificate, or what it hangs on, ends.",
        lambda row: _seconds(row["not_after"]),
    ),
    (
        "stepca_certificate_renew_at_timestamp_seconds",
        "When the certificate is due.",
        lambda row: _seconds(row["renew_at"]),
    ),
    (
        "stepca_certificate_last_success_timestamp_seconds",
        "When the renewer last found or put it in order.",
        lambda row: _seconds(row["last_success"]),
    ),
    (
        "stepca_certificate_last_error_timestamp_seconds",
        "When the renewer last failed.",
        lambda row: _seconds(row["last_error"]),
    ),
    (
        "stepca_certificate_failing",
        "1 where something is wrong now, else 0.",
        lambda row: int(row["state"] in ("failing", "expired")),
    ),
    (
        "stepca_certificate_served",
        "1 where the port serves the certificate of the file, 0 where it does not.",
        lambda row: None if row["served"] is None else int(row["served"]),
    ),
)


_FIRST = b"# HELP stepca_certificate_"


def render(rows: list) -> str:
    """The text format of Prometheus, version 0.0.4."""
    lines = []
    for name, meaning, read in _GAUGES:
        samples = [(row["certificate_path"], read(row)) for row in rows]
        samples = ['%s{path="%s"} %s' % (name, _escape(path), value) for path, value in samples if value is not None]
        if samples:
            lines += ["# HELP %s %s" % (name, meaning), "# TYPE %s gauge" % name] + samples
    return "".join(line + "\n" for line in lines)


def write(path: str, rows: list) -> None:
    """Replace the file as one; HostFileError, and for a file that holds something else."""
    content = reading.read(path)
    if content is not None and not is_ours(content):
        raise HostFileError(
            "%s is no file of ours: it holds something else than metrics. Name another path, or remove it." % path
        )
    replacing.put(path, render(rows).encode("utf-8"), 0o644)  # node_exporter is another user


def is_ours(content: bytes) -> bool:
    """Whether a file of metrics was written here, or holds nothing."""
    return not content.strip() or content.startswith(_FIRST)


def _seconds(time):
    return int(durations.parse_time(time, "time").timestamp()) if time else None


def _escape(text: str) -> str:
    """A label. One that is no UTF-8 would cost the collector the whole file."""
    return shown_lines(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
