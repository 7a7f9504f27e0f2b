"""The test that v5.10.1 came with: the publisher takes its client from the module, and survives."""

from typing import Any

import pytest

from live.firestore_mirror import publish_execution_intel


class DummyDoc:
    def __init__(self) -> None:
        self.set_calls: list[tuple[Any, Any]] = []

    def set(self, data: Any, merge: Any = False) -> None:
        self.set_calls.append((data, merge))


class DummyCollection:
    def __init__(self) -> None:
        self.docs: dict[str, DummyDoc] = {}

    def document(self, doc_id: str) -> DummyDoc:
        return self.docs.setdefault(doc_id, DummyDoc())


class DummyClient:
    def __init__(self) -> None:
        self.collections: dict[str, DummyCollection] = {}

    def collection(self, name: str) -> DummyCollection:
        return self.collections.setdefault(name, DummyCollection())


def test_publish_execution_intel_writes_document_execution_intelligence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dummy_client = DummyClient()
    monkeypatch.setattr("live.firestore_mirror.get_client", lambda: dummy_client)
    monkeypatch.setenv("HEDGE_ENV", "test")

    publish_execution_intel("BTCUSDC", {"score": 1.0, "components": {"dummy": 1}})

    assert "test" in dummy_client.collections["hedge"].docs


class NestedDoc(DummyDoc):
    """A document with collections below it, which v5.10.1's own stand-in had not."""

    def __init__(self) -> None:
        super().__init__()
        self.collections: dict[str, NestedCollection] = {}

    def collection(self, name: str) -> "NestedCollection":
        return self.collections.setdefault(name, NestedCollection())

    def set(self, data: Any, merge: Any = False, timeout: Any = None, retry: Any = None) -> None:
        self.set_calls.append((data, merge))


class NestedCollection:
    def __init__(self) -> None:
        self.docs: dict[str, NestedDoc] = {}

    def document(self, doc_id: str) -> NestedDoc:
        return self.docs.setdefault(doc_id, NestedDoc())


class NestedClient:
    def __init__(self) -> None:
        self.collections: dict[str, NestedCollection] = {}

    def collection(self, name: str) -> NestedCollection:
        return self.collections.setdefault(name, NestedCollection())


def test_the_document_has_the_layout_of_v5_10_1(monkeypatch: pytest.MonkeyPatch) -> None:
    client = NestedClient()
    monkeypatch.setattr("live.firestore_mirror.get_client", lambda: client)
    monkeypatch.setenv("HEDGE_ENV", "test")

    assert publish_execution_intel("BTCUSDC", {"score": 1.0, "components": {"dummy": 1}})

    written = client.collections["hedge"].docs["test"].collections["execution_intel"]
    ((data, merge),) = written.docs["BTCUSDC"].set_calls
    assert data.pop("updated_at") > 1_700_000_000
    assert data == {"symbol": "BTCUSDC", "env": "test", "score": 1.0, "components": {"dummy": 1}}
    assert sorted(merge) == ["components", "env", "score", "symbol", "updated_at"]
