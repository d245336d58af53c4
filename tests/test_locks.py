"""One owner of a directory, told by name; who is dead owns nothing."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace

import psutil
import pytest

from ecosystem import locks
from ecosystem.errors import RecordError
from ecosystem.locks import NAME, Owner, locked


def held_by(folder, owner):
    (folder / NAME).write_text(json.dumps(asdict(owner)))


def test_a_lock_is_held_by_one_and_given_back(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            with pytest.raises(RecordError, match="by this very process"), locked(tmp_path):
                raise AssertionError("two have the lock")
            assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert not list(tmp_path.iterdir())


def test_a_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_another_live_process_is_refused_by_name(tmp_path):
    """The parent of this test lives as long as it."""
    held_by(tmp_path, Owner(socket.gethostname(), os.getppid(), psutil.Process(os.getppid()).create_time()))
    words = f"process {os.getppid()} on {socket.gethostname()} is writing into"
    with pytest.raises(RecordError, match=words), locked(tmp_path):
        raise AssertionError
    assert [path.name for path in tmp_path.iterdir()] == [NAME], "the other's lock stays, and nothing beside it"


def test_another_host_is_refused_with_the_file_to_delete(tmp_path):
    held_by(tmp_path, Owner("elsewhere.example", 1, 0.0))
    with pytest.raises(RecordError, match=rf"process 1 on elsewhere.example .* delete {tmp_path / NAME}"):
        locked(tmp_path).__enter__()


def test_a_dead_process_owns_nothing(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = Owner(socket.gethostname(), child.pid, psutil.Process(child.pid).create_time())
    held_by(tmp_path, dead)
    with pytest.raises(RecordError, match=f"process {child.pid}"):
        locked(tmp_path).__enter__()
    child.kill()
    child.wait()
    with locked(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_another_process_of_the_same_number_owns_nothing(tmp_path):
    held_by(tmp_path, replace(Owner.this(), started=Owner.this().started - 100))
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"host": 3}'])
def test_a_lock_that_names_nobody_is_nobody_s(text, tmp_path):
    (tmp_path / NAME).write_text(text)
    with locked(tmp_path):
        pass


def test_who_is_tidied_away_while_it_asks_is_refused(tmp_path, monkeypatch):
    """A file that is open and not yet written names nobody: the owner that tidies takes it for a dead process's."""
    other, link = psutil.Process().parent(), os.link

    def tidied_before(mine, path):
        held_by(tmp_path, replace(Owner.this(), pid=other.pid, started=other.create_time()))
        mine.write_text("")
        locks._tidy(tmp_path)
        link(mine, path)

    monkeypatch.setattr(os, "link", tidied_before)
    with pytest.raises(RecordError, match=f"process {other.pid} on"):
        locked(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_of_many_that_find_a_dead_lock_one_gets_it(tmp_path):
    """Each holds it until all have tried."""
    held_by(tmp_path, replace(Owner.this(), started=0.0))
    (tmp_path / "tried").mkdir()
    program = """
import sys, time
from pathlib import Path
from ecosystem.errors import RecordError
from ecosystem.locks import locked
folder, n = Path(sys.argv[1]), int(sys.argv[2])
input()
try:
    with locked(folder):
        (folder / "tried" / f"{n} got it").touch()
        while len(list((folder / "tried").iterdir())) < 6:
            time.sleep(0.01)
except RecordError:
    (folder / "tried" / f"{n} was refused").touch()
"""
    tried = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(n)], stdin=subprocess.PIPE, text=True)
        for n in range(6)
    ]
    for process in tried:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in tried:
        process.communicate(timeout=60)
    outcome = [path.name.split(" ", 1)[1] for path in (tmp_path / "tried").iterdir()]
    assert sorted(outcome) == ["got it", *["was refused"] * 5]
