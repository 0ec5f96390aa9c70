"""Tiny random models in the layouts that `slipstream convert` takes in.

Weights are drawn wider than an initialiser would, so that logits have a standard deviation of 1 to 3, attention is
peaked, sinks matter and the router's correction bias changes who is picked.
"""
import json

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import MiMoV2FlashForCausalLM

FULL, SLIDING = "full_attention", "sliding_attention"


def draw(rng, name, shape):
    """One tensor; the scale follows from the name."""
    normal = rng.standard_normal(shape)
    if "norm" in name:
        return 1 + 0.2 * normal
    if "sink" in name:
        return 0.5 + normal
    if "correction_bias" in name:
        return 0.2 * normal
    if "embed" in name:
        return normal
    peaked = "q_proj" in name or "k_proj" in name or "gate.weight" in name
    gain = 2.0 if "lm_head" in name else 1.5 if peaked else 1.2
    return gain / np.sqrt(shape[-1]) * normal


def target_shapes(c, kv_heads, dense):
    """{name: shape} of a target with split q, k, v. kv_heads[layer], dense[layer]."""
    h, heads, d, dv = c["hidden_size"], c["num_attention_heads"], c["head_dim"], c["v_head_dim"]
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], h), "lm_head.weight": (c["vocab_size"], h),
              "model.norm.weight": (h,)}
    sliding = [kind == SLIDING for kind in c["layer_types"]] if "layer_types" in c else c["hybrid_layer_pattern"]
    for n in range(c["num_hidden_layers"]):
        p = f"model.layers.{n}."
        shapes.update({p + "input_layernorm.weight": (h,), p + "post_attention_layernorm.weight": (h,),
                       p + "self_attn.q_proj.weight": (heads * d, h),
                       p + "self_attn.k_proj.weight": (kv_heads[n] * d, h),
                       p + "self_attn.v_proj.weight": (kv_heads[n] * dv, h),
                       p + "self_attn.o_proj.weight": (h, heads * dv)})
        if sliding[n]:
            shapes[p + "self_attn.attention_sink_bias"] = (heads,)
        width = c["intermediate_size"] if dense[n] else c["moe_intermediate_size"]
        holders = ["mlp."] if dense[n] else [f"mlp.experts.{e}." for e in range(c["n_routed_experts"])]
        for holder in holders:
            shapes.update({p + holder + "gate_proj.weight": (width, h), p + holder + "up_proj.weight": (width, h),
                           p + holder + "down_proj.weight": (h, width)})
        if not dense[n]:
            shapes[p + "mlp.gate.weight"] = (c["n_routed_experts"], h)
            shapes[p + "mlp.gate.e_score_correction_bias"] = (c["n_routed_experts"],)
    return shapes


def draw_target(rng, c, kv_heads, dense):
    return {name: draw(rng, name, shape) for name, shape in target_shapes(c, kv_heads, dense).items()}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def tensor(array, dtype):
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype).contiguous()


