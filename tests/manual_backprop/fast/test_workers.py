import gc
import signal
import threading
import time

import pytest
from known_problems import blas_threads
from threadpoolctl import threadpool_limits

from manual_backprop.fast.workers import Workers

TOO_LONG = 30  # seconds: a deadlock, not a slow machine


@pytest.fixture
def two_blas_threads():
    """Without this, a run on one core, or under OMP_NUM_THREADS=1, would prove nothing."""
    with threadpool_limits(2, user_api="blas"):
        yield


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_every_task_runs_once_and_results_come_in_order(workers, count):
    ran = []

    def task(number, worker):
        assert 0 <= worker < workers
        ran.append(number)
        return number * number

    assert Workers(workers).run(task, count) == [number * number for number in range(count)]
    assert sorted(ran) == list(range(count))


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("distance", [1, 3])
def test_a_task_can_wait_for_the_end_of_an_earlier_one(rng, workers, distance):
    pool, ended = Workers(workers), []
    pauses = rng.uniform(0, 0.002, 60)

    def task(number, worker):
        time.sleep(pauses[number])
        if number >= distance:
            pool.wait_for(number - distance)
            assert number - distance in ended
        ended.append(number)

    for _ in range(2):
        ended.clear()
        pool.run(task, 60)
        assert sorted(ended) == list(range(60))


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_tasks_can_meet_again_and_again(rng, workers):
    pool, reached = Workers(workers), [0] * workers
    pauses = rng.uniform(0, 0.001, (workers, 20))

    def task(number, worker):
        for turn in range(20):
            time.sleep(pauses[number, turn])
            reached[number] = turn
            pool.meet()
            assert all(turn <= other <= turn + 1 for other in reached)

    for _ in range(2):
        pool.run(task, workers)


@pytest.mark.parametrize("error", [OSError("gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_frees_those_who_would_meet(error, failing):
    pool = Workers(3)

    def task(number, worker):
        if number == failing:
            time.sleep(0.01)  # the others wait by now
            raise error
        pool.meet()
        raise AssertionError("one was missing")

    with pytest.raises(type(error)):
        pool.run(task, 3)
    pool.run(lambda *_: pool.meet(), 3)


def test_workers_compute_at_the_same_time():
    meeting = threading.Barrier(3)
    Workers(3).run(lambda *_: meeting.wait(TOO_LONG), 3)


def test_no_two_tasks_have_the_same_worker_at_once():
    busy = [threading.Lock() for _ in range(3)]

    def task(number, worker):
        assert busy[worker].acquire(blocking=False)
        time.sleep(0.0005)
        busy[worker].release()

    Workers(3).run(task, 60)


@pytest.mark.parametrize("more", [0, 1])
def test_an_error_frees_those_who_wait(more):
    pool, waiting = Workers(2), threading.Event()

    def task(number, worker):
        if number == 0:
            assert waiting.wait(TOO_LONG)
            raise OSError("gone")
        waiting.set()
        pool.wait_for(0)
        raise AssertionError("that task did not end")

    with pytest.raises(OSError, match="gone"):
        pool.run(task, 2 + more)
    assert pool.run(lambda number, _: number, 3) == [0, 1, 2]


def test_no_task_begins_after_an_error():
    begun = []

    def task(number, worker):
        begun.append(number)
        if number == 3:
            raise OSError("gone")
        time.sleep(0.01)

    with pytest.raises(OSError, match="gone"):
        Workers(2).run(task, 1000)
    assert len(begun) < 20


def test_an_interrupt_ends_the_run_once_all_tasks_have_ended():
    running = set()

    def task(number, worker):
        running.add(number)
        if number == 5:
            signal.raise_signal(signal.SIGINT)  # the main thread gets it, whichever thread this is
        time.sleep(0.01)
        running.remove(number)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            Workers(2).run(task, 10_000)
    finally:
        signal.signal(signal.SIGINT, before)
    time.sleep(0.05)
    assert len(running) <= 1  # the one interrupted between its lines


@pytest.mark.usefixtures("two_blas_threads")
def test_blas_has_one_thread_inside_and_as_many_as_before_outside():
    before = blas_threads()

    def task(*_):
        meeting.wait(TOO_LONG)  # so that every thread looks
        return blas_threads()

    for workers in (1, 3):
        meeting = threading.Barrier(workers)
        assert Workers(workers).run(task, workers) == [[1] * len(before)] * workers
        assert blas_threads() == before


def test_runs_of_several_threads_do_not_overlap_and_each_has_one_blas_thread():
    before, running, seen = blas_threads(), threading.Lock(), []

    def task(*_):
        assert running.acquire(blocking=False)
        time.sleep(0.001)
        seen.append(blas_threads())
        running.release()

    users = [threading.Thread(target=lambda: [Workers(1).run(task, 3) for _ in range(5)]) for _ in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert seen == [[1] * len(before)] * 45
    assert blas_threads() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_workers_as_blas_would_use(threads):
    with threadpool_limits(threads, user_api="blas"):
        assert Workers().count == threads


def test_number_of_workers_is_not_that_of_a_run_in_progress():
    running = threading.Event()
    expected = Workers().count

    def task(*_):
        running.set()
        time.sleep(0.1)

    user = threading.Thread(target=lambda: Workers(1).run(task, 1))
    user.start()
    running.wait(TOO_LONG)
    assert Workers().count == expected
    user.join()


def test_threads_end_with_their_owner():
    pool = Workers(4)
    meeting = threading.Barrier(4)
    pool.run(lambda *_: meeting.wait(TOO_LONG), 4)
    threads = list(pool._pool._threads)
    assert len(threads) == 3
    del pool
    gc.collect()
    for thread in threads:
        thread.join(TOO_LONG)
        assert not thread.is_alive()
