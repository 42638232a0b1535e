#!/usr/bin/env python3
"""Runs a command as the subreaper of what it leaves behind, as systemd --user and containers do.

Prints "ended CODE", "inherited PID" for each process that came here, and "gone PID CODE" when one
of these has ended. Ends with the last.

With --be in front the command takes this process' place, and inherits instead.
"""
import ctypes
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36


def children():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            yield int(name)


def code_of(status):
    return os.waitstatus_to_exitcode(status)


def main():
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    argv = sys.argv[1:]
    if argv[0] == "--be":
        os.execvp(argv[1], argv[1:])
    print("ended", subprocess.run(argv).returncode, flush=True)
    for pid in children():
        print("inherited", pid, flush=True)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return
        print("gone", pid, code_of(status), flush=True)


main()
