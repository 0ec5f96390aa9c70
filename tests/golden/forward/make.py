"""Regenerate every fixture of this folder: python make.py [CASE ...]   (versions and layouts: README.md)

A seed is the first from the case's own on that keeps every routing decision and every drafted arg max clear of a
tie, so that a difference of float32 rounding cannot flip one.
"""
import json
import pathlib
import shutil
import struct
import sys
import tempfile

import numpy as np
import torch

import models
import reference
from folder import read_folder
from models import FULL, SLIDING

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
ROUTING_MARGIN, DRAFT_MARGIN = 1e-4, 5e-3
MASK = 127  # the mask token of the Pro-shaped model

TRANSFORMERS = {
    "hf-hybrid-f32": dict(
        seed=100, tokens=90, keep=9, dtype=torch.float32,
        config=dict(vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=4, num_attention_heads=4,
                    num_key_value_heads=1, head_dim=24, v_head_dim=16, sliding_window=16, n_routed_experts=7,
                    num_experts_per_tok=2, moe_intermediate_size=16, max_position_embeddings=512,
                    layer_types=[FULL, SLIDING, SLIDING, FULL], mlp_layer_types=["dense"] + ["sparse"] * 3)),
    "hf-odd-f32": dict(
        seed=200, tokens=41, keep=4, dtype=torch.float32,
        config=dict(vocab_size=113, hidden_size=40, intermediate_size=72, num_hidden_layers=5, num_attention_heads=6,
                    num_key_value_heads=1, head_dim=16, v_head_dim=12, sliding_window=5, n_routed_experts=8,
                    num_experts_per_tok=4, moe_intermediate_size=12, max_position_embeddings=300, rms_norm_eps=1e-3,
                    attention_value_scale=0.5, routed_scaling_factor=1.25,
                    layer_types=[SLIDING, FULL, SLIDING, FULL, SLIDING],
                    mlp_layer_types=["sparse", "dense", "sparse", "dense", "sparse"],
                    rope_parameters={
                        FULL: dict(rope_type="default", rope_theta=5e5, partial_rotary_factor=0.5),
                        SLIDING: dict(rope_type="default", rope_theta=1e3, partial_rotary_factor=0.5)})),
    "hf-192-128-bf16": dict(
        seed=300, tokens=300, keep=25, dtype=torch.bfloat16,
        config=dict(vocab_size=101, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
                    num_key_value_heads=1, head_dim=192, v_head_dim=128, sliding_window=128, n_routed_experts=4,
                    num_experts_per_tok=2, moe_intermediate_size=64, max_position_embeddings=1024,
                    layer_types=[FULL, SLIDING, FULL], mlp_layer_types=["dense", "sparse", "sparse"])),
}

PRO_SPLIT = models.xiaomi_config(
    vocab_size=131, hidden_size=48, hybrid_layer_pattern=[0, 1, 1, 1, 0], num_attention_heads=8,
    num_key_value_heads=2, swa_num_key_value_heads=2, head_dim=24, v_head_dim=16, partial_rotary_factor=0.334,
    rope_theta=10000000, swa_rope_theta=10000, sliding_window=12, attention_value_scale=0.612,
    intermediate_size=80, moe_intermediate_size=16, n_routed_experts=10, num_experts_per_tok=3,
    layernorm_epsilon=1e-5)

FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
       "store_dtype": "mxfp4", "mxfp4_block_size": 32}

