"""One decision: what acts, what is only noted, what v5.10 alone would have done."""

from typing import Any

import msgspec
import pytest

from live.snapshot.acting import CAREFUL_OFFSET_BPS, Acting, entry_of
from live.snapshot.reading import Reading
from live.snapshot.records import Record
from live.trading.sizing import decide
from tests.live import files
from tests.live.trading import reading

ALL = frozenset({"size", "offset", "policy"})


def record(**parts: Any) -> Record:
    values = {"as_of_ms": files.T_MS, "snapshot_id": "s1", **files.line(**parts)}
    values["offsets_bps"] = parts.get("offsets_bps", [float(h % 7) + 1 for h in range(24)])
    return msgspec.json.decode(msgspec.json.encode(values), type=Record)


def known(**parts: Any) -> Reading:
    found = record(**parts)
    return reading("BTCUSDT", acting=entry_of(found).acting, record=found)


def test_applied_decisions_are_the_snapshots_own() -> None:
    found = decide(known(), gross_target_usd=1_000.0, hour_utc=3, apply=ALL)
    assert found.notional_usd == pytest.approx(1_250.0)
    assert found.maker_offset_bps == 4.0
    assert (found.policy.quality, found.policy.maker_first) == ("good", True)
    assert (found.size.sharpe, found.size.regime, found.size.intel) == (1.125, 1.0, 1.225)
    assert (found.applied, found.shadowed) == (("size", "offset", "policy"), ())


def test_shadowed_decisions_are_noted_and_do_not_act() -> None:
    found = decide(known(), gross_target_usd=1_000.0, hour_utc=3, apply=frozenset())
    assert found.notional_usd == 1_000.0
    assert found.maker_offset_bps == CAREFUL_OFFSET_BPS
    assert (found.policy.quality, found.policy.maker_first) == ("unknown", None)
    assert found.intel.size_factor == 1.25
    assert found.intel.offset_bps == 4.0
    assert found.intel.policy.quality == "good"
    assert found.shadowed == ("size", "offset", "policy")


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_decision_is_applied_by_itself(name: str) -> None:
    found = decide(known(), gross_target_usd=1.0, hour_utc=3, apply={name})
    assert (found.size.final == 1.25) is (name == "size")
    assert (found.maker_offset_bps == 4.0) is (name == "offset")
    assert (found.policy.quality == "good") is (name == "policy")


def test_v510_alone_stands_beside_without_guards() -> None:
    # 0.2 of fallback, 0.8 of maker fills, slippage 0.8: base 2.0 - 0.5 - 0.2 - 0.2 (good hour)
    found = decide(known(), gross_target_usd=1.0, hour_utc=3, apply=ALL)
    assert found.v510 is not None
    assert found.v510.size_factor == 1.378125  # not what the change guard left
    assert found.v510.offset_bps == pytest.approx(1.1)
    assert found.v510.policy.quality == "good"


def test_without_record_v510_is_unknown() -> None:
    found = decide(
        reading("X", acting=Acting(0.5, (2.0,) * 24, "unknown", None, "balanced")),
        gross_target_usd=100.0, hour_utc=0, apply=ALL,
    )  # fmt: skip
    assert found.v510 is None
    assert found.notional_usd == 50.0
    assert found.size.sharpe is None
