"""A folder with the headers of MiMo-V2.5-Pro-FP4-DFlash at its real size, and holes for data:  python sparse.py FOLDER

The folder's apparent size is that of the model (some 570 GB), its files take a few megabytes of disk. `slipstream convert FOLDER
MODEL.h5 --dry-run` checks all of it in seconds; nothing can be converted from it. The standard library alone.
"""
import json
import pathlib
import struct
import sys

H, LAYERS, HEADS, KV, VOCABULARY, EXPERTS, INTER, DENSE = 6144, 70, 128, 8, 152576, 384, 2048, 16384
GLOBAL = {0, 7, 15, 23, 31, 39, 47, 55, 62, 69}
SIZES = {"BF16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1}

CONFIG = {
    "architectures": ["MiMoV2ForCausalLM"], "model_type": "mimo_v2", "hidden_size": H, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV, "swa_num_attention_heads": HEADS, "swa_num_key_value_heads": KV,
    "head_dim": 192, "v_head_dim": 128, "swa_head_dim": 192, "swa_v_head_dim": 128, "partial_rotary_factor": 0.334,
    "rope_theta": 10000000, "swa_rope_theta": 10000, "sliding_window": 128, "sliding_window_size": 128, "attention_chunk_size": 128,
    "attention_bias": False, "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False,
    "attention_value_scale": 0.612, "attention_projection_layout": "fused_qkv", "intermediate_size": DENSE,
    "moe_intermediate_size": INTER, "n_routed_experts": EXPERTS, "num_experts_per_tok": 8, "n_shared_experts": None, "n_group": 1,
    "topk_group": 1, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True, "routed_scaling_factor": None,
    "moe_layer_freq": [0] + [1] * (LAYERS - 1), "hybrid_layer_pattern": [0 if n in GLOBAL else 1 for n in range(LAYERS)],
    "layernorm_epsilon": 1e-5, "hidden_act": "silu", "vocab_size": VOCABULARY, "tie_word_embeddings": False,
    "max_position_embeddings": 1048576, "torch_dtype": "bfloat16", "initializer_range": 0.02, "moe_router_dtype": "bfloat16",
    "eos_token_id": 151645,
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
                            "store_dtype": "mxfp4", "mxfp4_block_size": 32},
}


def layer(n):
    """{name: (dtype, shape)} of a layer, as published."""
    p = f"model.layers.{n}."
    out = {p + "input_layernorm.weight": ("BF16", [H]), p + "post_attention_layernorm.weight": ("BF16", [H]),
           p + "self_attn.qkv_proj.weight": ("F8_E4M3", [27136, H]),
           p + "self_attn.qkv_proj.weight_scale_inv": ("F32", [216, H // 128]),
           p + "self_attn.o_proj.weight": ("BF16", [H, HEADS * 128])}
    if n not in GLOBAL:
        out[p + "self_attn.attention_sink_bias"] = ("BF16", [HEADS])
    if n == 0:
        for part, shape in (("gate", [DENSE, H]), ("up", [DENSE, H]), ("down", [H, DENSE])):
            out[f"{p}mlp.{part}_proj.weight"] = ("F8_E4M3", shape)
            out[f"{p}mlp.{part}_proj.weight_scale_inv"] = ("F32", [side // 128 for side in shape])
        return out
    out[p + "mlp.gate.weight"] = ("BF16", [EXPERTS, H])
    out[p + "mlp.gate.e_score_correction_bias"] = ("F32", [EXPERTS])
    for e in range(EXPERTS):
        for part, (rows, columns) in (("down", (H, INTER)), ("gate", (INTER, H)), ("up", (INTER, H))):
            out[f"{p}mlp.experts.{e}.{part}_proj.weight"] = ("U8", [rows, columns // 2])
            out[f"{p}mlp.experts.{e}.{part}_proj.weight_scale"] = ("U8", [rows, columns // 32])
    return out


def write(path, tensors):
    """The header, and a hole as long as the tensors."""
    header, offset = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = SIZES[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    return offset


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    shards = {f"model_{n}.safetensors": layer(n) for n in range(LAYERS)}
    shards["model_rest.safetensors"] = {"model.embed_tokens.weight": ("BF16", [VOCABULARY, H]),
                                        "lm_head.weight": ("BF16", [VOCABULARY, H]), "model.norm.weight": ("BF16", [H])}
    total = sum(write(folder / file, tensors) for file, tensors in shards.items())
    where = {name: file for file, tensors in shards.items() for name in tensors}
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total, "tp_size": KV}, "weight_map": where}))
    print(f"{folder}: {len(where)} tensors, {total} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