RELEASES = {
    # Chunks of 80 Q + 40 K + 16 V = 136 rows: two scale rows each, the border inside V; K shares block 0 with V.
    "pro-release": dict(seed=500, tokens=60, keep=6, shards=1, config=models.xiaomi_config(
        vocab_size=67, hidden_size=160, hybrid_layer_pattern=[0, 1, 0], num_attention_heads=4, num_key_value_heads=2,
        swa_num_key_value_heads=2, head_dim=40, v_head_dim=16, partial_rotary_factor=0.4, rope_theta=10000000,
        swa_rope_theta=10000, sliding_window=16, attention_value_scale=0.612, intermediate_size=136,
        moe_intermediate_size=64, n_routed_experts=6, num_experts_per_tok=2, layernorm_epsilon=1e-5,
        attention_projection_layout="fused_qkv", quantization_config=FP8)),
    # Two chunks in both layer kinds, and two KV heads a chunk in sliding layers: 96 + 48 + 32 = 176 rows on global
    # layers (K and V share block 1), 96 + 96 + 64 = 256 rows, a multiple of 128, on sliding ones.
    "flash-release": dict(seed=600, tokens=60, keep=6, shards=2, config=models.xiaomi_config(
        vocab_size=67, hidden_size=96, hybrid_layer_pattern=[0, 1, 0], num_attention_heads=4, num_key_value_heads=2,
        swa_num_key_value_heads=4, head_dim=48, v_head_dim=32, partial_rotary_factor=0.334, rope_theta=5000000,
        swa_rope_theta=10000, sliding_window=16, attention_value_scale=0.707, intermediate_size=96,
        moe_intermediate_size=96, n_routed_experts=5, num_experts_per_tok=2, layernorm_epsilon=1e-6,
        attention_projection_layout="fused_qkv", quantization_config=FP8)),
}

# As published for MiMo-V2.5-Pro, in small: a vocabulary below the target's, two rotation bases, of which the backbone's
# counts, and the last target layer among the taps.
DRAFTER = {
    "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "hidden_size": 48, "intermediate_size": 64,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "v_head_dim": 16,
    "partial_rotary_factor": 0.5, "block_size": 8,
    "dflash_config": {"target_layer_ids": [0, 2, 4], "mask_token_id": MASK, "num_anchors": 4096, "block_size": 8,
                      "loss_decay_gamma": 7.0, "use_swa": True, "swa_window_size": 24,
                      "backbone_rotary_base": 5000000, "attention_value_scale": 0.612,
                      "attention_sink_bias": True},
    "num_target_layers": 5, "vocab_size": 129, "max_position_embeddings": 512, "rope_theta": 10000,
    "sliding_window": 24, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16", "hidden_act": "silu",
    "attention_bias": False, "attention_dropout": 0.0, "tie_word_embeddings": False, "use_cache": True,
}
DRAFT_STARTS = [1, 5, 16, 17, 23, 24, 25, 40, 63]


def draw_ids(seed, tokens, vocabulary, forbidden=()):
    allowed = np.setdiff1d(np.arange(vocabulary), forbidden)
    return np.random.default_rng(seed + 7).choice(allowed, tokens).tolist()


def target_reference(folder, ids):
    config = json.loads((folder / "config.json").read_text())
    shape = reference.Target.from_config(config)
    weights = read_folder(folder, shape)
    return weights, *reference.target_forward(shape, weights, ids)


def write_expected(folder, ids, logits, keep):
    """ids.json, and every keep-th row of the logits with the last one (README.md: expected.bin)."""
    rows = sorted({*range(0, len(ids), keep), len(ids) - 1})
    (folder / "ids.json").write_text(json.dumps(ids) + "\n")
    header = struct.pack("<8s4I", b"SLIPGOLD", 1, len(ids), logits.shape[1], len(rows))
    (folder / "expected.bin").write_bytes(
        header + np.array(rows, "<u4").tobytes() + logits[rows].astype("<f4").tobytes())


def write_draft_expected(path, ids, logits, starts, best=None):
    """logits [cases, slots, vocabulary], a case a start (README.md: draft.bin); best [cases, slots]: their arg max, or what a head makes of them."""
    cases, slots, vocabulary = logits.shape
    header = struct.pack("<8s5I", b"SLIPDRFT", 1, len(ids), vocabulary, slots, cases)
    body = [part.astype("<u4") for part in (np.array(ids), np.array(starts), logits.argmax(axis=2) if best is None else best)]
    path.write_bytes(header + b"".join(part.tobytes() for part in body) + logits.astype("<f4").tobytes())


