"""Known answers of Philox4x32-10: python make.py > philox4x32-10.txt

The first three lines are those of Random123's tests/kat_vectors (D. E. Shaw Research, release 1.14.0), copied; the
generator below must reproduce them before it adds lines of its own, in the counter's layout of ranks/model/sampling/sample.h
(token / 4, position low, position high, 0; key = seed low, high).
"""
import random

PUBLISHED = """
00000000 00000000 00000000 00000000  00000000 00000000  6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff  ffffffff ffffffff  408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344  a4093822 299f31d0  d16cfe09 94fdcceb 5001e420 24126ea1
""".split("\n")[1:-1]


def philox(counter, key):
    """Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3 (SC'11), section 3.3 and table 2."""
    c, k = list(counter), list(key)
    for _ in range(10):
        even, odd = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [odd >> 32 ^ c[1] ^ k[0], odd & 0xFFFFFFFF, even >> 32 ^ c[3] ^ k[1], even & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def line(counter, key):
    groups = (counter, key, philox(counter, key))
    return "  ".join(" ".join(f"{word:08x}" for word in group) for group in groups)


def main():
    for published in PUBLISHED:
        words = [int(word, 16) for word in published.split()]
        assert line(words[:4], words[4:6]) == published
    print("# counter[4]  key[2]  output[4], hexadecimal. Made by make.py; the first three are Random123's.")
    print("\n".join(PUBLISHED))
    rng = random.Random(0)
    for _ in range(61):
        token, position, seed = rng.randrange(152576), rng.randrange(2 ** rng.randrange(1, 41)), rng.getrandbits(64)
        print(line([token // 4, position & 0xFFFFFFFF, position >> 32, 0], [seed & 0xFFFFFFFF, seed >> 32]))


if __name__ == "__main__":
    main()
