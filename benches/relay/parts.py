#!/usr/bin/env python3
"""Where the time of a message goes, by parts of the relay.

While the benchmark runs (docs/benchmarks.md has the whole command):
    perf record --call-graph dwarf,16384 -F 999 -o perf.data -p PID -- sleep 3
    perf script -i perf.data --no-inline -F comm,ip,sym | benches/relay/parts.py MICROSECONDS
where MICROSECONDS is the CPU time of a message as the benchmark prints it. Each sample goes to
the first part of the list that has a function on its stack.
"""
import collections
import sys

# Part, and what tells it: the innermost comes first.
PARTS = [
    ("log lines", ["Stderr as std::io::Write", "tracing_subscriber"]),
    ("audit: a line for each event", ["Staged::deliver_events"]),
    ("journal: fdatasync", ["fdatasync", "sync_data"]),
    ("journal: seal", ["journal::record::Draft", "stage::Stage::write"]),
    ("index: look-ups and changes", ["journal::txn::", "journal::index::Index::", "journal::apply::"]),
    ("index: checkpoint into sled", ["journal::keeper::", "sled::"]),
    ("mark of an attempt", ["queue::shared::Mark", "journal::slots::"]),
    ("journal: write", ["write_all_at", "pwrite"]),
    ("journal: the rest of the committer", ["journal::committer::"]),
    ("accept: network", ["ingress::transport::"]),
    ("accept: header, Received line", ["message::"]),
    ("accept: SMTP and session", ["ingress::"]),
    ("delivery: network", ["delivery::pump::Pump::poll", "sys::dial::", "delivery::pump::"]),
    ("delivery: connecting, greeting, QUIT", ["open::", "Connection::quit", "hang_up", "set_up"]),
    ("delivery: session and walk", ["delivery::"]),
    ("outcome: settlement and evidence", ["outcome::"]),
    ("queue", ["queue::"]),
    ("runtime: waking, waiting, stealing", [""]),
]


def samples(lines):
    stack = []
    for line in lines:
        line = line.strip()
        if not line:
            if stack:
                yield stack
            stack = []
        elif " " in line and not line[0].isspace():
            stack.append(line.split(" ", 1)[1])
    if stack:
        yield stack


def main():
    micros = float(sys.argv[1])
    user, kernel = collections.Counter(), collections.Counter()
    for stack in samples(sys.stdin):
        whole = "\n".join(stack)
        part = next(name for name, marks in PARTS if any(mark in whole for mark in marks))
        in_kernel = any(mark in whole for mark in ("entry_SYSCALL", "asm_", "do_syscall"))
        (kernel if in_kernel else user)[part] += 1
    total = sum(user.values()) + sum(kernel.values())
    print("| part | microseconds | of these in the kernel |\n| --- | ---: | ---: |")
    for name, _ in PARTS:
        whole = (user[name] + kernel[name]) * micros / total
        if whole >= 0.05:
            print(f"| {name} | {whole:.1f} | {kernel[name] * micros / total:.1f} |")
    print(f"| all | {micros:.0f} | {sum(kernel.values()) * micros / total:.0f} |")


main()
