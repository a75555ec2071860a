"""Events on the disk: what another process finds there, whatever happened to this one."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from meterline import Problem, Refused, SpoolFailed, UsageEvent
from meterline._spool import Spool, name_of

PROBLEM = Problem("urn:meterline:problem:forbidden", "Not allowed", "because", 403)


def event(event_id: str = "a", quantity: int = 1) -> UsageEvent:
    return UsageEvent.new("cus_1", "read", quantity, event_id=event_id)


def waiting(spool: Spool) -> list[UsageEvent]:
    events, _ = spool.read(spool.names())
    return list(events.values())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_event_is_in_the_documented_place(tmp_path: Path) -> None:
    # printf 'cus_1\na' | sha256sum
    name = "7dd7c8f630fdc1ad6ee2ae66aae5ef43e214d15b1c72e6eba8b8f4ce3209d42e"
    Spool(tmp_path / "spool").put(event())
    assert files(tmp_path / "spool") == [f"waiting/{name}.json"]
    path = tmp_path / "spool" / "waiting" / f"{name}.json"
    assert json.loads(path.read_text()) == {"event": event().to_json()}


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").put(event())
    for path in (tmp_path / "spool").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_another_process_finds_it(tmp_path: Path) -> None:
    Spool(tmp_path).put(event())
    assert waiting(Spool(tmp_path)) == [event()]


def test_what_waits_comes_oldest_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for age, name in enumerate("cab"):
        spool.put(event(name))
        os.utime(tmp_path / "waiting" / f"{name_of(event(name))}.json", (1000 + age, 1000 + age))
    assert [each.event_id for each in waiting(spool)] == ["c", "a", "b"]


def test_the_same_content_is_taken_over_and_another_is_a_conflict(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(event())
    spool.put(event())
    with pytest.raises(Refused) as refused:
        spool.put(event(quantity=2))
    assert refused.value.type == "urn:meterline:problem:conflict"
    assert waiting(spool) == [event()]


def test_an_event_is_kept_with_its_reservation_and_taken_over_without(tmp_path: Path) -> None:
    reserved = UsageEvent.new("cus_1", "read", event_id="a", reservation_id="run-7")
    spool = Spool(tmp_path)
    assert spool.put(reserved)
    assert not spool.put(event())
    assert waiting(Spool(tmp_path)) == [reserved]


def test_what_is_recorded_is_removed_once_or_twice(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(event())
    spool.remove(name_of(event()))
    spool.remove(name_of(event()))
    assert files(tmp_path) == []


def test_what_is_refused_is_kept_with_the_reason(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(event())
    spool.set_aside(name_of(event()), event(), PROBLEM)
    spool.set_aside(name_of(event()), event(), PROBLEM)
    path = tmp_path / "refused" / f"{name_of(event())}.json"
    assert files(tmp_path) == [str(path.relative_to(tmp_path))]
    document = json.loads(path.read_text())
    assert document["event"] == event().to_json()
    assert document["problem"]["type"] == PROBLEM.type
    assert (spool.state().waiting, spool.state().set_aside) == (0, 1)


def test_one_id_refused_with_two_contents_is_kept_twice(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for quantity in (1, 2):
        spool.put(event(quantity=quantity))
        spool.set_aside(name_of(event()), event(quantity=quantity), PROBLEM)
    assert spool.state().set_aside == 2


def test_a_file_in_the_way_that_cannot_be_read_is_kept_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(event())
    in_the_way = tmp_path / "refused" / f"{name_of(event())}.json"
    in_the_way.write_text("{")
    spool.set_aside(name_of(event()), event(), PROBLEM)
    assert in_the_way.read_text() == "{"
    assert (spool.state().waiting, spool.state().set_aside) == (0, 2)


def test_a_file_that_cannot_be_read_is_set_aside_and_keeps_no_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(event())
    for name, content in {"x": "{", "y": "[]", "z": '{"event": {"event_id": 7}}'}.items():
        (tmp_path / "waiting" / f"{name}.json").write_text(content)
    assert waiting(spool) == [event()]
    assert (spool.state().waiting, spool.state().set_aside) == (1, 3)


def test_what_cannot_be_read_hides_nothing_that_was_set_aside_before(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.set_aside(name_of(event()), event(), PROBLEM)
    (tmp_path / "waiting" / f"{name_of(event())}.json").write_text("{")
    assert waiting(spool) == []
    assert (spool.state().waiting, spool.state().set_aside) == (0, 2)


def test_a_file_that_the_system_does_not_open_keeps_no_other_from_being_read(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path)
    spool.put(event())
    (tmp_path / "waiting" / "folder.json").mkdir()
    assert spool.read(spool.names()) == ({name_of(event()): event()}, 1)


def test_what_is_moved_back_from_aside_is_settled_under_its_name(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.set_aside(name_of(event()), event(), PROBLEM)
    (aside,) = (tmp_path / "refused").iterdir()
    aside.rename(tmp_path / "waiting" / "a-2.json")
    assert spool.read(spool.names()) == ({"a-2": event()}, 0)
    spool.set_aside("a-2", event(), PROBLEM)
    assert (spool.state().waiting, spool.state().set_aside) == (0, 1)


def test_what_a_killed_process_was_writing_is_swept_after_an_hour(tmp_path: Path) -> None:
    Spool(tmp_path)
    (tmp_path / "old.tmp").write_text("{")
    os.utime(tmp_path / "old.tmp", (1000, 1000))
    (tmp_path / "new.tmp").write_text("{")
    Spool(tmp_path)
    assert files(tmp_path) == ["new.tmp"]


def test_a_spool_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolFailed):
        Spool(tmp_path / "file")


def test_an_event_that_cannot_be_written_is_an_error_that_may_pass(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (tmp_path / "waiting").rmdir()
    with pytest.raises(SpoolFailed) as failed:
        spool.put(event())
    assert (failed.value.event_id, failed.value.retryable) == ("a", True)
    assert files(tmp_path) == []


@pytest.fixture
def folders_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the disk take files, and not their names."""
    sync = os.fsync

    def fail_at_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError("the disk is gone")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_at_folders)


