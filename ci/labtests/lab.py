"""The lab itself: captures, faults, several labs, other drivers, nothing left behind."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from labkit import net, pcap
from labkit.base import ROOT, STATE
from labkit.client import Connection, check_bytes
from labkit.lab import Lab
from labkit.runner import case, expect
from labtests.death import revive
from labtests.transfer import pipelined, sequential


@case()
def a_capture_is_complete(lab, full):
    with tempfile.TemporaryDirectory() as folder:
        for side in ("client", "cluster"):
            path = Path(folder) / f"{side}.pcap"
            with lab.capture(side, path), Connection(lab) as connection:
                check_bytes(connection.get("/be1/bytes/2000000?seed=1"), 1, 2_000_000, "be1")
            mine = [segment for segment in pcap.segments(path) if connection.port in (segment.source[1], segment.target[1])]
            expect(mine and mine[0].flags & pcap.SYN, f"{side}: the SYN is missing")
            expect(any(segment.flags & pcap.FIN for segment in mine), f"{side}: the FIN is missing")
            came = [segment for segment in mine if segment.source[0] == lab.network.vip]
            got = (pcap.next_expected(came) - came[0].seq) % pcap.SEQUENCE
            expect(got > 2_000_000, f"{side}: {got} bytes of the sequence space are in the capture")


@case()
def faults_are_seeded_and_counted(lab, full):
    injector = lab.injector()
    injector.on({"seed": 5, "loss": 0.05, "delay": 30})
    try:
        before = injector.status()
        began = time.monotonic()
        sequential(lab, 4, 20_000, timeout=60)
        expect(time.monotonic() - began > 5 * 0.06, "there is no delay")
        after = injector.status()
        for side in ("from_client", "from_cluster"):
            expect(after[side]["received"] > before[side]["received"], f"nothing came through {side}")
        lost = sum(after[side]["lost"] - before[side]["lost"] for side in ("from_client", "from_cluster"))
        expect(lost > 0, "nothing was lost")
    finally:
        injector.off()
    expect(not injector.status()["on"], "the injector is still on")
    began = time.monotonic()
    sequential(lab, 2, 1_000)
    expect(time.monotonic() - began < 1, "there is still a delay")


@case()
def two_labs_at_once(lab, full):
    other = Lab("e2e-other")
    other.down()
    try:
        other.up(backends=1)
        for which in (lab, other):
            with Connection(which) as connection:
                check_bytes(connection.get("/be1/bytes/10000?seed=1"), 1, 10_000, "be1")
    finally:
        other.down()
    sequential(lab, 4, 10_000)


@case()
def down_leaves_nothing(lab, full):
    """Also when `up` was killed in the middle, and when something still runs inside."""
    other = Lab("e2e-brief")
    other.down()
    environment = {"LAB": other.name, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    programs = {"BATON_BIN": lab.settings["programs"]}
    up = subprocess.Popen([sys.executable, ROOT / "ci/lab", "up"], env=environment | programs,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.7)
    up.kill()
    up.wait()
    inside = None
    if net.namespace(other.name, "client") in net.namespaces_of(other.name):
        inside = subprocess.Popen(net.inside(other.name, "client", "sleep", "1000"))
    other.down()
    other.down()
    if inside:
        expect(inside.wait(5) != 0, "what ran inside still runs")
    expect(net.namespaces_of(other.name) == [], f"left: {net.namespaces_of(other.name)}")
    expect(not (STATE / other.name).exists(), "its folder is left")
    expect(not list(Path("/var/run").glob(f"dpdk/{other.name}-*")), "EAL's files are left")


@case(overrides=("limits.head_bytes=512", "admin.listen=127.0.0.1:9955", "log.level=debug", "port.mtu=1400"))
def set_overrides_every_node(lab, full):
    expect("baton_" in lab.metrics("be1"), "no metrics on the other admin address")
    with Connection(lab) as connection:
        check_bytes(connection.get("/be1/bytes/10000?seed=1"), 1, 10_000, "be1")
        status = connection.get(f"/be2/bytes/1?{'x' * 600}").status
        expect(status in (414, 431), f"a head above limits.head_bytes has status {status}")


@case(pmd="af_xdp")
def the_af_xdp_driver(lab, full):
    sequential(lab, 20, 100_000)
    pipelined(lab, [50_000] * 16)


@case(pmd="tap")
def the_tap_driver(lab, full):
    sequential(lab, 20, 100_000)
    pipelined(lab, [50_000] * 16)
    lab.kill("be2")
    revive(lab, "be2")
