"""Clients that other people wrote: curl, wrk, h2load."""

import re
import subprocess
import tempfile
from pathlib import Path

from labkit import net
from labkit.client import compare
from labkit.content import content
from labkit.runner import case, expect

URL = f"http://{net.VIP}"
WRK_SCRIPT = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/be" .. (1 + n % 2) .. "/bytes/2000?seed=1")
end
"""


def at_client(lab, *words, seconds=60):
    """Runs a program at the client; returns what it printed."""
    done = subprocess.run(lab.inside("client", words), capture_output=True, timeout=seconds)
    expect(done.returncode == 0, f"{words[0]} ended with {done.returncode}: {done.stderr.decode().strip()[-200:]}")
    return done.stdout


@case()
def curl(lab, full):
    """Two back-ends, one connection, in one command."""
    paths = [f"/be{1 + seed % 2}/bytes/50000?seed={seed}" for seed in range(6)]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [word for number in range(6) for word in ("-o", f"{folder}/{number}")]
        line = r"%{local_port} %{num_connects} %{http_code} %header{x-baton-backend}\n"
        told = at_client(lab, "curl", "-sS", *outputs, "-w", line, *(URL + path for path in paths)).decode().split("\n")[:6]
        for seed in range(6):
            compare(Path(f"{folder}/{seed}").read_bytes(), content(seed, 50_000), paths[seed])
    fields = [line.split() for line in told]
    expect(len({port for port, *_ in fields}) == 1, f"more than one connection: {told}")
    expect([row[3] for row in fields] == ["be1", "be2"] * 3, f"answered by {told}")
    expect(sum(int(row[1]) for row in fields) == 1, f"curl connected anew: {told}")


@case()
def curl_posts(lab, full):
    body = content(4, 300_000)
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        compare(at_client(lab, "curl", "-sS", "--data-binary", f"@{file.name}", f"{URL}/be2/echo"), body, "echo")
        compare(at_client(lab, "curl", "-sS", "-T", file.name, "-H", "Transfer-Encoding: chunked", f"{URL}/be1/echo"), body,
                "chunked echo")


@case()
def wrk(lab, full):
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT)
        script.flush()
        seconds = 30 if full else 5
        told = at_client(lab, "wrk", "-t1", "-c32", f"-d{seconds}s", "-s", script.name, f"{URL}/").decode()
    expect("Socket errors" not in told and "Non-2xx" not in told, told)
    requests = int(re.search(r"(\d+) requests in", told)[1])
    expect(requests > 500, told)
    return f"{requests} requests, {re.search(r'Requests/sec: +(.*)', told)[1]} a second"


@case()
def h2load_pipelining(lab, full):
    count = 20_000 if full else 4_000
    urls = [f"{URL}/be1/bytes/1000?seed=1", f"{URL}/be2/bytes/3000?seed=2"]
    told = at_client(lab, "h2load", "--h1", "-n", count, "-c", "16", "-m", "8", *urls, seconds=120).decode()
    expect(re.search(rf"{count} succeeded, 0 failed, 0 errored, 0 timeout", told), told)
    return re.search(r"finished in .*", told)[0]
