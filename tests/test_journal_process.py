import os
import socket
import subprocess
import sys

import pytest

from orchestrator.core.frozen import replace
from orchestrator.journal.process import is_dead, this_process

linux = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc, which only Linux has")


def start(*arguments):
    return subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


WHO = (
    "from orchestrator.journal.process import this_process as t; p = t(); print(p.pid, p.started, flush=True); input()"
)


def test_a_process_is_not_dead_to_itself():
    me = this_process()
    assert me.pid == os.getpid()
    assert me.host == socket.gethostname()
    assert not is_dead(me)


@linux
def test_a_child_is_alive_until_it_is_killed_even_when_nobody_collects_it():
    with start("-c", WHO) as child:
        pid, started = child.stdout.readline().decode().split()
        its = replace(this_process(), pid=int(pid), started=started)
        assert not is_dead(its)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
        assert is_dead(its)
    assert is_dead(its)


@linux
def test_a_pid_that_is_another_process_by_now_is_a_dead_one():
    me = this_process()
    assert is_dead(replace(me, started=str(int(me.started) - 1)))


@linux
def test_whoever_ran_before_this_machine_booted_is_dead():
    me = this_process()
    assert is_dead(replace(me, boot=me.boot.replace(me.boot[:8], "00000000", 1)))


@linux
def test_another_boot_of_another_machine_proves_nothing():
    me = this_process()
    assert not is_dead(replace(me, boot="00000000-0000", host="not-" + me.host))


@linux
def test_a_process_of_another_container_is_never_proven_dead():
    me = this_process()
    assert not is_dead(replace(me, boot=me.boot.replace("pid:[", "pid:[9"), pid=2**22 + 1))


@pytest.mark.parametrize("unknown", [{"boot": ""}, {"started": ""}])
def test_what_is_not_known_proves_nothing(unknown):
    assert not is_dead(replace(this_process(), **unknown))
