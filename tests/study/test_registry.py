"""The registry of studies: nothing delivered is lost, the cap holds, crashes are counted."""

from __future__ import annotations

import threading
from collections import Counter

from agent.actors.registry import CRASHES_MAX, Registry
from agent.clock import ManualClock
from agent.messages import ForStudy, InstancesArrived, LookAgain, StudyCrashed, StudyHandled, Sweep
from hypothesis import given, settings
from hypothesis import strategies as st


class FakeStudy:
    """A study that handles its messages when the test says so."""

    def __init__(self, study_id: str, life: int) -> None:
        self.study_id, self.life = study_id, life
        self.queue: list[object] = []
        self.handled = 0
        self.is_stopped = False
        self.actor_stopped = threading.Event()

    def tell(self, message: object) -> None:
        assert not self.is_stopped, "told a study that was stopped"
        self.queue.append(message)

    def stop(self, *, block: bool = True) -> bool:
        assert not self.queue, "stopped with messages queued"
        self.is_stopped = True
        self.actor_stopped.set()
        return True


class Rows:
    def __init__(self) -> None:
        self.given_up: list[str] = []
        self.deadlines: list[str] = []

    def due(self) -> list[str]:
        return self.deadlines

    def unfinished(self) -> list[str]:
        return []

    def give_up(self, study_id: str) -> None:
        self.given_up.append(study_id)


class World:
    def __init__(self, cap: int) -> None:
        self.lives: list[FakeStudy] = []
        self.rows = Rows()
        self.clock = ManualClock()
        self.registry = Registry(self._start, self.rows, self.clock, cap, lambda: None)
        self.seen: list[tuple[str, object]] = []

    def _start(self, study_id: str, life: int) -> FakeStudy:
        study = FakeStudy(study_id, life)
        self.lives.append(study)
        return study

    def living(self) -> list[FakeStudy]:
        return [s for s in self.lives if not s.is_stopped]

    def handle(self, study: FakeStudy, is_resting: bool) -> None:
        self.seen.append((study.study_id, study.queue.pop(0)))
        study.handled += 1
        self.registry.receive(StudyHandled(study.study_id, study.life, study.handled, is_resting))

    def drain(self) -> None:
        while busy := [s for s in self.living() if s.queue]:
            self.handle(busy[0], is_resting=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), max_size=60))
def test_every_message_is_handled_by_one_life_and_the_cap_holds(cap: int, moves: list[tuple[int, bool, bool]]) -> None:
    world = World(cap)
    sent: list[tuple[str, object]] = []
    for number, (study, deliver, is_resting) in enumerate(moves):
        busy = [s for s in world.living() if s.queue]
        if deliver or not busy:
            message = (f"s{study}", InstancesArrived(new=number + 1))
            sent.append(message)
            world.registry.receive(ForStudy(*message))
        else:
            world.handle(busy[study % len(busy)], is_resting)
        assert len(world.living()) <= cap
        ids = [s.study_id for s in world.living()]
        assert len(ids) == len(set(ids)), "two actors of one study"
    world.drain()
    assert images_of(world.seen) == images_of(sent)  # arrivals may join on the way; none is lost or counted twice


def images_of(messages: list[tuple[str, object]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for study_id, message in messages:
        assert isinstance(message, InstancesArrived)
        total[study_id] += message.new
    return total


def test_a_crowd_of_images_for_a_study_that_waits_takes_the_room_of_one_message() -> None:
    world = World(cap=1)
    world.registry.receive(ForStudy("busy", LookAgain()))
    for _ in range(10_000):
        world.registry.receive(ForStudy("waits", InstancesArrived(new=2, duplicates=1)))
        world.registry.receive(ForStudy("waits", LookAgain()))
    world.drain()
    assert world.seen[1:] == [("waits", InstancesArrived(20_000, 10_000)), ("waits", LookAgain())]


def test_a_study_that_crashes_is_woken_again_and_given_up_after_three_times() -> None:
    world = World(cap=4)
    world.registry.receive(ForStudy("s", LookAgain()))
    for _ in range(CRASHES_MAX):
        life = world.lives[-1]
        life.is_stopped = True
        world.registry.receive(StudyCrashed("s", life.life))
    assert world.rows.given_up == ["s"]
    assert len(world.lives) == CRASHES_MAX


def test_crashes_long_apart_are_not_added_up() -> None:
    world = World(cap=4)
    world.registry.receive(ForStudy("s", LookAgain()))
    for _ in range(CRASHES_MAX + 2):
        life = world.lives[-1]
        life.is_stopped = True
        world.registry.receive(StudyCrashed("s", life.life))
        world.clock.advance(3600)
    assert world.rows.given_up == []


def test_news_of_an_earlier_life_changes_nothing() -> None:
    world = World(cap=1)
    world.registry.receive(ForStudy("s", LookAgain()))
    first = world.lives[-1]
    first.is_stopped = True
    world.registry.receive(StudyCrashed("s", first.life))
    second = world.lives[-1]
    world.registry.receive(StudyHandled("s", first.life, 1, is_resting=True))
    world.registry.receive(ForStudy("t", LookAgain()))
    assert second in world.living()
    assert [s.study_id for s in world.living()] == ["s"]
    world.drain()
    assert {study for study, _ in world.seen} == {"s", "t"}


def test_a_wall_clock_that_jumps_wakes_everything() -> None:
    world = World(cap=4)
    world.rows.unfinished = lambda: ["s"]  # type: ignore[method-assign]
    world.registry.receive(Sweep())
    assert world.lives == []
    world.clock._timestamp += 3600
    world.registry.receive(Sweep())
    assert [s.study_id for s in world.lives] == ["s"]
