"""Responses do not pass the front-end."""

import tempfile
from pathlib import Path

from labkit import net, pcap
from labkit.client import Connection, check_bytes
from labkit.runner import case, expect
from labkit.scrape import Watch
from labtests.transfer import BOTH

REQUESTS = 40
LENGTH = 500_000
# What ACK forwarding costs at most: a 66-byte ACK for each full segment of 1,448 bytes, and the handoffs.
SHARE_MAX = 66 / 1448 + 0.015


@case()
def no_response_byte_passes_the_front_end(lab, full):
    watch = Watch(lab, lab.nodes())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fe1.pcap"
        with lab.capture("fe1", path), Connection(lab) as connection:
            for seed in range(REQUESTS):
                backend = BOTH[seed % 2]
                check_bytes(connection.get(f"/{backend}/bytes/{LENGTH}?seed={seed}"), seed, LENGTH, backend)
        segments = list(pcap.segments(path))
        sent = sum(len(frame) for _, frame in pcap.frames(path) if frame[6:12].hex(":") == net.mac_of("fe1"))
    passed = sum(segment.length for segment in segments if segment.source == (lab.network.vip, 80))
    expect(passed == 0, f"{passed} response bytes were on the front-end's link")
    forwarded = [segment for segment in segments
                 if segment.source_mac == net.mac_of("fe1") and segment.source[0] == lab.network.client]
    expect(len(forwarded) > REQUESTS, f"only {len(forwarded)} client segments were forwarded")
    total = REQUESTS * LENGTH
    share = sent / total
    expect(share <= SHARE_MAX, f"the front-end sent {share:.4f} bytes per response byte; ACKs cost {SHARE_MAX:.4f} at most")
    counted = watch.grown("fe1", "baton_port_tx_bytes_total")
    expect(0.9 * sent <= counted <= 1.2 * sent + 20_000, f"fe1 counted {counted:.0f} bytes sent, {sent} were on its link")
    answered = sum(watch.grown(node, "baton_port_tx_bytes_total") for node in BOTH)
    expect(answered >= total, f"the back-ends counted {answered:.0f} bytes sent of {total}")
    return f"{share:.4f} bytes sent by the front-end for each of {total} response bytes"
