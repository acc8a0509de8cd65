# A Python that has the libraries already: `python [-u] -m MODULE | -c CODE | FILE, ARGUMENTS` runs in a process that is
# forked from the one that loaded them (process.py), with this one's arguments, folder, environment and standard
# streams. Signals are passed on; the program ends with this one, and this one as the program does. It knows no other
# option, and reads at its own start what the libraries read at theirs: set OMP_NUM_THREADS and the like before that.
import json
import os
import signal
import socket
import sys

connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect(__file__.rpartition("/")[0] + "/socket")  # pathlib would take as long as all the rest
task = {"executable": __file__, "arguments": sys.argv[1:], "cwd": os.getcwd(),  # noqa: PTH109
        "env": dict(os.environ)}
connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
socket.send_fds(connection, [json.dumps(task).encode()], [0, 1, 2])
pid = int(connection.recv(64))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(pid, number))
code = os.waitstatus_to_exitcode(int(connection.recv(64)))
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
