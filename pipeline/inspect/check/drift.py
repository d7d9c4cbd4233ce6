"""Whether scores are spread as they were in the previous run: the two-sample Kolmogorov-Smirnov test.

The statistic D is the largest difference, over all values x, between the shares of the two samples that lie at or below x
(Smirnov, "Table for estimating the goodness of fit of empirical distributions", Annals of Mathematical Statistics 19, 1948).
For scores that says just what matters: D is the most that the kept share could differ between the two runs, whatever the
threshold. D = 0.05 means that at the worst threshold 5% of the pairs would be decided otherwise.

With millions of pairs every difference is significant, so the policy limits D itself. With few pairs D is large by chance, so
a D beyond the limit only counts where its p-value is below `alpha`. The p-value is Kolmogorov's limit distribution, for
samples that are drawn independently: p = 2 Σ (-1)^(k-1) exp(-2 k² λ²), λ = D sqrt(n m / (n + m)). Two runs that share
many pairs differ by less than that; the rule then excuses too much rather than too little, and only below a few thousand pairs.

D is exact: both samples are counted by distinct score and accumulated in DuckDB, nothing is put into bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from foundation.config import value
from pipeline.inspect.check.rule import PREVIOUS, Gate, Measured, Per, Rule, subject_of, where_subject

STATISTIC = """
    with scores_of_both as (
        select {subject} as subject, score, true as now from {table} where score is not null
        union all select {subject}, score, false from {previous}.{table} where score is not null),
    counted as (
        select subject, score, count(*) filter (now) as n, count(*) filter (not now) as m from scores_of_both group by all),
    shares as (
        select subject, score, sum(n) over everything as n, sum(m) over everything as m,
               sum(n) over below / sum(n) over everything as share_now,
               sum(m) over below / sum(m) over everything as share_before
        from counted
        window everything as (partition by subject), below as (partition by subject order by score))
    select subject, max(abs(share_now - share_before)), arg_max(score, abs(share_now - share_before)),
           arg_max(share_now, abs(share_now - share_before)), arg_max(share_before, abs(share_now - share_before)),
           any_value(n), any_value(m)
    from shares where n > 0 and m > 0 group by all
"""


class ScoreDrift(Rule):
    """Two-sample Kolmogorov-Smirnov statistic between the scores of this run and of the previous one."""

    unit: ClassVar = "number"
    needs_previous: ClassVar = True
    advice: ClassVar = (
        "The same threshold now keeps another share: the data changed, or the model that scores it. Look at "
        "`zhclip calibrate`."
    )
    rule: Literal["score_drift"]
    per: Per = value("source", "all sources together, or each by itself; sources that only one run has are not judged")
    of: Literal["scored", "published"] = value(
        "scored", "pairs: all that were scored, on which thresholds have no influence, or those that were published"
    )
    max: float = value(..., "largest D: the most that the kept share differs at any threshold", "share", gt=0, le=1)
    alpha: float = value(0.01, "a larger p-value is taken for chance", "probability", gt=0, le=1)

    def measure(self, gate: Gate) -> Sequence[Measured]:
        rows = gate.rows(STATISTIC.format(subject=subject_of(self.per), table=self._table, previous=PREVIOUS))
        return [self._measured(*row) for row in rows]

    @property
    def _table(self) -> str:
        return "decisions" if self.of == "scored" else "pairs"

    def _measured(
        self, subject: str | None, d: float, at: float, now: float, before: float, n: int, m: int
    ) -> Measured:
        p = p_value(d, int(n), int(m))
        note = (
            f"{now:.1%} of {n:,} scores are at most {at:.3f}, {before:.1%} of {m:,} before; p = {p:.2g}"
            if d
            else f"{n:,} scores are spread as the {m:,} before"
        )
        return Measured(subject, float(d), note, excused=p >= self.alpha)

    def evidence(self, worst: Measured) -> str:
        where = where_subject(worst)
        return (
            "select (floor(score / 0.02) * 0.02)::decimal(4, 2) as score_from, count(*) filter (now) as pairs, "
            "count(*) filter (not now) as before "
            f"from (select score, true as now from {self._table}{where} "
            f"union all select score, false from {PREVIOUS}.{self._table}{where}) group by all order by all"
        )


def p_value(d: float, n: int, m: int) -> float:
    """Probability of a statistic of at least `d` between samples of `n` and `m` from one distribution, for large n and m."""
    scaled = d * math.sqrt(n * m / (n + m))
    if scaled < 0.2:
        return 1.0  # the series converges slowly here, and is 1 to 12 digits
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * k * k * scaled * scaled) for k in range(1, 101))
    return min(1.0, max(0.0, sum(terms)))
