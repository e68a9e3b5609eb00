from __future__ import annotations

from stats.response_codes import ResponseCodes
from stats.store import Store


def test_response_codes_are_made_when_counted() -> None:
    store = Store()
    codes = ResponseCodes(store.scope("c"))
    assert list(store) == []
    codes.count(200)
    codes.count(204)
    codes.count(503)
    codes.count(0)
    codes.count(999)
    values = {stat.name: stat.value for stat in store.counters.values()}
    assert values == {
        "c.upstream_rq_200": 1,
        "c.upstream_rq_204": 1,
        "c.upstream_rq_2xx": 2,
        "c.upstream_rq_503": 1,
        "c.upstream_rq_5xx": 1,
        "c.upstream_rq_completed": 5,
    }
