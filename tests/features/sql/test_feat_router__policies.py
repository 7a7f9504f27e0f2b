"""How to route a symbol: feat_router__policies on literal rows of the tables it reads."""

import math
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.sql.literal import D, H, M, Row, T, features, features_of, outcome

Con = duckdb.DuckDBPyConnection

TABLE = "feat_router__policies"
AS_OF = T + D
WEEK = 7 * D
QUALITIES = ("broken", "degraded", "unknown", "ok", "good")  # from the tightest to the loosest
SCORES = (
    "maker_fill_ratio", "maker_known_n", "fallback_ratio", "fallback_known_n", "slip_bps_q50",
    "slip_n",
)  # fmt: skip
# Neither good nor bad, with samples enough for either.
PLAIN: Row = {"maker_fill_ratio": 0.5, "maker_known_n": 20, "fallback_ratio": 0.5}
PLAIN |= {"fallback_known_n": 20, "slip_bps_q50": 6.0, "slip_n": 20}
GOOD: Row = {**PLAIN, "maker_fill_ratio": 0.7, "fallback_ratio": 0.4, "slip_bps_q50": 4.0}
LONG_GOOD: Row = {"before_quality": "good", "before_candidate_quality": "good"}
UP, DOWN = math.inf, -math.inf


def policies(
    con: Con, cases: list[Row], outcomes: list[Row] | None = None, **choice: Any
) -> list[Row]:
    """Return the row of each case, all computed together; what a case does not name is NULL."""
    tables: dict[str, list[Row]] = {"core_window__outcomes": outcomes or []}
    for number, case in enumerate(cases):
        symbol = f"S{number}"
        rows: dict[str, Row] = {
            "feat_symbol__scores": {
                "symbol": symbol,
                "n": 50,
                "is_active": True,
                "maker_known_n": 0,
                "fallback_known_n": 0,
                "slip_n": 0,
                **{name: value for name, value in case.items() if name in SCORES},
            },
            "feat_router__effectiveness": {
                "symbol": symbol,
                "unconfirmed_n": case.get("unconfirmed_n", 0),
            },
            "feat_symbol__atr_regime": {
                "symbol": symbol,
                "n": 500,
                "regime": case.get("regime", "normal"),
                "atr_source": case.get("atr_source", "bars"),
            },
        }
        before = {n.removeprefix("before_"): v for n, v in case.items() if n.startswith("before_")}
        if before:
            usual = {"symbol": symbol, "decided_ms": AS_OF - 5 * M, "is_listed": True}
            rows["previous_memory"] = {**usual, **before}
        for table, row in rows.items():
            tables.setdefault(table, []).append(row)
    found = features_of(con, TABLE, tables, as_of_ms=AS_OF, **choice)
    return [found[f"S{number}"] for number in range(len(cases))]


def labels(con: Con, cases: list[Row], **choice: Any) -> list[str]:
    """Return the label that acts of each case, where a good one acted before."""
    return [row["quality"] for row in policies(con, [{**LONG_GOOD, **c} for c in cases], **choice)]


# --------------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        (
            "fallback_ratio",
            [
                (0.0, "good"),
                (0.4, "good"),
                (math.nextafter(0.4, UP), "ok"),
                (math.nextafter(0.6, DOWN), "ok"),
                (0.6, "degraded"),
                (math.nextafter(0.9, DOWN), "degraded"),
                (0.9, "broken"),
                (1.0, "broken"),
            ],
        ),
        (
            "slip_bps_q50",
            [
                (-50.0, "good"),
                (4.0, "good"),
                (math.nextafter(4.0, UP), "ok"),
                (math.nextafter(8.0, DOWN), "ok"),
                (8.0, "degraded"),
                (math.nextafter(20.0, DOWN), "degraded"),
                (20.0, "broken"),
                (999.0, "broken"),
            ],
        ),
        (
            "maker_fill_ratio",
            [(0.0, "ok"), (math.nextafter(0.7, DOWN), "ok"), (0.7, "good"), (1.0, "good")],
        ),
    ],
)
def test_labels_step_at_their_thresholds(
    con: Con, name: str, steps: list[tuple[float, str]]
) -> None:
    rows = policies(con, [{**LONG_GOOD, **GOOD, name: value} for value, _ in steps])
    assert [row["quality"] for row in rows] == [label for _, label in steps]
    assert [row["quality_v510"] for row in rows] == [label for _, label in steps]


