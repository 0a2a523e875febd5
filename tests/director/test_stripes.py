from __future__ import annotations

from sipbalancer.director.stripes import NOTHING, Record, Stripes, WorkerEvidence, stripes_size


def test_each_worker_has_a_stripe_of_its_own() -> None:
    memory = bytearray(stripes_size(3))
    one, two = Stripes(memory), Stripes(memory)
    one.write(2, 4095, Record(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    assert two.workers == 3
    assert two.read(2, 4095) == Record(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert two.read(1, 4095) == two.read(2, 4094) == NOTHING
    one.close()
    two.close()


def test_a_workers_counts_only_grow() -> None:
    evidence = WorkerEvidence()
    evidence.answered(True, 1.0)
    assert evidence.missed(2.0)
    assert not evidence.missed(3.0)
    assert (evidence.dialog_answers, evidence.unanswered, evidence.suspected) == (1, 2, 2.0)
    evidence.settled()
    assert (evidence.dialog_answers, evidence.unanswered, evidence.suspected) == (1, 2, 0.0)