def write_transformers(folder, scratch, seed, c, dtype):
    """A folder as MiMoV2FlashForCausalLM.save_pretrained writes it."""
    kv = [c["num_key_value_heads"] * (2 if kind == SLIDING else 1) for kind in c["layer_types"]]
    weights = draw_target(np.random.default_rng(seed), c, kv, [kind == "dense" for kind in c["mlp_layer_types"]])
    write_json(scratch / "config.json", {"architectures": ["MiMoV2FlashForCausalLM"],
                                         "model_type": "mimo_v2_flash", **c})
    save_file({name: tensor(w, torch.float32) for name, w in weights.items()}, scratch / "model.safetensors",
              {"format": "pt"})
    model, report = MiMoV2FlashForCausalLM.from_pretrained(scratch, dtype=dtype, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    model.save_pretrained(folder)


def transformers_logits(folder, ids, dtype):
    """Logits [tokens, vocabulary] by transformers, eager attention and experts. (In float64 its norms, router and
    rotary angles remain in float32.)"""
    model = MiMoV2FlashForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                   experts_implementation="eager").to(dtype).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def xiaomi_config(**given):
    """config.json as the V2.5 releases write it, with what is constant in them."""
    c = {"architectures": ["MiMoV2ForCausalLM"], "model_type": "mimo_v2", "attention_bias": False,
         "attention_chunk_size": given["sliding_window"], "sliding_window_size": given["sliding_window"],
         "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False,
         "swa_num_attention_heads": given["num_attention_heads"], "swa_head_dim": given["head_dim"],
         "swa_v_head_dim": given["v_head_dim"], "n_shared_experts": None, "n_group": 1, "topk_group": 1,
         "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True,
         "routed_scaling_factor": None, "hidden_act": "silu", "tie_word_embeddings": False, "max_position_embeddings": 512,
         "torch_dtype": "bfloat16", "initializer_range": 0.02}
    c["num_hidden_layers"] = len(given["hybrid_layer_pattern"])
    c["moe_layer_freq"] = [0] + [1] * (c["num_hidden_layers"] - 1)
    return {**c, **given}


def xiaomi_weights(seed, c):
    kv = [c[("" if kind == 0 else "swa_") + "num_key_value_heads"] for kind in c["hybrid_layer_pattern"]]
    return draw_target(np.random.default_rng(seed), c, kv, [not moe for moe in c["moe_layer_freq"]])


def plain_dtype(name):
    """Of the tensors that the releases do not quantise."""
    return torch.float32 if ".mlp.gate." in name else torch.bfloat16


def write_xiaomi_split(folder, seed, c, mask_token):
    """Xiaomi's names, BF16, split q, k, v. The mask token's embedding row is next to nothing, as published."""
    weights = xiaomi_weights(seed, c)
    weights["model.embed_tokens.weight"][mask_token] *= 1e-5
    write_json(folder / "config.json", c)
    save_file({name: tensor(w, plain_dtype(name)) for name, w in weights.items()}, folder / "model.safetensors",
              {"format": "pt"})


