"""A suite with mt_bert end to end: teachers that are trained together, found again, interrupted, and on the board."""

TWO = (
    "teachers.other={architecture: {layers: 4, hidden: 16, heads: 2, ffn: 32}, epochs: 1, lr: 0.001}",
    "methods=[mt_bert]",
    "seeds=[1]",
)


def test_a_suite_end_to_end(small):
    outcome = small.run(*TWO)
    assert not outcome.failed
    store = small.store()
    (record,) = store.records()
    assert record.status == "completed"