def report(name, seed, logits, margin, extra):
    spread = logits.std()
    assert 1 < spread < 3.5, f"{name}: logits have a standard deviation of {spread}"
    print(f"{name}: seed {seed}, {len(logits)} tokens, logits std {spread:.2f}, routing margin {margin:.1e}", extra,
          sep="")


def make_transformers(name, folder, seed, case):
    with tempfile.TemporaryDirectory() as scratch:
        models.write_transformers(folder, pathlib.Path(scratch), seed, case["config"], case["dtype"])
    ids = draw_ids(seed, case["tokens"], case["config"]["vocab_size"])
    _, logits, _, margin = target_reference(folder, ids)
    if margin < ROUTING_MARGIN:
        return False
    exact = np.abs(models.transformers_logits(folder, ids, torch.float64) - logits).max()
    assert exact < 1e-5, f"{name}: NumPy and transformers in float64 differ by {exact}"
    theirs = models.transformers_logits(folder, ids, torch.float32)
    rounding = np.abs(theirs - logits).max()
    assert rounding < 3e-5, f"{name}: NumPy and transformers in float32 differ by {rounding}"
    write_expected(folder, ids, theirs, case["keep"])
    report(name, seed, logits, margin, f", transformers: {exact:.1e} off in float64, {rounding:.1e} in float32")
    return True


def make_release(name, folder, seed, case):
    decoded = models.write_xiaomi_release(folder, seed, case["config"], case["shards"])
    ids = draw_ids(seed, case["tokens"], case["config"]["vocab_size"])
    weights, logits, _, margin = target_reference(folder, ids)
    for tensor, value in decoded.items():
        assert np.array_equal(weights[tensor], value), f"{name}: {tensor} does not decode to what was encoded"
    if margin < ROUTING_MARGIN:
        return False
    write_expected(folder, ids, logits, case["keep"])
    report(name, seed, logits, margin, "")
    return True


def make_pro_split(name, folder, seed, case):
    models.write_xiaomi_split(folder, seed, PRO_SPLIT, MASK)
    ids = draw_ids(seed, case["tokens"], PRO_SPLIT["vocab_size"], [MASK])
    weights, logits, taps, margin = target_reference(folder, ids)
    (folder / "dflash").mkdir()
    mask = models.write_drafter(folder / "dflash", seed + 1, DRAFTER)
    draft = read_folder(folder / "dflash")
    drafted = np.stack([reference.draft_forward(DRAFTER, draft, mask, weights, taps, ids, start)[1:]
                        for start in DRAFT_STARTS])
    ranked = np.sort(drafted, axis=2)
    draft_margin = (ranked[..., -1] - ranked[..., -2]).min()
    if margin < ROUTING_MARGIN or draft_margin < DRAFT_MARGIN:
        return False
    write_expected(folder, ids, logits, case["keep"])
    write_draft_expected(folder / "draft.bin", ids, drafted, DRAFT_STARTS)
    report(name, seed, logits, margin, f", draft logits std {drafted.std():.2f}, draft margin {draft_margin:.1e}")
    return True


def main(wanted):
    torch.set_num_threads(1)
    cases = {name: (make_transformers, case) for name, case in TRANSFORMERS.items()}
    cases["pro-split-bf16"] = (make_pro_split, dict(seed=400, tokens=64, keep=5))
    cases.update({name: (make_release, case) for name, case in RELEASES.items()})
    for name in wanted or cases:
        make, case = cases[name]
        folder, seed = FIXTURES / name, case["seed"]
        while True:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if make(name, folder, seed, case):
                break
            seed += 10
        for path in folder.rglob("*.*"):
            path.chmod(0o644)  # safetensors writes for its user alone


if __name__ == "__main__":
    main(sys.argv[1:])
