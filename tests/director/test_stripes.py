from __future__ import annotations

from sipbalancer.director.stripes import NOTHING, Record, Stripes, WorkerEvidence, record_in, stripes_size


def test_each_worker_has_a_stripe_of_its_own() -> None:
    memory = bytearray(stripes_size(3))
    one, two = Stripes(memory), Stripes(memory)
    one.write(2, 4095, Record(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    assert two.workers == 3
    assert two.read(2, 4095) == Record(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert two.read(1, 4095) == two.read(2, 4094) == NOTHING
    one.close()
    two.close()


def test_an_image_is_what_stood_there() -> None:
    stripes = Stripes(bytearray(stripes_size(2)))
    stripes.write(1, 2, Record(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    image = stripes.image(1, 3)
    stripes.write(1, 2, Record(9.0))
    assert record_in(image, 2) == Record(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert record_in(image, 1) == NOTHING
    assert stripes.image(1, 2) == stripes.image(0, 2)
    assert stripes.image(1, 3) != image
    stripes.close()


def test_transactions_are_read_alone() -> None:
    stripes = Stripes(bytearray(stripes_size(3)))
    stripes.write(1, 4095, Record(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    assert [stripes.transactions(worker, 4095) for worker in range(3)] == [0.0, 6.0, 0.0]
    stripes.close()


def test_a_workers_counts_only_grow() -> None:
    evidence = WorkerEvidence()
    evidence.answered(True, 1.0)
    assert evidence.missed(2.0)
    assert not evidence.missed(3.0)
    assert (evidence.dialog_answers, evidence.unanswered, evidence.suspected) == (1, 2, 2.0)
    evidence.settled()
    assert (evidence.dialog_answers, evidence.unanswered, evidence.suspected) == (1, 2, 0.0)
