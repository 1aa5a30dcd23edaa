"""The command line of `ci/lab`."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from labkit import net
from labkit.base import Failed, Misused, say
from labkit.lab import PMDS, Lab

EPILOG = """nodes: client fe1 be1 be2 ...
LAB=name in the environment selects one of several labs.
exit codes: 0 done, 1 failed, 2 wrong usage; exec and capture return the status of CMD"""


def main(arguments):
    """Does what the command line says; returns the exit code."""
    try:
        words, command = _split(arguments)
        options = _parser().parse_args(words)
        wants_command = options.do in (_exec, _capture)
        if wants_command and not command:
            raise Misused("there is no command behind --")
        if not wants_command and command is not None:
            raise Misused("only exec and capture take a command behind --")
        options.command = command
        return options.do(Lab(os.environ.get("LAB") or "baton"), options) or 0
    except Misused as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads us has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 1


def _split(arguments):
    """What is in front of `--`, and what is behind it."""
    if "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1:]


def _parser():
    parser = argparse.ArgumentParser(prog="ci/lab", epilog=EPILOG, description="A Baton cluster on this machine.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name, do, text, usage=None):
        command = commands.add_parser(name, help=text, description=text, usage=usage)
        command.set_defaults(do=do)
        return command

    up = add("up", _up, "build and start the lab, wait until the VIP answers")
    up.add_argument("--backends", type=_number(1, net.BACKENDS_MAX), default=2, metavar="N")
    up.add_argument("--pmd", choices=PMDS, default="af_packet")
    up.add_argument("--ipv6", action="store_true", help="IPv6 addresses alone, fd77::/64: curl -g 'http://[fd77::100]/'")
    up.add_argument("--docroot", metavar="DIR", help="files to serve; without it the lab makes a few")
    up.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                    help="override a configuration key (dotted) on every node that has it")
    add("down", _down, "take everything away, also after a crash")
    add("status", _status, "show the nodes").add_argument("--json", action="store_true")
    command = add("exec", _exec, "run a command in a node's namespace", "ci/lab exec NODE -- CMD...")
    command.add_argument("node")
    command = add("kill", _kill, "send a node a signal (KILL)")
    command.add_argument("node")
    command.add_argument("signal", nargs="?", default="KILL")
    add("start", _start, "start a node that was killed").add_argument("node")
    command = add("logs", _logs, "print a node's log")
    command.add_argument("node")
    command.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    add("metrics", _metrics, "print a node's metrics").add_argument("node")
    command = add("capture", _capture, "run a command at the client and leave a pcap of its packets",
                  "ci/lab capture [--side client|cluster|NODE] FILE.pcap -- CMD...")
    command.add_argument("--side", default="client", help="at the client, on the cluster's side of the fault injector, or on a node's link")
    command.add_argument("file")
    _add_impair(add("impair", _impair, "inject faults between client and cluster, in each direction; off: stop"))
    return parser


def _add_impair(command):
    command.add_argument("off", nargs="?", choices=["off"])
    command.add_argument("--seed", type=_number(0, 2**64 - 1), metavar="S")
    for name, text in [("loss", "lost"), ("dup", "doubled"), ("reorder", "overtaken"), ("corrupt", "corrupted"),
                       ("mark", "marked for congestion, of those that may be")]:
        command.add_argument(f"--{name}", type=_share, metavar="P", help=f"share of packets that are {text}, 0 to 1")
    command.add_argument("--delay", type=_number(0, 10_000), metavar="MS", help="one way, in each direction")
    command.add_argument("--rate", type=_number(1, 100_000), metavar="MBIT", help="rate of the link in Mbit/s, in each direction; else the machine's")


def _number(low, high):
    def number(text):
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return int(text)
    return number


def _share(text):
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return share


def _up(lab, options):
    # A terminated `up` takes away what it has made, like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    lab.up(options.backends, options.pmd, options.docroot, options.set, options.ipv6)
    print("\n".join(lab.shell_lines()))


def _down(lab, _):
    lab.down()


def _status(lab, options):
    status = lab.status()
    if options.json:
        print(json.dumps(status, indent=2))
        return
    print(f"lab {status['lab']}, VIP {status['vip']}, {status['pmd']}, faults {'on' if status['impair']['on'] else 'off'}")
    for node in status["nodes"]:
        state = f"pid {node['pid']}" if node["running"] else f"not running (exit code {node['exit_code']})"
        print(f"{node['name']:6} {node['address']:14} {node['namespace']:20} {state}")


def _exec(lab, options):
    command = lab.inside(options.node, options.command)
    sys.stdout.flush()
    os.execvp(command[0], command)


def _kill(lab, options):
    lab.kill(options.node, options.signal)


def _start(lab, options):
    lab.start(options.node)


def _logs(lab, options):
    path = lab.log(options.node)
    if options.follow:
        os.execvp("tail", ["tail", "-n", "+1", "-F", str(path)])
    with path.open("rb") as log:
        shutil.copyfileobj(log, sys.stdout.buffer)


def _metrics(lab, options):
    sys.stdout.write(lab.metrics(options.node))


def _capture(lab, options):
    path = Path(options.file)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise Misused(f"{path} cannot be a file")
    if options.side not in ("client", "cluster"):
        lab.need_node(options.side)
    command = lab.inside("client", options.command)
    with lab.capture(options.side, path.absolute()):
        child = subprocess.Popen(command)
        # Ctrl-C is the command's to handle; the capture ends with it.
        with contextlib.suppress(KeyboardInterrupt):
            child.wait()
        code = child.wait()
    return code if code >= 0 else 128 - code


def _impair(lab, options):
    faults = {name: getattr(options, name) for name in ("seed", "loss", "dup", "reorder", "corrupt", "mark", "delay", "rate")}
    if options.off:
        if any(value is not None for value in faults.values()):
            raise Misused("off takes nothing else")
        lab.settings
        lab.injector().off()
        return
    if options.seed is None:
        raise Misused("impair needs --seed S, or off")
    lab.settings
    lab.injector().on(faults)
    say("faults are on; ci/lab impair off ends them")