def test_thresholds_are_parameters(con: Con) -> None:
    overrides = {"policy_good_maker": 0.4, "policy_good_fallback": 0.5, "policy_good_slip_bps": 6.0}
    assert labels(con, [PLAIN]) == ["ok"]
    assert labels(con, [PLAIN], overrides=overrides) == ["good"]
    overrides = {"policy_broken_slip_bps": 6.0, "policy_degraded_slip_bps": 6.0}
    assert labels(con, [PLAIN], overrides=overrides) == ["broken"]


@pytest.mark.parametrize(
    ("quality", "case", "maker_first", "taker_bias"),
    [
        ("broken", {**PLAIN, "fallback_ratio": 0.95}, False, "prefer_taker"),
        ("degraded", {**PLAIN, "fallback_ratio": 0.7}, True, "prefer_taker"),
        ("unknown", {}, None, "balanced"),
        ("ok", PLAIN, True, "balanced"),
        ("good", GOOD, True, "prefer_maker"),
    ],
)
def test_routing_follows_from_the_label(
    con: Con, quality: str, case: Row, maker_first: bool | None, taker_bias: str
) -> None:
    calm, panic = policies(
        con, [{**LONG_GOOD, **case, "regime": regime} for regime in ("normal", "panic")]
    )
    assert (calm["quality"], calm["maker_first"]) == (quality, maker_first)
    assert calm["taker_bias"] == taker_bias
    assert calm["reason"].startswith(f"quality={quality}; regime=normal")
    # panic takes, and through a weak router it makes no maker order
    assert (panic["quality"], panic["taker_bias"]) == (quality, "prefer_taker")
    assert panic["maker_first"] == (False if quality in ("broken", "degraded") else maker_first)


@pytest.mark.parametrize("regime", ["quiet", "hot", "unknown"])
def test_no_other_regime_changes_the_routing(con: Con, regime: str) -> None:
    (row,) = policies(con, [{**LONG_GOOD, **GOOD, "regime": regime}])
    assert (row["maker_first"], row["taker_bias"]) == (True, "prefer_maker")


# ----------------------------------------------------------------------------------------- evidence


@pytest.mark.parametrize("name", ["maker_known_n", "fallback_known_n", "slip_n"])
def test_good_needs_twenty_samples_of_every_input(con: Con, name: str) -> None:
    few, enough = policies(con, [{**LONG_GOOD, **GOOD, name: n} for n in (19, 20)])
    assert (few["quality"], enough["quality"]) == ("ok", "good")
    assert (few["quality_v510"], enough["quality_v510"]) == ("good", "good")


@pytest.mark.parametrize("name", ["maker_fill_ratio", "fallback_ratio", "slip_bps_q50"])
def test_good_needs_every_input(con: Con, name: str) -> None:
    assert labels(con, [{**GOOD, name: None}]) == ["ok"]


def test_one_sample_may_speak_against_a_router(con: Con) -> None:
    cases = [
        {**GOOD, "fallback_ratio": 1.0, "fallback_known_n": 1},
        {**GOOD, "slip_bps_q50": 8.0, "slip_n": 1},
    ]
    assert labels(con, cases) == ["broken", "degraded"]


def test_nothing_known_is_unknown_and_leaves_the_strategy_its_choice(con: Con) -> None:
    (row,) = policies(con, [LONG_GOOD])
    assert (row["quality"], row["maker_first"], row["taker_bias"]) == ("unknown", None, "balanced")
    assert row["quality_v510"] == "ok"
    assert "nothing known of the router" in row["reason"]
    assert labels(con, [{"maker_fill_ratio": 0.1, "maker_known_n": 1}]) == ["ok"]


def wilson(p: float, n: int, sign: int) -> float:
    z = 1.2815515655446004
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle + sign * half) / (1 + z * z / n)


@pytest.mark.parametrize(("ratio", "n"), [(0.0, 1), (1.0, 1), (0.5, 4), (0.9, 40), (0.62, 1000)])
def test_fallback_stands_between_its_wilson_bounds(con: Con, ratio: float, n: int) -> None:
    (row,) = policies(con, [{**PLAIN, "fallback_ratio": ratio, "fallback_known_n": n}])
    assert row["fallback_lo90"] == pytest.approx(wilson(ratio, n, -1), abs=1e-12)
    assert row["fallback_hi90"] == pytest.approx(wilson(ratio, n, 1), abs=1e-12)


def test_unknown_fallback_has_no_bounds(con: Con) -> None:
    (row,) = policies(con, [{**PLAIN, "fallback_ratio": None, "fallback_known_n": 0}])
    assert (row["fallback_lo90"], row["fallback_hi90"]) == (None, None)


