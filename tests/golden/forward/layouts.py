"""Fixtures in published layouts that models.py does not write: python layouts.py   (NumPy alone; README.md)

Files are written byte by byte from the description of the formats, and the expected logits are reference.py's on the values that the
written codes and scales stand for.
"""
import json
import pathlib
import shutil
import struct

import numpy as np

import reference
from folder import E2M1, e4m3_table

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
ROUTING_MARGIN = 1e-4

COMMON = {
    "attention_bias": False, "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False, "n_shared_experts": None,
    "n_group": 1, "topk_group": 1, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True,
    "routed_scaling_factor": None, "hidden_act": "silu", "tie_word_embeddings": False, "max_position_embeddings": 512,
    "torch_dtype": "bfloat16", "num_hidden_layers": 3, "hybrid_layer_pattern": [0, 1, 0], "moe_layer_freq": [0, 1, 1],
    "num_attention_heads": 4, "swa_num_attention_heads": 4, "num_key_value_heads": 2, "swa_num_key_value_heads": 4,
    "vocab_size": 67, "partial_rotary_factor": 0.334, "swa_rope_theta": 10000,
}
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}

# MiMo-V2-Flash: q, k and v apart, quantised as the fused matrix of a chunk: on global layers (chunks of 384 + 192 + 128 rows) K's
# last 64 rows share a block with V's first 64, and its scales are among K's. On sliding ones (384 + 384 + 256) all blocks are whole.
# Only sliding_window_size is given: so many keys before the query, and the query.
SPLIT = {**COMMON, "architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash", "hidden_size": 32, "head_dim": 192,
         "v_head_dim": 128, "swa_head_dim": 192, "swa_v_head_dim": 128, "rope_theta": 5000000, "sliding_window_size": 16,
         "attention_value_scale": 0.707, "intermediate_size": 96, "moe_intermediate_size": 64, "n_routed_experts": 6,
         "num_experts_per_tok": 2, "layernorm_epsilon": 1e-5, "quantization_config": FP8}

# MiMo-V2.6: fused qkv in the index's tp_size chunks, BF16 router, MXFP4 experts whose scales are typed F8_E8M0, a file a layer.
FUSED = {**COMMON, "architectures": ["MiMoV2ForCausalLM"], "model_type": "mimo_v2", "attention_projection_layout": "fused_qkv",
         "hidden_size": 160, "head_dim": 48, "v_head_dim": 32, "swa_head_dim": 48, "swa_v_head_dim": 32, "rope_theta": 10000000,
         "sliding_window": 16, "sliding_window_size": 16, "attention_chunk_size": 16, "attention_value_scale": 0.612,
         "intermediate_size": 96, "moe_intermediate_size": 64, "n_routed_experts": 6, "num_experts_per_tok": 2, "layernorm_epsilon": 1e-6,
         "moe_router_dtype": "bfloat16", "quantization_config": {**FP8, "store_dtype": "mxfp4", "mxfp4_block_size": 32}}

# MiMo-V2.5: the same with FP8 experts and an F32 router.
FP8_EXPERTS = {**FUSED, "hidden_size": 136, "n_routed_experts": 4, "attention_value_scale": 0.707, "layernorm_epsilon": 1e-5,
               "quantization_config": FP8}
del FP8_EXPERTS["moe_router_dtype"]

CASES = {"v2-flash-split-fp8": dict(seed=700, config=SPLIT, router="F32", experts="F8_E4M3", fused=False),
         "v2.5-fused-fp8": dict(seed=800, config=FP8_EXPERTS, router="F32", experts="F8_E4M3", fused=True),
         "v2.6-fused-mxfp4": dict(seed=900, config=FUSED, router="BF16", experts="F8_E8M0", fused=True)}


