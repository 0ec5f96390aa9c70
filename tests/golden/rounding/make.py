#!/usr/bin/env python3
"""mxfp4.txt: what `convert --experts mxfp4` must make of FP8 experts, by NumPy:  python make.py > mxfp4.txt

A model of two layers with two experts each, hidden size 160 and expert width 192: blocks of 128 end inside of every matrix. Codes and
scales come from formulas that tests/unit/jobs/convert/test_convert_rounding.c has too. A line a stack of experts: its name, the RMS of the
errors relative to that of the values, the largest error, and the SHA-256 of all codes and of all scales.

The rule is docs/checkpoint-format.md's, written out here without a word of the program's code.
"""
import hashlib

import numpy as np

LAYERS, EXPERTS, HIDDEN, WIDTH, BLOCK, GROUP = 2, 2, 160, 192, 128, 32
PARTS = {"down": (HIDDEN, WIDTH), "gate": (WIDTH, HIDDEN), "up": (WIDTH, HIDDEN)}
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def e4m3(code):
    exponent, mantissa = (code >> 3) & 15, code & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    return np.where(code & 0x80, -value, value)


def stored(layer, expert, part):
    """Codes [rows, columns], of groups of 32 with maxima of many sizes, one in 17 all zeros (of both signs), and scales [rows / 128,
    columns / 128] of f32."""
    rows, columns = PARTS[part]
    seed = (layer * EXPERTS + expert) * 3 + "dgu".index(part[0])
    index = np.arange(rows * columns, dtype=np.uint64)
    drawn = ((index + seed * 1000003) * 2654435761 >> 13).astype(np.uint8)
    group = (index // GROUP).astype(np.int64)
    code = (drawn & 0x7F) >> np.where(group % 17 == 16, 7, group % 4).astype(np.uint8)
    code -= code == 0x7F  # no number
    code |= drawn & 0x80
    blocks = -(-rows // BLOCK), -(-columns // BLOCK)
    scale = (8 + (np.arange(blocks[0] * blocks[1]) * 5 + seed) % 13) / 8192
    return code.reshape(rows, columns), scale.astype(np.float32).reshape(blocks)


def widened(code, scale):
    spread = np.kron(scale, np.ones((BLOCK, BLOCK), np.float32))[: code.shape[0], : code.shape[1]]
    return e4m3(code).astype(np.float32) * spread


def rounded(value):
    """-> E2M1 codes, E8M0 bytes [.., columns / 32], and what they stand for."""
    groups = value.astype(np.float64).reshape(len(value), -1, GROUP)
    largest = np.abs(groups).max(axis=2)
    exponent = np.floor(np.log2(np.where(largest > 0, largest, 1)))
    exponent += np.where(largest >= 1.75 * 2.0**exponent, -1, -2)
    want = np.minimum(np.abs(groups) / 2.0 ** exponent[..., None], 6)
    # To nearest; half way between two neighbours the even code.
    distance = np.abs(want[..., None] - E2M1) + 1e-12 * (np.arange(8) % 2)
    code = distance.argmin(axis=3)
    value = np.sign(groups) * E2M1[code] * 2.0 ** exponent[..., None]
    code = code | np.where((groups < 0) & (code > 0), 8, 0)
    scale = np.where(largest > 0, exponent + 127, 0).astype(np.uint8)
    return code.reshape(len(code), -1), scale, value.reshape(len(value), -1)


for layer in range(LAYERS):
    for part in ("gate", "up", "down"):
        codes, scales, squares, errors, worst = b"", b"", 0.0, 0.0, 0.0
        for expert in range(EXPERTS):
            source = widened(*stored(layer, expert, part))
            code, scale, value = rounded(source)
            codes += (code[:, 0::2] | code[:, 1::2] << 4).astype(np.uint8).tobytes()
            scales += scale.tobytes()
            squares += (source.astype(np.float64) ** 2).sum()
            errors += ((source - value) ** 2).sum()
            worst = max(worst, np.abs(source - value).max())
        print(f"target/layers/{layer}/experts/{part} {np.sqrt(errors / squares):.9f} {worst:.9f}", hashlib.sha256(codes).hexdigest(),
              hashlib.sha256(scales).hexdigest())
