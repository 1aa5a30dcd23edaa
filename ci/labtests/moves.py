"""What moves cost a client, in a short form beside one back-end alone; and long fetches that move again and again in the worst weather.

`ci/figures moves` prints the long form of the figures.
"""

import statistics
import threading

from labkit import moves
from labkit.client import Connection, check_bytes, request
from labkit.content import content
from labkit.runner import case, expect
from labkit.scrape import Watch
from labtests.transfer import BOTH, check_epochs

# The bounds of the short forms are those of a busy machine; what is asked of the stack stands at the figures in docs/performance.md.
GAP_MS_MAX = 5
STREAM_SHARE_SHORT = 0.9

# Moves of one connection whose responses can be prepared.
PREPARED = 20

# A fetch: pieces of one 8 MB download, each from the other back-end than the one before.
PIECES, PIECE_BYTES = 16, 500_000
FETCHES, FETCHES_FULL, AT_ONCE = 20, 1_000, 5
WEATHER = {"loss": 0.03, "dup": 0.01, "reorder": 0.05, "corrupt": 0.002, "delay": None}


@case()
def gaps_of_moves(lab, full):
    moved, alone = (moves.Spread.of(seconds) for seconds in moves.gaps(lab, 1_000 if full else 100))
    note = f"{moved} across a move, {alone} from one back-end"
    expect(moved.p50 <= GAP_MS_MAX, f"the stream stands still: {note}")
    return note


@case()
def first_bytes_of_moves(lab, full):
    moved, stayed = (moves.Spread.of(seconds) for seconds in moves.first_bytes(lab, 1_000 if full else 100))
    note = f"{moved} with a move, {stayed} without"
    expect(moved.p50 <= stayed.p50 + GAP_MS_MAX, f"a move delays the first byte: {note}")
    return note


@case()
def a_stream_that_moves_is_as_fast(lab, full):
    moving, staying = moves.streams(lab, 200 if full else 30, 5 if full else 2)
    share = statistics.median(a / b for a, b in zip(moving, staying))
    expect(share >= (moves.STREAM_SHARE if full else STREAM_SHARE_SHORT), f"a stream that moves has {share:.3f} of the goodput")
    return f"{share:.3f} of the goodput of one back-end"


@case()
def moves_use_what_was_prepared(lab, full):
    """Each back-end hears of its next request while the other one still sends, and answers with what it has opened and read by then."""
    watch = Watch(lab, BOTH)
    wanted = [(BOTH[n % 2], n) for n in range(PREPARED + 1)]
    with Connection(lab) as connection:
        connection.send(b"".join(request(f"/{backend}/bytes/{PIECE_BYTES}?seed={seed}") for backend, seed in wanted))
        for backend, seed in wanted:
            check_bytes(connection.response(), seed, PIECE_BYTES, backend)
    events = {name: sum(watch.grown(node, "baton_prefetches_total", event=name) for node in BOTH) for name in ("used", "stale", "expired", "void")}
    expect(events["used"] + events["stale"] == PREPARED, f"{PREPARED} moves, and {events}")
    expect(events["used"] >= PREPARED * 0.8, f"most words come too late: {events}")
    return f"{events['used']:.0f} of {PREPARED}"


@case()
def fetches_in_the_worst_weather(lab, full):
    """Every byte is right, and no connection is reset, neither by the cluster nor as lost by its client."""
    watch = Watch(lab, lab.nodes())
    lab.injector().on({"seed": 4} | WEATHER)
    try:
        moved = _fetches(lab, FETCHES_FULL if full else FETCHES)
    finally:
        lab.injector().off()
    resets = sum(watch.grown(node, "baton_resets_total") for node in lab.nodes())
    expect(resets == 0, f"{resets:.0f} connections were reset")
    return f"{moved} moves"


def _fetches(lab, count):
    """So many, a few at once; the first error is raised. Returns the number of moves."""
    errors, left, lock, moved = [], iter(range(count)), threading.Lock(), []
    for seed in range(PIECES):
        content(seed, PIECE_BYTES)

    def some():
        while not errors:
            with lock:
                number = next(left, None)
            if number is None:
                return
            try:
                moved.append(_fetch(lab, number))
            except Exception as error:
                errors.append(type(error)(f"{error} (fetch {number + 1} of {count})"))

    threads = [threading.Thread(target=some, daemon=True) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(moved)


def _fetch(lab, number):
    wanted = [(BOTH[(number + piece) % 2], piece) for piece in range(PIECES)]
    with Connection(lab, timeout=60) as connection:
        connection.send(b"".join(request(f"/{backend}/bytes/{PIECE_BYTES}?seed={seed}") for backend, seed in wanted))
        epochs = []
        for backend, seed in wanted:
            response = connection.response()
            check_bytes(response, seed, PIECE_BYTES, backend)
            epochs.append(response.epoch)
    check_epochs(epochs)
    return len(epochs) - 1