def encode_fp8(rng, weight):
    """Codes, f32 scales a block of 128 x 128, and what they decode to. Every block gets a magnitude of its own, so that
    none passes for another."""
    rows, columns = weight.shape
    blocks = (-(-rows // 128), -(-columns // 128))
    spread = np.kron(2.0 ** rng.uniform(-1, 1, blocks), np.ones((128, 128)))[:rows, :columns]
    weight = weight * spread
    scale = np.zeros(blocks, np.float32)
    for i in range(blocks[0]):
        for j in range(blocks[1]):
            scale[i, j] = np.abs(weight[i * 128 : i * 128 + 128, j * 128 : j * 128 + 128]).max() / 448
    full = np.kron(scale, np.ones((128, 128), np.float32))[:rows, :columns]
    codes = tensor(weight / full, torch.float32).to(torch.float8_e4m3fn)
    return codes, torch.from_numpy(scale), codes.double().numpy() * full


def fuse_qkv(rng, parts, chunks):
    """q, k, v -> chunks of [Q|K|V], each quantised on its own. Returns codes, scales and the decoded q, k, v."""
    pieces = [np.split(part, chunks) for part in parts]
    encoded = [encode_fp8(rng, np.concatenate(chunk)) for chunk in zip(*pieces)]
    bounds = np.cumsum([len(piece[0]) for piece in pieces])[:-1]
    decoded = zip(*(np.split(chunk[2], bounds) for chunk in encoded))
    codes, scales = (torch.cat([chunk[i] for chunk in encoded]) for i in (0, 1))
    return codes, scales, [np.concatenate(part) for part in decoded]


def random_mxfp4(rng, rows, columns, gain):
    """Every code is used; the exponents of neighbours differ by up to 2."""
    centre = np.round(np.log2(gain / np.sqrt(columns) / 2.93))  # 2.93: root mean square of the E2M1 values
    codes = rng.integers(0, 256, (rows, columns // 2), dtype=np.uint8)
    scale = (127 + centre + rng.integers(-1, 2, (rows, columns // 32))).astype(np.uint8)
    return torch.from_numpy(codes), torch.from_numpy(scale)


def write_xiaomi_release(folder, seed, c, shards):
    """The release layout: fused fp8 qkv, fp8 dense MLP, MXFP4 experts, the rest BF16 (router and its bias F32).
    Returns what q, k, v decode to, for a check of the reader."""
    rng, out, decoded = np.random.default_rng(seed + 1), {}, {}
    weights = xiaomi_weights(seed, c)
    for name, w in weights.items():
        if name.endswith("q_proj.weight"):
            split = [name.replace("q_proj", part + "_proj") for part in "qkv"]
            fused = name.replace("q_proj", "qkv_proj")
            out[fused], out[fused + "_scale_inv"], parts = fuse_qkv(rng, [weights[s] for s in split],
                                                                   c["num_key_value_heads"])
            decoded.update(zip(split, parts))
        elif ".mlp.experts." in name:
            out[name], out[name + "_scale"] = random_mxfp4(rng, *w.shape, 1.2)
        elif ".mlp." in name and "_proj" in name:
            out[name], out[name + "_scale_inv"], _ = encode_fp8(rng, w)
        elif not name.endswith(("k_proj.weight", "v_proj.weight")):
            out[name] = tensor(w, plain_dtype(name))
    write_json(folder / "config.json", c)
    if shards == 1:
        save_file(out, folder / "model.safetensors", {"format": "pt"})
        return decoded
    files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    where = {name: files[i * shards // len(out)] for i, name in enumerate(out)}
    for file in files:
        save_file({name: t for name, t in out.items() if where[name] == file}, folder / file, {"format": "pt"})
    total = sum(t.numel() * t.element_size() for t in out.values())
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": total, "tp_size": c["num_key_value_heads"]}, "weight_map": where})
    return decoded


def write_drafter(folder, seed, c):
    """A DFlash drafter as the releases ship it, mask_embedding.pt included."""
    rng, h, d = np.random.default_rng(seed), c["hidden_size"], c["head_dim"]
    heads, kv, width = c["num_attention_heads"] * d, c["num_key_value_heads"] * d, c["intermediate_size"]
    taps = len(c["dflash_config"]["target_layer_ids"])
    shapes = {"fc.weight": (h, taps * h), "hidden_norm.weight": (h,), "norm.weight": (h,)}
    for n in range(c["num_hidden_layers"]):
        p = f"layers.{n}."
        shapes.update({p + "input_layernorm.weight": (h,), p + "post_attention_layernorm.weight": (h,),
                       p + "self_attn.q_proj.weight": (heads, h), p + "self_attn.k_proj.weight": (kv, h),
                       p + "self_attn.v_proj.weight": (kv, h), p + "self_attn.o_proj.weight": (h, heads),
                       p + "self_attn.q_norm.weight": (d,), p + "self_attn.k_norm.weight": (d,),
                       p + "self_attn.attention_sink_bias": (c["num_attention_heads"],),
                       p + "mlp.gate_proj.weight": (width, h), p + "mlp.up_proj.weight": (width, h),
                       p + "mlp.down_proj.weight": (h, width)})
    write_json(folder / "config.json", c)
    save_file({name: tensor(draw(rng, name, shape), torch.bfloat16) for name, shape in shapes.items()},
              folder / "dflash_draft_model.safetensors", {"format": "pt"})
    mask = tensor(rng.standard_normal(h), torch.bfloat16)
    torch.save({"embedding": mask, "mask_token_id": c["dflash_config"]["mask_token_id"]},
               folder / "mask_embedding.pt")
    return mask.double().numpy()
