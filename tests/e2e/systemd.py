"""Plays systemd's part for one service: holds its listening sockets, and starts it with them.

systemd.py hold PATH ADDRESS...      listens on HOST:PORT..., gives the sockets to whoever
                                     connects to the Unix socket PATH, until its stdin ends
systemd.py exec PATH PROGRAM ARG...  runs the program; for `serve` with the held sockets from
                                     descriptor 3 on (sd_listen_fds(3)) and a watchdog of one second
"""
import fcntl
import os
import select
import socket
import sys


def hold(path, addresses):
    sockets = []
    for address in addresses:
        host, port = address.rsplit(":", 1)
        listener = socket.create_server((host, int(port)), backlog=1024)
        sockets.append(listener)
    giver = socket.socket(socket.AF_UNIX)
    giver.bind(path + ".new")
    giver.listen()
    os.rename(path + ".new", path)
    while giver in select.select([giver, sys.stdin], [], [])[0]:
        taker, _ = giver.accept()
        socket.send_fds(taker, [b"-"], [s.fileno() for s in sockets])
        taker.close()


def take(path):
    with socket.socket(socket.AF_UNIX) as taker:
        taker.connect(path)
        _, held, _, _ = socket.recv_fds(taker, 1, 64)
    # Out of the way first: a descriptor may already have the number of another's place.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in held]
    for place, fd in enumerate(high, 3):
        os.dup2(fd, place, inheritable=True)
        os.close(fd)
    me = str(os.getpid())
    os.environ.update(
        LISTEN_PID=me,
        LISTEN_FDS=str(len(held)),
        LISTEN_FDNAMES=":".join(["postern"] * len(held)),
        WATCHDOG_PID=me,
        WATCHDOG_USEC="1000000",
    )


if sys.argv[1] == "hold":
    hold(sys.argv[2], sys.argv[3:])
else:
    if "serve" in sys.argv:
        take(sys.argv[2])
    os.execv(sys.argv[3], sys.argv[3:])
