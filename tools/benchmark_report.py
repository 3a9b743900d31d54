# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What the benchmark found, as a table and as figures. Times are told as ratios: seconds are those of one machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from tools.measuring import Measured

# What is measured, what it is a ratio to, and the most that the ratio should be.
GOALS = (
    ("ping", "probe", None),
    ("probe", "probe", None),
    ("steady", "probe", 1.15),
    ("probe again", "probe", None),
    ("steady again", "probe again", 1.15),
    ("fresh", "probe", 2.3),
    ("renewal", "probe", 2.3),
    ("one host, ten steady", "one host, steady", 2.0),
    ("one host, ten fresh", "one host, fresh", 2.0),
    ("both roles, fresh", "probe", None),
    ("both roles, again", "probe", None),
    ("by hand, fresh", "probe", None),
    ("by hand, again", "probe", None),
)
RENEWER_GOAL = 2.0
# How much more a host may cost among many.
GROWTH_GOAL = 1.1

# Commands on a host, whatever the machine: one where nothing is due, two where something is.
TRIPS = {"steady": 1, "steady again": 1, "fresh": 2, "renewal": 2, "one host, ten steady": 1, "one host, ten fresh": 2}


def _row(name: str, ratio: float, of: str, goal: float | None, *rest: object) -> str:
    judged = "" if goal is None else "%.2f %s" % (goal, "met" if ratio <= goal else "MISSED")
    return ("%-24s %6.2f x %-18s %-12s " % (name, ratio, of, judged) + "  ".join(map(str, rest))).rstrip()


class Report:
    """The measures of one run."""

    def __init__(
        self,
        tasks: Mapping[str, Measured],
        steady_requests: int,
        renewer: Mapping[str, Any],
        growth: Mapping[str, Measured],
    ) -> None:
        self.tasks = tasks
        self.steady_requests = steady_requests
        self.renewer = renewer
        self.growth = growth

    def wrong_counts(self) -> list[str]:
        """Sentences on counts that are not what is promised."""
        wrong = [
            "%s: %s commands on a host, not %d" % (name, sorted(set(self.tasks[name].trips)), count)
            for name, count in TRIPS.items()
            if set(self.tasks[name].trips) != {count}
        ]
        if self.steady_requests:
            wrong.append("a steady run made %d requests to the CA" % self.steady_requests)
        return wrong

    def counts_are_right(self) -> bool:
        """Whether all counts are what is promised; times are never a failure."""
        return not self.wrong_counts()

    def ratios(self) -> dict[str, float]:
        """Every ratio that the table shows."""
        found = {name: self.tasks[name].median / self.tasks[of].median for name, of, _goal in GOALS}
        floor = statistics.median(self.renewer["import"]["seconds"])
        for name in ("status", "renew"):
            found["renewer " + name] = statistics.median(self.renewer[name]["seconds"]) / floor
        each = {name: one.median / one.hosts for name, one in self.growth.items()}
        for name, cost in each.items():
            found[name] = cost / next(iter(each.values()))
        return found

    def figures(self) -> dict[str, Any]:
        """All of it, for machines."""
        measures = {
            name: {"seconds": one.seconds, "hosts": one.hosts, "trips": one.trips, "bytes": one.sent}
            for name, one in [*self.tasks.items(), *self.growth.items()]
        }
        return {
            "ratios": self.ratios(),
            "tasks": measures,
            "renewer": dict(self.renewer),
            "requests in a steady run": self.steady_requests,
            "wrong counts": self.wrong_counts(),
        }

    def __str__(self) -> str:
        ratios = self.ratios()
        lines = ["%-24s %6s   %-18s %-12s %s" % ("what", "ratio", "of", "goal", "on each host")]
        for name, of, goal in GOALS:
            one = self.tasks[name]
            commands = "%d commands, %d KiB" % (max(one.trips), max(one.sent) / 1024)
            lines.append(_row(name, ratios[name], of, goal, commands, "%.2f s" % one.median))
        for name in ("status", "renew"):
            memory = "%.0f MiB, the import %.0f" % tuple(
                self.renewer[which]["memory"] / 1024 for which in (name, "import")
            )
            lines.append(_row("renewer " + name, ratios["renewer " + name], "import", RENEWER_GOAL, memory))
        first = next(iter(self.growth))
        for name, one in self.growth.items():
            each = "%.0f ms a host" % (1000 * one.median / one.hosts)
            lines.append(_row(name, ratios[name], first.partition(", ")[2], GROWTH_GOAL, each))
        lines.append("requests to the CA in a steady run: %d" % self.steady_requests)
        return "\n".join(lines + ["WRONG: " + sentence for sentence in self.wrong_counts()])
