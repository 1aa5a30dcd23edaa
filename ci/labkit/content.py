"""The reproducible bytes of /bytes and /chunked, from their definition and from nothing of the server's.

Byte i of the body for seed S is byte i % 8, little-endian, of mix(S + (i / 8 + 1) * GAMMA) modulo 2^64: SplitMix64 (Steele, Lea and
Flood, OOPSLA 2014). Chunk k of /chunked has 1 + mix(S ^ (CHUNKED + k * GAMMA)) % 8192 bytes, or what is left.

Python is slow with single words, but fast with very large integers. So many words are computed at once, each in a lane of 128 bits:
a product of two words fits into its lane, and no lane disturbs another.

    lane n     | 0 ... 0 | word n |   ...   lane 0   | 0 ... 0 | word 0 |
               128       64       0                  128       64       0
"""

from functools import cache, lru_cache

GAMMA = 0x9E3779B97F4A7C15
CHUNKED = 0x6368756E6B6564
CHUNK_LEN_MAX = 8192
WORD = (1 << 64) - 1
LANE_BYTES = 16
LANES = 4096
BLOCK_BYTES = LANES * 8


def content(seed, length):
    """The first `length` bytes of the content of `seed`."""
    blocks = range((length + BLOCK_BYTES - 1) // BLOCK_BYTES)
    return b"".join(_block(seed, number) for number in blocks)[:length]


def first_difference(got, expected):
    """Where two byte strings first differ, or where the shorter ends; `None` if they are the same."""
    if got == expected:
        return None
    pairs = enumerate(zip(got, expected))
    return next((at for at, (a, b) in pairs if a != b), min(len(got), len(expected)))


def chunk_lengths(seed, length):
    """How long the chunks of /chunked are, the empty last one not counted."""
    lengths, left, index = [], length, 0
    while left > 0:
        chunk = min(left, 1 + mix(seed ^ ((CHUNKED + index * GAMMA) & WORD)) % CHUNK_LEN_MAX)
        lengths.append(chunk)
        left -= chunk
        index += 1
    return lengths


def mix(word):
    """The finisher of SplitMix64."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


@lru_cache(maxsize=1024)
def _block(seed, number):
    ones, low, steps = _lanes()
    start = (seed + number * LANES * GAMMA) & WORD
    words = (ones * start + steps) & low
    # What a shift brings in from the lane above lands in the upper half of the lane, and is masked off.
    words = ((words ^ ((words >> 30) & low)) * 0xBF58476D1CE4E5B9) & low
    words = ((words ^ ((words >> 27) & low)) * 0x94D049BB133111EB) & low
    words ^= (words >> 31) & low
    lanes = memoryview(words.to_bytes(LANES * LANE_BYTES, "little")).cast("Q")
    return lanes[::2].tobytes()


@cache
def _lanes():
    """In each lane: 1; the mask of its word; the step of its word from the block's start."""
    def fill(value):
        return int.from_bytes(b"".join(value(lane).to_bytes(LANE_BYTES, "little") for lane in range(LANES)), "little")
    return fill(lambda _: 1), fill(lambda _: WORD), fill(lambda lane: ((lane + 1) * GAMMA) & WORD)
