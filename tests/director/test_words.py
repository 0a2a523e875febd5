from __future__ import annotations

from sipbalancer.director.words import WORDS_SIZE, Flag, Word, Words

WORD = Word(float(Flag.WRITTEN), 1.0, 2.0, 3.0, 4.0, 0.5, 6.0, 7.0, 8.0, 9.0, 10.0)


def test_what_was_never_written_is_none() -> None:
    words = Words(bytearray(WORDS_SIZE))
    assert words.read(0) is None and words.read(4095) is None and words.generation == 0


def test_what_is_written_is_read_by_another_and_the_generation_says_so() -> None:
    memory = bytearray(WORDS_SIZE)
    one, two = Words(memory), Words(memory)
    one.write({3: WORD, 4095: WORD._replace(rtt=1.5)})
    assert two.read(3) == WORD
    assert two.read(4095) == WORD._replace(rtt=1.5)
    assert two.read(4) is None
    assert two.generation == 2
    one.write({3: WORD})
    assert two.generation == 4


def test_a_writer_that_died_in_the_middle_is_followed_by_one_that_does_not() -> None:
    memory = bytearray(WORDS_SIZE)
    words = Words(memory)
    head = memoryview(memory).cast("q")
    head[0] = 5
    head.release()
    words.write({1: WORD})
    assert words.generation == 6
    words.close()
