"""What nodes say to each other, captured, opened with the cluster's secret and read with the dissector for Wireshark."""

import time
from pathlib import Path

from labkit.base import ROOT, run
from labkit.client import Connection, check_bytes
from labkit.runner import case, expect
from labtests.wishes import call, wait_for

DISSECTOR = ROOT / "stack/tools/wireshark/baton.lua"
KINDS = {16: "HANDOFF", 18: "INSTALLED", 19: "ROUTED", 20: "DONE", 48: "CLOSED"}
SECONDS_MAX = 5


def unseal(lab, sealed):
    """The capture with its datagrams in clear, and what `tcb` said of it."""
    program = Path(lab.settings["programs"]) / "tcb"
    expect(program.is_file(), f"there is no {program}; cargo builds it from the package baton-tools")
    opened = sealed.with_suffix(".open.pcap")
    done = run(program, "unseal", "--secret", lab.folder / "cluster.key", sealed, opened)
    return opened, done.stderr.strip()


def fields(capture, wanted, *names):
    """Of each frame that the filter `wanted` finds the named fields, each as a list."""
    words = [word for name in names for word in ("-e", name)]
    done = run("tshark", "-n", "-X", f"lua_script:{DISSECTOR}", "-r", capture, "-Y", wanted, "-T", "fields", *words)
    return [[value.split(",") for value in line.split("\t")] for line in done.stdout.splitlines()]


def restart(lab, node):
    """Ends a node and starts it again; comes back when it has joined the cluster."""
    lab.kill(node)
    while lab.process(node).pid():
        time.sleep(0.02)
    lab.start(node)


@case()
def a_move_is_read_in_a_capture(lab, full):
    sealed = lab.folder / "watched.pcap"
    with lab.capture("be2", sealed, ("udp", "port", "9910")):
        # Keys are made from HELLO: a node's other sessions cannot be read, this one's are all new.
        restart(lab, "be2")
        with Connection(lab) as client:
            check_bytes(client.get("/be1/bytes/10000?seed=1"), 1, 10_000, "be1")
            entry = wait_for(lab, client, "be1")
            end = time.monotonic() + SECONDS_MAX
            while call(lab, "fe1", f"/v1/connections/{entry['id']}/move?to=be2", "POST")[0] != 202:
                expect(time.monotonic() < end, "be2 does not come back")
                time.sleep(0.05)
            moved = wait_for(lab, client, "be2")
            check_bytes(client.get("/be2/bytes/10000?seed=2"), 2, 10_000, "be2")
    opened, said = unseal(lab, sealed)
    expect(" 0 left sealed" in said, said)
    expect(fields(opened, "baton.malformed || baton.unknown || baton.is_sealed", "frame.number") == [], "experts complain")
    rows = fields(opened, f"baton.conn == 0x{entry['id']}", "ip.src", "ip.dst", "baton.message")
    address = lab.network.address_of
    said = {(source[0], target[0], KINDS.get(int(kind))) for source, target, kinds in rows for kind in kinds}
    for source, target, kind in [("be1", "be2", "HANDOFF"), ("be2", "fe1", "INSTALLED"), ("be2", "be1", "INSTALLED"),
                                 ("fe1", "be2", "ROUTED"), ("be1", "be2", "DONE"), ("be2", "fe1", "CLOSED")]:
        expect((address(source), address(target), kind) in said, f"no {kind} from {source} to {target}: {sorted(map(str, said))}")
    image = fields(opened, f"baton.image.conn == 0x{entry['id']}", "baton.image.client_port", "baton.image.epoch", "baton.image.state")
    expect(image and image[0] == [[str(client.port)], [str(moved["epoch"])], ["2"]], f"the image is {image}")
