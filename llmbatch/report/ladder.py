"""What a ladder of models did: rows, cost and scores by model, and whether it pays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from llmbatch.grade.stats import wilson
from llmbatch.report.details import DOLLAR_PLACES
from llmbatch.report.quality import percent
from llmbatch.report.rungs import Ladder, Rung, RungScore
from llmbatch.report.words import count, listing, number_of, plain, share, usd
from llmbatch.tally import RungSum, Tally
from llmbatch.validate import FLOOR


def ladder_of(tally: Tally, scores: Mapping[str, Mapping[str, RungScore]]) -> Ladder | None:
    """None without a ladder.

    A row costs c(k) at model k, and C(k) = c(k) + e(k) C(k+1) from there on, with e(k) the share of rows that climb.
    Without model k it would cost C(k+1). So model k pays while e(k) < 1 - c(k) / C(k+1): with two models, while the
    escalation rate is below 1 - c_small / c_large. That follows from the cost of a cascade: L. Chen, M. Zaharia, J.
    Zou, FrugalGPT (arXiv:2305.05176), section 3. Where the rows that climb are longer than others, c(k+1)
    is too high.
    """
    if not tally.ladder:
        return None
    sums = [tally.rungs.get(model) or RungSum() for model in tally.ladder]
    onward = _onward(sums)
    rungs = tuple(
        _rung(model, sums[k], onward[k + 1] if k + 1 < len(sums) else None, scores.get(model, {}))
        for k, model in enumerate(tally.ladder)
    )
    alone = _per_row(sums[-1])
    whole = onward[0] if sums[0].rows else None
    pays = _all_pay(rungs)
    return Ladder(rungs, _per_1000(whole), _per_1000(alone), pays, " ".join(_verdict(rungs, whole, alone)))


def _per_row(sums: RungSum) -> Decimal | None:
    return sums.worth_usd / sums.worth_rows if sums.worth_rows else None


def _onward(sums: Sequence[RungSum]) -> list[Decimal | None]:
    """C(k): dollars of a row from each model on; None where a price or a model's rows are missing."""
    found: list[Decimal | None] = []
    after: Decimal | None = Decimal(0)
    for one in reversed(sums):
        own, climbed = _per_row(one), one.climbed.total()
        rate = Decimal(climbed) / one.rows if one.rows else Decimal(0)
        after = None if own is None or (climbed and after is None) else own + rate * (after or 0)
        found.append(after)
    return found[::-1]


def _rung(model: str, sums: RungSum, above: Decimal | None, scores: Mapping[str, RungScore]) -> Rung:
    own, climbed = _per_row(sums), sums.climbed.total()
    interval = wilson(climbed, sums.rows) if sums.rows else None
    unknown = sums.paid.attempts > 0 and sums.paid.unpriced == sums.paid.attempts
    return Rung(
        model=model,
        rows=sums.rows,
        served=sums.served,
        climbed=climbed,
        why=dict(sums.climbed.most_common()),
        failed=sums.failed,
        calls=sums.calls,
        cost_usd=None if unknown else round(sums.paid.cost_usd, DOLLAR_PLACES),
        unpriced_attempts=sums.paid.unpriced,
        usd_per_row=None if own is None else round(own, DOLLAR_PLACES),
        climb_rate=climbed / sums.rows if sums.rows else None,
        climb_low=interval.low if interval else None,
        climb_high=interval.high if interval else None,
        break_even=float(1 - own / above) if own is not None and above else None,
        scores=dict(scores),
    )


def _per_1000(dollars: Decimal | None) -> Decimal | None:
    return None if dollars is None else round(dollars * 1000, DOLLAR_PLACES)


def _pays(rung: Rung) -> bool | None:
    if rung.break_even is None or rung.climb_high is None or rung.climb_low is None:
        return None
    return True if rung.climb_high < rung.break_even else False if rung.climb_low >= rung.break_even else None


def _all_pay(rungs: Sequence[Rung]) -> bool | None:
    """Of the models below the last one."""
    found = [_pays(rung) for rung in rungs[:-1]]
    return False if False in found else None if None in found else True


def _verdict(rungs: Sequence[Rung], whole: Decimal | None, alone: Decimal | None) -> Iterator[str]:
    """Sentences: which models pay, and what the last one alone would cost."""
    for rung in rungs[:-1]:
        if rung.climb_rate is None or rung.climb_low is None or rung.climb_high is None:
            continue
        seen = f"{percent(rung.climb_rate)} ({percent(rung.climb_low)} to {percent(rung.climb_high)}) of its rows climb"
        pays, name = _pays(rung), plain(rung.model)
        if rung.break_even is None:
            yield f"Whether {name} pays is not known: {seen}, and what a row costs is not known for every model."
        elif pays is None:
            yield f"Whether {name} pays is too close to tell: {seen}, and it pays below {percent(rung.break_even)}."
        elif pays:
            yield f"{name} pays: {seen}, and it pays below {percent(rung.break_even)}."
        else:
            yield f"{name} no longer pays: {seen}, and it pays only below {percent(max(0.0, rung.break_even))}."
    if whole is not None and alone is not None:
        last = plain(rungs[-1].model)
        yield (
            f"1,000 rows cost {usd(whole * 1000)} by the ladder, and about {usd(alone * 1000)} by {last} alone,"
            f" as far as the {number_of(rungs[-1].rows, 'row')} that came to it tell."
        )


def lines(ladder: Ladder) -> Iterator[str]:
    """For a terminal: a line for each model, then the verdict."""
    for rung in ladder.rungs:
        parts = [f"{count(rung.served)} served"]
        if rung.climbed:
            why = _why(rung)
            parts.append(f"{count(rung.climbed)} climbed ({share(rung.climbed, rung.rows)}: {why})")
        parts += [f"{count(rung.failed)} failed"] if rung.failed else []
        what = "; ".join((", ".join(parts), usd(rung.cost_usd), *_scores(rung)))
        yield f"{plain(rung.model)}: {number_of(rung.rows, 'row')}, {what}"
    if ladder.verdict:
        yield ladder.verdict


def view(ladder: Ladder | None) -> dict[str, object] | None:
    """For the page."""
    if ladder is None:
        return None
    rows = [
        [
            rung.model,
            count(rung.rows),
            count(rung.served),
            f"{count(rung.climbed)}, {share(rung.climbed, rung.rows)}" if rung.climbed else "0",
            _why(rung),
            count(rung.failed),
            count(rung.calls),
            usd(rung.cost_usd),
            usd(rung.usd_per_row),
            "-" if rung.break_even is None else percent(max(0.0, rung.break_even)),
        ]
        for rung in ladder.rungs
    ]
    scores = [f"{rung.model}: {'; '.join(_scores(rung))}" for rung in ladder.rungs if rung.scores]
    return {"rungs": rows, "scores": scores, "verdict": ladder.verdict, "bad": ladder.pays is False}


def _why(rung: Rung) -> str:
    return listing({"graded low" if name == FLOOR else name: rows for name, rows in rung.why.items()})


def _scores(rung: Rung) -> Iterator[str]:
    for name, score in rung.scores.items():
        yield f"{plain(name)} {percent(score.mean)} ({percent(score.low)} to {percent(score.high)})"
