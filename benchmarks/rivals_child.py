"""What the competitors do, run by their own interpreter: Feast's stores and a Redis client.

Put here: one class a competitor, whose constructor loads the data and whose methods are measured.
Keep out: every import of ours: this file runs where execintel is not installed.
"""

import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_FOREVER = dt.timedelta(days=3650)


def percentiles(read: Callable[[str], Any], symbols: Iterator[str], count: int) -> dict[str, Any]:
    """Time ``count`` reads one by one; microseconds."""
    now, spent = time.perf_counter_ns, []
    for _ in range(count):
        symbol = next(symbols)
        started = now()
        read(symbol)
        spent.append(now() - started)
    spent.sort()
    return {"p50": spent[count // 2] / 1e3, "p99": spent[count * 99 // 100] / 1e3, "n": count}


def round_robin(symbols: list[str]) -> Iterator[str]:
    """Yield symbols so that neighbours differ."""
    number = 0
    while True:
        yield symbols[number % len(symbols)]
        number += 7


class _Feast:
    """A feature store on local files, its registry held in memory by a long cache."""

    def __init__(self, folder: Path, **stores: Any) -> None:
        from feast import FeatureStore, RepoConfig

        config = RepoConfig(
            project="bench", provider="local", entity_key_serialization_version=3,
            registry={"path": str(folder / "registry.db"), "cache_ttl_seconds": 86_400},
            **stores,
        )  # fmt: skip
        self.store = FeatureStore(config=config)

    def declare(self, name: str, columns: dict[str, Any], path: Path) -> None:
        from feast import Entity, FeatureView, Field, FileSource
        from feast.value_type import ValueType

        symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
        view = FeatureView(
            name=name, entities=[symbol], ttl=_FOREVER,
            schema=[Field(name=column, dtype=kind) for column, kind in columns.items()],
            source=FileSource(path=str(path), timestamp_field="event_timestamp"),
        )  # fmt: skip
        self.store.apply([symbol, view])


class FeastOnline(_Feast):
    """One symbol's record from the SQLite online store, as one text or as a feature a value."""

    def __init__(self, folder: str, records: str) -> None:
        import pandas as pd
        from feast.types import Float64, String

        root = Path(folder)
        super().__init__(
            root,
            offline_store={"type": "dask"},
            online_store={"type": "sqlite", "path": str(root / "online.db")},
        )
        lines = [json.loads(line) for line in Path(records).read_text().splitlines()]
        at = pd.Timestamp.now(tz="UTC")
        whole = pd.DataFrame(
            {
                "symbol": [line["symbol"] for line in lines],
                "event_timestamp": at,
                "record": [json.dumps(line) for line in lines],
            }
        )
        numbers = pd.DataFrame([dict(flat(line)) for line in lines]).astype("float64")
        values = pd.concat([whole[["symbol", "event_timestamp"]], numbers], axis=1)
        views = (("whole", whole, {"record": String}), ("wide", values, None))
        for name, rows, columns in views:
            kinds = columns or dict.fromkeys(numbers.columns, Float64)
            self.declare(name, kinds, root / f"{name}.parquet")
            rows.to_parquet(root / f"{name}.parquet")
            self.store.write_to_online_store(name, rows)
        self.features = [f"wide:{column}" for column in numbers.columns]
        self.symbols = round_robin(list(whole["symbol"]))
        self.about = {"features": len(self.features)}

    def answer(self, what: str, count: int) -> dict[str, Any]:
        read = {"whole": self.whole, "wide": self.wide}[what]
        next_symbol = next(self.symbols)
        assert read(next_symbol), next_symbol
        return percentiles(read, self.symbols, count)

    def whole(self, symbol: str) -> Any:
        found = self.store.get_online_features(["whole:record"], [{"symbol": symbol}]).to_dict()
        return json.loads(found["record"][0])

    def wide(self, symbol: str) -> Any:
        return self.store.get_online_features(self.features, [{"symbol": symbol}]).to_dict()


def flat(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a record under the path that leads to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{name}_{key}".strip("_"))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from flat(item, f"{name}_{number}")
    elif isinstance(value, int | float) and name not in ("as_of_ms",):
        yield name, float(value)


class Redis:
    """One symbol's record from Redis on loopback: the bytes, or decoded by the json module."""

    def __init__(self, port: int, records: str) -> None:
        import redis

        self.client = redis.Redis(host="127.0.0.1", port=port)
        lines = Path(records).read_bytes().splitlines()
        names = [json.loads(line)["symbol"] for line in lines]
        self.client.mset(dict(zip(names, lines, strict=True)))
        self.symbols = round_robin(names)
        self.about = {"version": self.client.info("server")["redis_version"]}

    def answer(self, what: str, count: int) -> dict[str, Any]:
        get = self.client.get
        read = get if what == "bytes" else lambda symbol: json.loads(get(symbol))
        assert read(next(self.symbols))
        return percentiles(read, self.symbols, count)


class FeastOffline(_Feast):
    """Point-in-time join by an offline store: history and entities lie as Parquet files."""

    def __init__(self, folder: str, store: str, history: str, entities: str) -> None:
        import pandas as pd
        from feast.types import Float64

        root = Path(folder)
        super().__init__(
            root,
            offline_store={"type": store},
            online_store={"type": "sqlite", "path": str(root / f"{store}.db")},
        )
        rows = pd.read_parquet(history)
        columns = [name for name in rows.columns if name not in ("symbol", "event_timestamp")]
        self.declare("history", dict.fromkeys(columns, Float64), Path(history))
        self.features = [f"history:{column}" for column in columns]
        self.entities = pd.read_parquet(entities)
        self.about = {"features": len(self.features)}

    def answer(self, out: str) -> dict[str, Any]:
        started, cpu = time.perf_counter(), time.process_time()
        found = self.store.get_historical_features(self.entities, self.features).to_df()
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        found.sort_values("entity_n").to_parquet(out)
        return {"wall_s": wall_s, "cpu_s": cpu_s}


RIVALS = {"feast_online": FeastOnline, "feast_offline": FeastOffline, "redis": Redis}


def serve(name: str, choice: dict[str, Any]) -> None:
    """Answer each line of JSON on standard input with one on standard output."""
    out = sys.stdout
    sys.stdout = sys.stderr  # Feast prints as it goes; answers have the pipe to themselves
    rival = RIVALS[name](**choice)
    print(json.dumps(rival.about), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(rival.answer(**json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
