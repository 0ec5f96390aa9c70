"""A folder with the headers of a published checkpoint at its real size, and holes for data:  python sparse.py FOLDER [LAYOUT]

LAYOUT is pro-fp4 (MiMo-V2.5-Pro-FP4-DFlash, the default), pro (V2.5-Pro), v2.5, v2.6-flash or v2-flash. Names, shapes and config members
are those of reports on the published files; drafters, tokenizers and most of the tensors of vision and audio are left out.

The folder's apparent size is that of the model (170 to 960 GB), its files take some megabytes of disk. `slipstream convert FOLDER
MODEL.h5 --dry-run` checks all of it in seconds; nothing can be converted from it. The standard library alone.
"""
import json
import pathlib
import struct
import sys

SIZES = {"BF16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1}
VOCABULARY, DENSE, INTER = 152576, 16384, 2048
PRO = dict(hidden=6144, layers=70, heads=128, kv=8, sliding_kv=8, experts=384, globals={0, 7, 15, 23, 31, 39, 47, 55, 62, 69},
           value=0.612, theta=10000000, epsilon=1e-5, fused=True, mxfp4=False, more=False, config={})
FLASH = {**PRO, "hidden": 4096, "layers": 48, "heads": 64, "kv": 4, "experts": 256, "globals": {0, 5, 11, 17, 23, 29, 35, 41, 47},
         "value": 0.707, "more": True}
OMNI = {"vision_config": {"depth": 28}, "audio_config": {"group_size": 4}, "processor_config": {"patch_size": 16},
        "vision_model_type": "mimovl", "image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652,
        "vision_end_token_id": 151653, "pad_token_id": 151643, "hybrid_block_size": None}
LAYOUTS = {
    "pro-fp4": {**PRO, "mxfp4": True, "config": {"eos_token_id": 151645}},
    "pro": {**PRO, "more": True},
    "v2.5": {**FLASH, "config": {**OMNI, "eos_token_id": 151645, "rope_scaling": {"rope_type": "default", "type": "default"}}},
    "v2.6-flash": {**FLASH, "epsilon": 1e-6, "mxfp4": True,
                   "config": {**OMNI, "eos_token_id": 151645, "num_nextn_predict_layers": 3, "audio_token_id": 151669,
                              "rope_parameters": {"partial_rotary_factor": 0.334, "rope_theta": 1e7, "rope_type": "default",
                                                  "type": "default"}}},
    "v2-flash": {**FLASH, "theta": 5000000, "fused": False,
                 "config": {"architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash", "eos_token_id": 151645}},
}


def config_of(s):
    quantised = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    config = {
        "architectures": ["MiMoV2ForCausalLM"], "model_type": "mimo_v2", "hidden_size": s["hidden"], "num_hidden_layers": s["layers"],
        "num_attention_heads": s["heads"], "num_key_value_heads": s["kv"], "swa_num_attention_heads": s["heads"],
        "swa_num_key_value_heads": s["sliding_kv"], "head_dim": 192, "v_head_dim": 128, "swa_head_dim": 192, "swa_v_head_dim": 128,
        "partial_rotary_factor": 0.334, "rope_theta": s["theta"], "swa_rope_theta": 10000, "sliding_window": 128,
        "sliding_window_size": 128, "attention_chunk_size": 128, "attention_bias": False, "add_swa_attention_sink_bias": True,
        "add_full_attention_sink_bias": False, "attention_value_scale": s["value"], "intermediate_size": DENSE,
        "moe_intermediate_size": INTER, "n_routed_experts": s["experts"], "num_experts_per_tok": 8, "n_shared_experts": None,
        "n_group": 1, "topk_group": 1, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True,
        "routed_scaling_factor": None, "moe_layer_freq": [0] + [1] * (s["layers"] - 1),
        "hybrid_layer_pattern": [0 if n in s["globals"] else 1 for n in range(s["layers"])], "layernorm_epsilon": s["epsilon"],
        "hidden_act": "silu", "vocab_size": VOCABULARY, "tie_word_embeddings": False, "max_position_embeddings": 1048576,
        "torch_dtype": "bfloat16", "initializer_range": 0.02, "quantization_config": quantised,
    }
    if s["mxfp4"]:
        config["moe_router_dtype"] = "bfloat16"
        quantised.update({"store_dtype": "mxfp4", "mxfp4_block_size": 32})
    if s["fused"]:
        config["attention_projection_layout"] = "fused_qkv"
    return {**config, **s["config"]}


def fp8(name, rows, columns, scale_rows=None):
    return {name + ".weight": ("F8_E4M3", [rows, columns]),
            name + ".weight_scale_inv": ("F32", [scale_rows or -(-rows // 128), columns // 128])}


def mxfp4(name, rows, columns):
    return {name + ".weight": ("U8", [rows, columns // 2]), name + ".weight_scale": ("U8", [rows, columns // 32])}


def mlp(name, hidden, width, write):
    return {**write(name + ".down_proj", hidden, width), **write(name + ".gate_proj", width, hidden), **write(name + ".up_proj", width, hidden)}


def qkv(p, s, sliding, fused):
    """Rows and scales lie in chunks, as many as KV heads of the global layers; split, each KV head of k has its own rows of scales."""
    h, kv = s["hidden"], s["sliding_kv"] if sliding else s["kv"]
    rows = s["heads"] // s["kv"] * 192 + kv // s["kv"] * 320
    if fused:
        return fp8(p + "qkv_proj", s["kv"] * rows, h, s["kv"] * -(-rows // 128))
    return {**fp8(p + "q_proj", s["heads"] * 192, h), **fp8(p + "k_proj", kv * 192, h, None if sliding else 2 * kv),
            **fp8(p + "v_proj", kv * 128, h)}


def layer(s, n):
    """{name: (dtype, shape)} of a layer, as published."""
    p, h, sliding = f"model.layers.{n}.", s["hidden"], n not in s["globals"]
    out = {p + "input_layernorm.weight": ("BF16", [h]), p + "post_attention_layernorm.weight": ("BF16", [h]),
           **qkv(p + "self_attn.", s, sliding, s["fused"]), p + "self_attn.o_proj.weight": ("BF16", [h, s["heads"] * 128])}
    if sliding:
        out[p + "self_attn.attention_sink_bias"] = ("BF16", [s["heads"]])
    if n == 0:
        return {**out, **mlp(p + "mlp", h, DENSE, fp8)}
    out[p + "mlp.gate.weight"] = ("BF16" if s["mxfp4"] else "F32", [s["experts"], h])
    out[p + "mlp.gate.e_score_correction_bias"] = ("F32", [s["experts"]])
    for e in range(s["experts"]):
        out.update(mlp(f"{p}mlp.experts.{e}", h, INTER, mxfp4 if s["mxfp4"] else fp8))
    return out


def prediction(s, n):
    """A layer of multi-token prediction, which is passed over; so are the tensors below."""
    p, h = f"model.mtp.layers.{n}.", s["hidden"]
    norms = ("enorm", "hnorm", "input_layernorm", "pre_mlp_layernorm", "final_layernorm")
    return {**{f"{p}{norm}.weight": ("BF16", [h]) for norm in norms}, p + "eh_proj.weight": ("BF16", [h, 2 * h]),
            **qkv(p + "self_attn.", s, True, True), p + "self_attn.o_proj.weight": ("BF16", [h, s["heads"] * 128]),
            p + "self_attn.attention_sink_bias": ("BF16", [s["heads"]]), **mlp(p + "mlp", h, DENSE, fp8)}


SENSES = {"visual.patch_embed.proj.weight": ("BF16", [1280, 3, 2, 16, 16]), "visual.blocks.0.attn.qkv.bias": ("BF16", [3072]),
          "visual.merger.ln_q.weight": ("BF16", [1280]), "speech_embeddings.0.weight": ("BF16", [1280, 1024]),
          "audio_encoder.input_local_transformer.layers.0.self_attn.k_proj.bias": ("BF16", [1024]),
          "audio_encoder.projection.mlp.0.weight": ("BF16", [16384, 4096])}


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


def main(folder, layout="pro-fp4"):
    s, folder = LAYOUTS[layout], pathlib.Path(folder)
    folder.mkdir(parents=True)
    shards = {f"model_{n}.safetensors": layer(s, n) for n in range(s["layers"])}
    shards["model_rest.safetensors"] = {"model.embed_tokens.weight": ("BF16", [VOCABULARY, s["hidden"]]),
                                        "lm_head.weight": ("BF16", [VOCABULARY, s["hidden"]]), "model.norm.weight": ("BF16", [s["hidden"]])}
    if s["more"]:
        shards["model_mtp.safetensors"] = {name: tensor for n in range(3) for name, tensor in prediction(s, n).items()}
    if "vision_config" in s["config"]:
        shards["model_rest.safetensors"].update(SENSES)
    total = sum(write(folder / file, tensors) for file, tensors in shards.items())
    where = {name: file for file, tensors in shards.items() for name in tensors}
    metadata = {"total_size": total, **({"tp_size": s["kv"]} if s["mxfp4"] else {})}
    (folder / "config.json").write_text(json.dumps(config_of(s)))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": metadata, "weight_map": where}))
    print(f"{folder}: {len(where)} tensors, {total} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:3])