# --------------------------------------------------------------------------- the snapshot before

MADE = {  # inputs that give a label by themselves
    "broken": {**PLAIN, "fallback_ratio": 0.95},
    "degraded": {**PLAIN, "fallback_ratio": 0.7},
    "unknown": {},
    "ok": PLAIN,
    "good": GOOD,
}


def test_a_better_label_needs_two_snapshots_a_worse_one_acts_at_once(con: Con) -> None:
    cases = [(now, label, seen) for now in QUALITIES for label in QUALITIES for seen in QUALITIES]
    rows = policies(
        con,
        [
            {**MADE[now], "before_quality": label, "before_candidate_quality": seen}
            for now, label, seen in cases
        ],
    )
    rank = QUALITIES.index
    for (now, label, seen), row in zip(cases, rows, strict=True):
        if rank(now) <= rank(label):
            expected = now
        else:  # as far as both snapshots saw it, and no worse than before
            expected = QUALITIES[max(rank(label), min(rank(now), rank(seen)))]
        assert (row["candidate_quality"], row["quality"]) == (now, expected)
        assert row["previous_quality"] == label
        assert ("waits for a second snapshot" in row["reason"]) == (expected != now)


def test_without_a_snapshot_before_no_label_is_promoted(con: Con) -> None:
    rows = policies(con, list(MADE.values()))
    expected = ["broken", "degraded", "unknown", "unknown", "unknown"]
    assert [row["quality"] for row in rows] == expected
    assert {row["previous_quality"] for row in rows} == {None}


def test_memory_of_a_label_fades(con: Con) -> None:
    cases = [{**GOOD, **LONG_GOOD, "before_decided_ms": AS_OF - WEEK + k} for k in (0, 1)]
    assert [row["quality"] for row in policies(con, cases)] == ["unknown", "good"]


@pytest.mark.parametrize(
    ("name", "count", "at", "bad", "label"),
    [
        ("fallback_ratio", "fallback_known_n", "before_fallback_at_ms", 0.7, "degraded"),
        ("slip_bps_q50", "slip_n", "before_slip_at_ms", 25.0, "broken"),
    ],
)
def test_a_bad_input_is_remembered_until_enough_samples_say_otherwise(
    con: Con, name: str, count: str, at: str, bad: float, label: str
) -> None:
    memory = {f"before_{name}": bad, at: AS_OF - H}
    cases = [
        {**GOOD, name: None, count: 0, **memory},  # lost -> the remembered one
        {**GOOD, count: 19, **memory},  # few -> the worse of the two
        {**GOOD, count: 20, **memory},  # enough -> the measured one
        {**GOOD, count: 19, **memory, at: AS_OF - WEEK},  # long ago
        {**GOOD, count: 19, **memory, at: None},
    ]
    assert labels(con, cases) == [label, label, "good", "ok", "ok"]


def test_a_remembered_input_below_the_measured_one_changes_nothing(con: Con) -> None:
    case = {**PLAIN, "fallback_known_n": 3, "fallback_ratio": 0.65}
    memory = {"before_fallback_ratio": 0.1, "before_fallback_at_ms": AS_OF - H}
    (row,) = policies(con, [{**LONG_GOOD, **case, **memory}])
    assert (row["quality"], row["acting_fallback_ratio"]) == ("degraded", 0.65)


@pytest.mark.parametrize(
    ("regime", "source", "before", "acting"),
    [
        ("quiet", "bars", "panic", "quiet"),  # bars speak for themselves
        ("normal", "short", "panic", "normal"),
        ("unknown", "none", "panic", "panic"),  # lost -> remembered
        ("unknown", "none", "hot", "hot"),
        ("unknown", "none", "quiet", "unknown"),  # calm is not remembered
        ("unknown", "none", None, "unknown"),
        ("panic", "fills", None, "panic"),  # fills may warn
        ("hot", "fills", "panic", "panic"),
        ("normal", "fills", "hot", "hot"),
        ("normal", "fills", "normal", "normal"),
        ("quiet", "fills", None, "unknown"),  # and may not calm
    ],
)
def test_the_regime_that_acts(
    con: Con, regime: str, source: str, before: str | None, acting: str
) -> None:
    case = {**PLAIN, "regime": regime, "atr_source": source, "before_regime": before}
    fresh, old = policies(
        con, [{**case, "before_regime_at_ms": at} for at in (AS_OF - H, AS_OF - WEEK)]
    )
    assert (fresh["acting_regime"], fresh["regime"]) == (acting, regime)
    if before in ("hot", "panic") and source in ("fills", "none"):
        faded = {"unknown": "unknown", "normal": "normal", "hot": "hot"}[regime]
        assert old["acting_regime"] == faded
    else:
        assert old["acting_regime"] == acting


