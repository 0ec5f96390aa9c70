"""A checkpoint folder in Xiaomi's release layout -> named float64 matrices.

Written from the description of the formats alone, so that it shares no code with the scripts that write the
fixtures (models.py uses torch and safetensors) nor with the product:

  safetensors   u64 header size, JSON header, bytes
  F8_E4M3       1 sign, 4 exponent (bias 7), 3 mantissa bits, no infinity, 0x7f and 0xff are NaN
                one f32 factor a block of 128 x 128 in NAME_scale_inv
  MXFP4         U8 [rows, columns / 2], low nibble first, E2M1; NAME_scale U8 [rows, columns / 32], 2^(byte - 127)
  qkv_proj      T chunks of [Q heads | K heads | V heads]; blocks of scales restart with each chunk, nowhere else
"""
import json
import pathlib

import numpy as np

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def e4m3_table():
    """The 256 values of E4M3FN."""
    byte = np.arange(256)
    sign = np.where(byte & 0x80, -1.0, 1.0)
    exponent, mantissa = (byte >> 3) & 15, byte & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    return np.where((byte & 0x7F) == 0x7F, np.nan, sign * value)


def read_file(path):
    """{name: (dtype, array)}; BF16 comes as float64, F8_E4M3 and U8 as bytes."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        data, dtype = raw[begin:end], entry["dtype"]
        if dtype == "F32":
            array = np.frombuffer(data, "<f4").astype(np.float64)
        elif dtype == "BF16":
            array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        else:
            array = np.frombuffer(data, np.uint8)
        tensors[name] = (dtype, array.reshape(entry["shape"]))
    return tensors


def decode_fp8(codes, scale_inv, rows_per_chunk):
    """[rows, columns] of bytes; the scale row of a row counts blocks of 128 within its chunk."""
    row, column = np.arange(codes.shape[0]), np.arange(codes.shape[1])
    blocks_per_chunk = -(-rows_per_chunk // 128)
    scale_row = row // rows_per_chunk * blocks_per_chunk + row % rows_per_chunk // 128
    assert scale_inv.shape == (scale_row[-1] + 1, column[-1] // 128 + 1)
    return e4m3_table()[codes] * scale_inv[scale_row[:, None], column[None, :] // 128]


def decode_mxfp4(codes, scale):
    """[rows, columns / 2] and [rows, columns / 32] of bytes."""
    values = np.stack([E2M1[codes & 15], E2M1[codes >> 4]], axis=-1).reshape(len(codes), -1)
    return values * np.repeat(2.0 ** (scale.astype(np.float64) - 127), 32, axis=1)


def split_qkv(fused, chunks, heads, kv_heads, head_dim, v_head_dim):
    """Undo the chunks: q [heads * head_dim, H], k [kv_heads * head_dim, H], v [kv_heads * v_head_dim, H]."""
    q_rows, k_rows = heads // chunks * head_dim, kv_heads // chunks * head_dim
    stack = fused.reshape(chunks, q_rows + k_rows + kv_heads // chunks * v_head_dim, -1)
    parts = np.split(stack, [q_rows, q_rows + k_rows], axis=1)
    return [part.reshape(-1, fused.shape[1]) for part in parts]


def join_qkv(raw, chunks):
    """MiMo-V2-Flash's FP8 q, k and v put together to the fused qkv that they were cut from, codes and scales alike: chunk after chunk,
    and in a chunk q, k, v."""
    for q in [name for name in raw if name.endswith("q_proj.weight") and raw[name][0] == "F8_E4M3"]:
        for suffix in ("", "_scale_inv"):
            dtype = raw[q + suffix][0]
            parts = [np.split(raw.pop(q.replace("q_proj", part + "_proj") + suffix)[1], chunks) for part in "qkv"]
            raw[q.replace("q_proj", "qkv_proj") + suffix] = dtype, np.concatenate([part[c] for c in range(chunks) for part in parts])


def read_folder(folder, shape=None):
    """Every tensor of the folder's *.safetensors in float64. Fused qkv needs the `shape`, a reference.Target."""
    raw = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        raw.update(read_file(path))
    if shape is not None:
        join_qkv(raw, shape.chunks)
    out = {}
    for name, (dtype, array) in raw.items():
        fused = name.endswith("qkv_proj.weight")
        if name.endswith(("_scale_inv", "_scale")):
            continue
        if dtype == "F8_E4M3":
            rows = len(array) // shape.chunks if fused else len(array)
            array = decode_fp8(array, raw[name + "_scale_inv"][1], rows)
        elif dtype == "U8":
            array = decode_mxfp4(array, raw[name + "_scale"][1])
        if fused:
            geometry = shape.attention(int(name.split(".")[2]))
            for part, value in zip("qkv", split_qkv(array, shape.chunks, geometry.heads, geometry.kv_heads,
                                                    shape.head_dim, shape.v_head_dim)):
                out[name.replace("qkv_proj", part + "_proj")] = value
        else:
            out[name] = array
    return out
