"""Bytes for long bodies, in which every block differs from the next: what is lost, doubled or swapped changes the hash."""
import hashlib
import random

SIZE = 65536
FILL = random.Random(1).randbytes(SIZE - 8)


def blocks(n):
    """The first n bytes, a block at a time."""
    for i in range(0, n, SIZE):
        yield (i.to_bytes(8, "big") + FILL)[: n - i]


def sha256(n):
    hasher = hashlib.sha256()
    for block in blocks(n):
        hasher.update(block)
    return hasher.hexdigest()