def test_few_bars_do_not_unsay_what_enough_of_them_said(con: Con) -> None:
    case = {**PLAIN, "regime": "normal", "before_regime": "panic"}
    case |= {"before_regime_at_ms": AS_OF - H, "before_bars_at_ms": AS_OF - H}
    sources = ("bars", "short", "fills")
    rows = policies(con, [{**case, "atr_source": source} for source in sources])
    assert [row["acting_regime"] for row in rows] == ["normal", "panic", "panic"]
    # quiet tightens the offset: of few bars only where there never were more
    quiet = {**case, "regime": "quiet", "atr_source": "short", "before_regime": "quiet"}
    rows = policies(con, [quiet, {**quiet, "before_bars_at_ms": AS_OF - WEEK}])
    assert [row["acting_regime"] for row in rows] == ["unknown", "quiet"]


# -------------------------------------------------------------------------------- unconfirmed fills


def fills(symbol: str = "S0") -> list[Row]:
    """Return 3 confirmed maker fills and 2 unconfirmed taker fills after a fallback."""
    usual: Row = {"symbol": symbol, "started_maker": True, "used_fallback": False}
    usual |= {"slippage_bps": 1.0}
    sure = [outcome(is_confirmed=True, is_maker=True, **usual).values for _ in range(3)]
    usual |= {"used_fallback": True, "slippage_bps": 9.0}
    return [*sure, *(outcome(is_confirmed=False, is_maker=False, **usual).values for _ in range(2))]


@pytest.mark.parametrize(
    ("environment", "choice", "is_out"),
    [
        ("live", "out_live", True),
        ("paper", "out_live", False),
        ("paper", "out", True),
        ("live", "in", False),
    ],
)
def test_unconfirmed_fills_are_left_out_where_they_are_to_be(
    con: Con, environment: str, choice: str, is_out: bool
) -> None:
    case = {**PLAIN, "maker_fill_ratio": 0.6, "maker_known_n": 5, "fallback_ratio": 0.4}
    case |= {"fallback_known_n": 5, "slip_bps_q50": 1.0, "slip_n": 5, "unconfirmed_n": 2}
    (row,) = policies(
        con,
        [case],
        fills(),
        environment=environment,
        overrides={"unconfirmed_fills": choice},
    )
    assert row["left_out_n"] == (2 if is_out else 0)
    names = ("maker_fill_ratio", "maker_known_n", "fallback_ratio", "fallback_known_n", "slip_n")
    assert tuple(row[name] for name in names) == (
        (1.0, 3, 0.0, 3, 3) if is_out else (0.6, 5, 0.4, 5, 5)
    )


def test_unconfirmed_fills_make_nothing_look_better(con: Con) -> None:
    """Losing the order_fill lines of bad fills must not lift the label that all fills get."""
    sure: Row = {
        "is_confirmed": True,
        "is_maker": True,
        "used_fallback": False,
        "slippage_bps": 1.0,
    }
    lost: Row = {
        "is_confirmed": False,
        "is_maker": False,
        "used_fallback": True,
        "slippage_bps": 9.0,
    }
    rows = [
        outcome(symbol="S0", started_maker=True, **fill).values
        for fill in (*[sure] * 30, *[lost] * 30)
    ]
    case = {**PLAIN, **LONG_GOOD, "maker_fill_ratio": 0.5, "maker_known_n": 60}
    case |= {"fallback_ratio": 0.5, "fallback_known_n": 60, "slip_bps_q50": 5.0, "slip_n": 60}
    choice: Any = {"overrides": {"unconfirmed_fills": "out"}}
    (row,) = policies(con, [{**case, "unconfirmed_n": 30}], rows, **choice)
    assert (row["fallback_ratio"], row["fallback_known_n"]) == (0.0, 30)  # of the confirmed
    assert (row["acting_fallback_ratio"], row["acting_slip_bps"]) == (0.5, 5.0)
    assert row["quality"] == "ok"
    # and fills that look good, but that nobody confirmed, lift nothing either
    fake = [{**row, "is_confirmed": not row["is_confirmed"]} for row in rows]
    good = {**case, "maker_fill_ratio": 0.9, "fallback_ratio": 0.1, "slip_bps_q50": 1.0}
    (row,) = policies(con, [{**good, "unconfirmed_n": 30}], fake, **choice)
    assert (row["acting_fallback_ratio"], row["acting_slip_bps"]) == (1.0, 9.0)
    assert row["quality"] == "broken"