class Folder:
    """Tensors as they are stored, and the float64 values that they stand for under reference.py's names."""

    def __init__(self, seed):
        self.rng, self.stored, self.value = np.random.default_rng(seed), {}, {}

    def plain(self, name, value, dtype):
        bits = value.astype("<f4").view("<u4")
        if dtype == "BF16":
            bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        self.value[name] = bits.view("<f4").astype(np.float64)
        self.stored[name] = (dtype, value.shape, bits.astype("<u4") if dtype == "F32" else (bits >> 16).astype("<u2"))

    def fp8(self, value):
        """-> codes, scales, what they stand for. Every block gets a magnitude of its own, so that none passes for another."""
        rows, columns = value.shape
        blocks = (-(-rows // 128), -(-columns // 128))

        def spread(a):
            return np.kron(a, np.ones((128, 128)))[:rows, :columns]

        value = value * spread(2.0 ** self.rng.uniform(-1, 1, blocks))
        scale = np.array([[np.abs(value[i * 128 : i * 128 + 128, j * 128 : j * 128 + 128]).max() / 448 for j in range(blocks[1])]
                          for i in range(blocks[0])]).astype("<f4")
        table = e4m3_table()[:0x7F]  # ascending; 0x7f is no number
        want = np.clip(np.abs(value) / spread(scale.astype(np.float64)), 0, 448)
        codes = np.searchsorted((table[1:] + table[:-1]) / 2, want).astype(np.uint8) | np.where(value < 0, 0x80, 0).astype(np.uint8)
        return codes, scale, e4m3_table()[codes] * spread(scale.astype(np.float64))

    def put_fp8(self, name, codes, scale):
        self.stored[name] = ("F8_E4M3", codes.shape, codes)
        self.stored[name + "_scale_inv"] = ("F32", scale.shape, scale)

    def mxfp4(self, name, shape, scale_dtype):
        codes = self.rng.integers(0, 256, (shape[0], shape[1] // 2), dtype=np.uint8)
        centre = np.round(np.log2(1.2 / np.sqrt(shape[1]) / 2.93))  # 2.93: root mean square of the E2M1 values
        scale = (127 + centre + self.rng.integers(-1, 2, (shape[0], shape[1] // 32))).astype(np.uint8)
        self.stored[name] = ("U8", codes.shape, codes)
        self.stored[name + "_scale"] = (scale_dtype, scale.shape, scale)
        values = np.stack([E2M1[codes & 15], E2M1[codes >> 4]], axis=-1).reshape(shape)
        self.value[name] = values * np.repeat(2.0 ** (scale.astype(np.float64) - 127), 32, axis=1)

    def normal(self, shape, gain):
        return gain / np.sqrt(shape[-1]) * self.rng.standard_normal(shape)


def add_qkv(folder, layer, c, kv, fused):
    """Quantised a chunk of [Q|K|V] at a time; stored whole, or its rows and its rows of scales dealt to q, k and v."""
    name, chunks = f"model.layers.{layer}.self_attn.", c["num_key_value_heads"]
    rows = [c["num_attention_heads"] // chunks * c["head_dim"], kv // chunks * c["head_dim"], kv // chunks * c["v_head_dim"]]
    bounds = np.cumsum(rows)[:-1]
    made = [folder.fp8(np.concatenate([folder.normal((n, c["hidden_size"]), gain) for n, gain in zip(rows, (1.5, 1.5, 1.2))]))
            for _ in range(chunks)]
    values = [np.split(chunk[2], bounds) for chunk in made]
    codes = [np.split(chunk[0], bounds) for chunk in made]
    # The scale rows of K end with the block that its last row is in; V's are the rest.
    scales = [np.split(chunk[1], [-(-bound // 128) for bound in bounds]) for chunk in made]
    for i, part in enumerate("qkv"):
        folder.value[f"{name}{part}_proj.weight"] = np.concatenate([chunk[i] for chunk in values])
        if not fused:
            folder.put_fp8(f"{name}{part}_proj.weight", np.concatenate([chunk[i] for chunk in codes]),
                           np.concatenate([chunk[i] for chunk in scales]))
    if fused:
        folder.put_fp8(name + "qkv_proj.weight", *(np.concatenate([chunk[i] for chunk in made]) for i in (0, 1)))


def add_mlp(folder, name, c, width, kind):
    h = c["hidden_size"]
    for part, shape in (("gate", (width, h)), ("up", (width, h)), ("down", (h, width))):
        weight = f"{name}.{part}_proj.weight"
        if kind == "F8_E4M3":
            codes, scale, folder.value[weight] = folder.fp8(folder.normal(shape, 1.2))
            folder.put_fp8(weight, codes, scale)
        else:
            folder.mxfp4(weight, shape, kind)


def add_layer(folder, n, c, case):
    name, h, sliding = f"model.layers.{n}.", c["hidden_size"], c["hybrid_layer_pattern"][n]
    for norm in ("input", "post_attention"):
        folder.plain(f"{name}{norm}_layernorm.weight", 1 + 0.2 * folder.rng.standard_normal(h), "BF16")
    add_qkv(folder, n, c, c["swa_num_key_value_heads" if sliding else "num_key_value_heads"], case["fused"])
    folder.plain(name + "self_attn.o_proj.weight", folder.normal((h, c["num_attention_heads"] * c["v_head_dim"]), 1.2), "BF16")
    if sliding:
        folder.plain(name + "self_attn.attention_sink_bias", 0.5 + folder.rng.standard_normal(c["num_attention_heads"]), "BF16")
    if not c["moe_layer_freq"][n]:
        add_mlp(folder, name + "mlp", c, c["intermediate_size"], "F8_E4M3")
        return
    folder.plain(name + "mlp.gate.weight", folder.normal((c["n_routed_experts"], h), 1.5), case["router"])
    folder.plain(name + "mlp.gate.e_score_correction_bias", 0.2 * folder.rng.standard_normal(c["n_routed_experts"]), "F32")
    for e in range(c["n_routed_experts"]):
        add_mlp(folder, f"{name}mlp.experts.{e}", c, c["moe_intermediate_size"], case["experts"])


def make(seed, case):
    c, folder = case["config"], Folder(seed)
    folder.plain("model.embed_tokens.weight", folder.rng.standard_normal((c["vocab_size"], c["hidden_size"])), "BF16")
    folder.plain("lm_head.weight", folder.normal((c["vocab_size"], c["hidden_size"]), 2.0), "BF16")
    folder.plain("model.norm.weight", 1 + 0.2 * folder.rng.standard_normal(c["hidden_size"]), "BF16")
    for n in range(c["num_hidden_layers"]):
        add_layer(folder, n, c, case)
    return folder


def write_file(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + data.nbytes]}
        offset += data.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data.tobytes() for _, _, data in tensors.values()))


def write_folder(path, stored, c):
    """Everything of a layer in a file of its own, and an index."""
    where = {name: f"model_{name.split('.')[2] if '.layers.' in name else 'rest'}.safetensors" for name in stored}
    for file in sorted(set(where.values())):
        write_file(path / file, {name: tensor for name, tensor in stored.items() if where[name] == file})
    metadata = {"total_size": sum(data.nbytes for _, _, data in stored.values()), "tp_size": c["num_key_value_heads"]}
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": metadata, "weight_map": where}, indent=1) + "\n")
    (path / "config.json").write_text(json.dumps(c, indent=1) + "\n")


def golden(logits):
    """The bytes of expected.bin (README.md): every sixth row and the last."""
    rows = sorted({*range(0, len(logits), 6), len(logits) - 1})
    return (struct.pack("<8s4I", b"SLIPGOLD", 1, len(logits), logits.shape[1], len(rows)) + np.array(rows, "<u4").tobytes() +
            logits[rows].astype("<f4").tobytes())


def main():
    for name, case in CASES.items():
        c, path, margin, seed = case["config"], FIXTURES / name, 0, case["seed"] - 1
        window = c.get("sliding_window", c["sliding_window_size"] + 1)
        shape = reference.Target.from_config({**c, "sliding_window": window})
        while margin < ROUTING_MARGIN:
            seed += 1
            folder = make(seed, case)
            ids = np.random.default_rng(seed + 7).integers(0, c["vocab_size"], 60).tolist()
            logits, _, margin = reference.target_forward(shape, folder.value, ids)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        write_folder(path, folder.stored, c)
        (path / "ids.json").write_text(json.dumps(ids) + "\n")
        (path / "expected.bin").write_bytes(golden(logits))
        print(f"{name}: seed {seed}, logits std {logits.std():.2f}, routing margin {margin:.1e}")


if __name__ == "__main__":
    main()
