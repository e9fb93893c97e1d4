"""The server's side of limits, written from the rules and from nothing else: it shares no code with the limiter.

A call is handled at some instant between its departure and its answer. The server stamps it with a clock of its own,
which stands anywhere, and judges the stamps afterwards, in the plainest way there is.
"""

from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerRule:
    """At most `calls` (of cost) in `per` seconds; aligned: in each window that starts at a multiple of the period."""

    name: str
    calls: int
    per: float
    aligned: bool


def broken(rule, stamps):
    """The worst window of the server's that holds more than it allows, or None; stamps are (time, cost)."""
    return broken_aligned(rule, stamps) if rule.aligned else broken_sliding(rule, stamps)


def broken_aligned(rule, stamps):
    windows = defaultdict(int)
    for at, cost in stamps:
        windows[at // rule.per] += cost
    start, worst = max(windows.items(), key=lambda item: item[1], default=(0, 0))
    return (start * rule.per, worst) if worst > rule.calls else None


def broken_sliding(rule, stamps):
    """A window that holds too much can be moved until a stamp is its first, so only those are looked at."""
    ordered = sorted(stamps)
    total, end = 0, 0
    for at, cost in ordered:
        while end < len(ordered) and ordered[end][0] < at + rule.per:
            total += ordered[end][1]
            end += 1
        if total > rule.calls:
            return at, total
        total -= cost
    return None


def soonest(rules, costs, latency):
    """When the last of these calls can leave, in their order, when every answer takes so long.

    Args:
        costs: for each call, its cost under each rule.
    """
    counted, now = [], 0.0
    longest = latency + max(rule.per for rule in rules)
    for cost in costs:
        counted = [one for one in counted if one[0] + longest > now]
        while (later := max(earliest(rule, n, counted, cost[n], now, latency) for n, rule in enumerate(rules))) > now:
            now = later
        counted.append((now, cost))
    return now


def earliest(rule, n, calls, cost, now, latency):
    """When such a call fits under the rule: enough of the earlier ones must be answered a whole period ago."""
    counted = [(at + latency + rule.per, each[n]) for at, each in calls if at + latency + rule.per > now]
    total = sum(each for _, each in counted)
    for free_at, each in counted:  # rising, since they left in this order
        if total + cost <= rule.calls:
            break
        total -= each
        now = free_at
    return now