def test_fills_of_which_none_is_confirmed_make_no_label_but_a_bad_one(con: Con) -> None:
    fill: Row = {"symbol": "S0", "is_confirmed": False, "started_maker": True}
    rows = [outcome(**fill, used_fallback=False, is_maker=True).values]
    choice: Any = {"overrides": {"unconfirmed_fills": "out"}}
    case = {**GOOD, **LONG_GOOD, "unconfirmed_n": 1}
    assert [row["quality"] for row in policies(con, [case], rows, **choice)] == ["unknown"]
    bad = {**case, "fallback_ratio": 0.95}
    assert [row["quality"] for row in policies(con, [bad], rows, **choice)] == ["broken"]


def test_a_symbol_whose_fills_are_all_confirmed_is_not_counted_again(con: Con) -> None:
    (row,) = policies(con, [PLAIN], fills(), overrides={"unconfirmed_fills": "out"})
    assert (row["left_out_n"], row["maker_known_n"]) == (0, 20)


# ------------------------------------------------------------------------------- whatever comes in

ODD = st.sampled_from([None, math.nan, math.inf, -math.inf, 1e308, -1.0, 0.0, 0.9, 0.6])
ANY = st.one_of(ODD, st.floats(0, 1), st.floats(-5, 30))
COUNT = st.integers(0, 40)
CASE = st.fixed_dictionaries(
    {
        "maker_fill_ratio": ANY,
        "fallback_ratio": ANY,
        "slip_bps_q50": ANY,
        "maker_known_n": COUNT,
        "fallback_known_n": COUNT,
        "slip_n": COUNT,
        "regime": st.sampled_from(["quiet", "normal", "hot", "panic", "unknown"]),
        "atr_source": st.sampled_from(["bars", "short", "fills", "none"]),
        "before_quality": st.sampled_from([None, *QUALITIES]),
        "before_candidate_quality": st.sampled_from([None, *QUALITIES]),
        "before_fallback_ratio": ANY,
        "before_fallback_at_ms": st.sampled_from([None, AS_OF - H, AS_OF - 2 * WEEK]),
    }
)
BIASES = ("prefer_taker", "balanced", "prefer_maker")


@settings(max_examples=12)
@given(cases=st.lists(CASE, min_size=1, max_size=40))
def test_losing_an_input_never_loosens_a_policy(con: Con, cases: list[Row]) -> None:
    """Each case twice: as it is, and remembered by the next snapshot with one input gone."""
    rows = policies(con, cases)
    then = []
    for case, row in zip(cases, rows, strict=True):
        assert row["quality"] in QUALITIES
        assert row["taker_bias"] in BIASES
        before = {
            "before_quality": row["quality"],
            "before_candidate_quality": row["candidate_quality"],
            "before_fallback_ratio": row["acting_fallback_ratio"],
            "before_fallback_at_ms": AS_OF - M,
            "before_slip_bps_q50": row["acting_slip_bps"],
            "before_slip_at_ms": AS_OF - M,
            "before_regime": row["acting_regime"],
            "before_regime_at_ms": AS_OF - M,
        }
        then.append({**case, **before, "fallback_ratio": None, "fallback_known_n": 0})
        then.append({**case, **before, "slip_bps_q50": None, "slip_n": 0})
    lost = policies(con, then)
    for number, row in enumerate(rows):
        for after in lost[2 * number : 2 * number + 2]:
            known = QUALITIES.index(row["quality"])
            # a second snapshot may promote what the first saw, never beyond
            seen = max(known, QUALITIES.index(row["candidate_quality"]))
            assert QUALITIES.index(after["quality"]) <= seen


def test_a_row_of_literal_lines_reads_the_tables_of_the_same_build(con: Con) -> None:
    lines = [
        outcome(
            at=T + k, is_maker=k > 2, started_maker=True, used_fallback=k < 10, slippage_bps=1.0
        )
        for k in range(12)
    ]
    row = features(con, TABLE, *lines, as_of_ms=AS_OF)["ETHUSDT"]
    assert (row["n"], row["maker_fill_ratio"], row["maker_known_n"]) == (12, 0.75, 12)
    assert (row["fallback_ratio"], row["quality"]) == (10 / 12, "degraded")