@pytest.mark.usefixtures("folders_fail")
def test_an_event_whose_name_the_disk_does_not_take_is_not_there(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(SpoolFailed) as failed:
        spool.put(event())
    assert failed.value.event_id == "a"
    assert files(tmp_path) == []


@pytest.mark.usefixtures("folders_fail")
def test_an_event_that_can_neither_stay_nor_go_is_said_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, missing_ok: bool = False) -> None:
        raise OSError("read-only")

    spool = Spool(tmp_path)
    with monkeypatch.context() as disk:
        disk.setattr(Path, "unlink", fail)
        with pytest.raises(SpoolFailed, match="the disk is gone; it stays there, and may be sent"):
            spool.put(event())
    assert waiting(spool) == [event()]


@pytest.mark.usefixtures("folders_fail")
def test_what_is_not_set_aside_for_good_waits_still(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (tmp_path / "waiting" / f"{name_of(event())}.json").write_text(
        json.dumps({"event": event().to_json()})
    )
    with pytest.raises(OSError, match="gone"):
        spool.set_aside(name_of(event()), event(), PROBLEM)
    assert (spool.state().waiting, spool.state().set_aside) == (1, 0)


def test_an_event_is_written_though_its_draft_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    unlink = Path.unlink

    def keep_drafts(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".tmp":
            raise OSError("read-only")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", keep_drafts)
    assert spool.put(event())
    assert not spool.put(event())
    assert waiting(spool) == [event()]


@pytest.mark.parametrize("folder", ["waiting", "refused"])
@pytest.mark.parametrize("becomes", ["nothing", "a file"])
def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    tmp_path: Path, folder: str, becomes: str
) -> None:
    spool = Spool(tmp_path)
    (tmp_path / folder).rmdir()
    if becomes == "a file":
        (tmp_path / folder).write_text("")
    with pytest.raises(SpoolFailed, match=folder) as failed:
        spool.state()
    assert failed.value.retryable


def test_threads_that_put_and_remove_one_event_break_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)

    def work() -> None:
        for _ in range(50):
            spool.put(event())
            spool.remove(name_of(event()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files(tmp_path) == []
