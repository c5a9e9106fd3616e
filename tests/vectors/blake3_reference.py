#!/usr/bin/env python3
"""BLAKE3 and the otagate rank (rule R2), from the specification alone, in plain Python.

Why it exists: the library takes BLAKE3 from a crate. If ranks were checked only against that crate, a wrong context, a
swapped field or a bug of the crate would agree with itself. This file shares no code with it and needs only Python 3.
    python3 blake3_reference.py check ranks.json    recompute every rank; non-zero exit names the first mismatch
    python3 blake3_reference.py make > ranks.json   write the vectors, the same bytes each time
"""
import json
import pathlib
import sys

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS_THEN_DIAGONALS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                          (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT, DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 1, 2, 4, 8, 32, 64
MASK = 0xFFFFFFFF
CONTEXT = "otagate rollout rank v1"
EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
R2 = {("r7", "thermostat", "a4cf12345678"): 12863942186124156992, ("", "p", "1"): 234141259675619553,
      ("canary-2026", "sensor", "00:not-a-mac"): 4262466043411971822}


def compress(cv, block, counter, flags):
    """One block of up to 64 bytes: the next chaining value, 8 words, or at the root the output."""
    m = [int.from_bytes(block[i:i + 4], "little") for i in range(0, 64, 4)]  # a short block reads as zero-padded
    v = [*cv, *IV[:4], counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(COLUMNS_THEN_DIAGONALS):
            for word, d_turn, b_turn in ((m[2 * i], 16, 12), (m[2 * i + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & MASK
                x = v[d] ^ v[a]
                v[d] = (x >> d_turn | x << 32 - d_turn) & MASK
                v[c] = (v[c] + v[d]) & MASK
                x = v[b] ^ v[c]
                v[b] = (x >> b_turn | x << 32 - b_turn) & MASK
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def le(words):
    return b"".join(word.to_bytes(4, "little") for word in words)


def node(key, data, first_chunk, flags, root):
    """The 8 words of the subtree over `data`; `root` is ROOT at the top of the tree, 0 below."""
    if len(data) <= 1024:
        cv, start = key, CHUNK_START
        blocks = [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
        for block in blocks[:-1]:
            cv, start = compress(cv, block, first_chunk, flags | start), 0
        return compress(cv, blocks[-1], first_chunk, flags | start | CHUNK_END | root)
    left = 1 << ((len(data) - 1) // 1024).bit_length() - 1  # the largest power of two chunks that leaves the right a byte
    halves = ((data[:left * 1024], first_chunk), (data[left * 1024:], first_chunk + left))
    return compress(key, le(node(key, *halves[0], flags, 0) + node(key, *halves[1], flags, 0)), 0, flags | PARENT | root)


def blake3(data):
    return le(node(IV, data, 0, 0, ROOT))


def derive_key(context, material):
    return le(node(node(IV, context.encode(), 0, DERIVE_KEY_CONTEXT, ROOT), material, 0, DERIVE_KEY_MATERIAL, ROOT))


def rank(salt, product, serial):
    """R2: the three texts, each after its length as u32 LE; the first 8 bytes as u64 LE."""
    message = b"".join(len(part).to_bytes(4, "little") + part for part in map(str.encode, (salt, product, serial)))
    return int.from_bytes(derive_key(CONTEXT, message)[:8], "little")


def cases():
    yield from R2
    for text in ("abcd", "12345", "\u00e9\u20ac\U0001f600z"):  # the same letters, cut elsewhere
        yield from ((text[:i], text[i:j], text[j:]) for i in range(len(text)) for j in range(i + 1, len(text)))
    for salt in ("", " ", "0", "r7", "R7", "r7 ", "jitter", "gr\u00f6\u00dfe", "gro\u0308\u00dfe", "\u6ce2\u6b21\u4e00",
                 "\u0432\u043e\u043b\u043d\u0430-1", "\u0645\u0648\u062c\u0629", "\U0001f680", "K", "\u212a", "a\tb\n"):
        yield from ((salt, product, "a4cf12345678") for product in ("thermostat", "Thermostat"))
        yield salt, "c\u00e2ble-\u03b2", "ger\u00e4t-\u21167"
    for serial in ("f" * 63 + "e", "0" * 63 + "1", "\u00e9" * 32, "\U0001f600" * 16, "SN " + "9" * 61):  # 64 bytes: the longest
        yield from ((salt, product, serial) for salt in ("", "r7") for product in ("p", "sensor-mk2"))
    for size in (63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 3073, 4096, 4097, 5121, 7169, 8192, 8193):
        yield ("abcdefghijklmnopqrstuvw" * 400)[:size - 25], "p", "a4cf12345678"  # the message, 12 bytes of lengths included, is `size` bytes
    yield "\u00e9" * 1100, "sensor", "7"
    yield "r7", "product-" + "x" * 247, "7"
    for i in range(200):  # ordinary fleets; make() takes as many as it needs
        h = blake3(b"case %d" % i).hex()
        salt, serial = ("r%d" % (i % 7), "rollout-" + h[:8], h[:32])[i % 3], (h[40:52], str(int(h[52:], 16)))[i % 2]
        yield salt, ("thermostat", "sensor")[i // 6 % 2], serial


def make():
    triples = list(dict.fromkeys(cases()))[:200]  # distinct, in order
    lines = [json.dumps({"salt": a, "product": b, "serial": c, "rank": str(rank(a, b, c))}) for a, b, c in triples]
    print('{\n  "note": "Rule R2, from blake3_reference.py make. rank is a u64 as text: JSON numbers may lose its low bits.",')
    print('  "ranks": [\n    %s\n  ]\n}' % ",\n    ".join(lines))


def check(path):
    entries = json.loads(pathlib.Path(path).read_text("utf-8"))["ranks"]
    for i, e in enumerate(entries):
        expected = str(rank(e["salt"], e["product"], e["serial"]))
        if e["rank"] != expected:
            sys.exit("%s: ranks[%d] is %s, should be %s: %s" % (path, i, e["rank"], expected, json.dumps(e)[:300]))
    if not entries:
        sys.exit("%s: no ranks" % path)
    print("%s: %d ranks agree" % (path, len(entries)))


if __name__ == "__main__":
    if blake3(b"").hex() != EMPTY or any(rank(*triple) != known for triple, known in R2.items()):
        sys.exit("blake3_reference.py: does not reproduce the published values")
    if sys.argv[1:] == ["make"]:
        make()
    elif len(sys.argv) == 3 and sys.argv[1] == "check":
        check(sys.argv[2])
    else:
        sys.exit(__doc__)
