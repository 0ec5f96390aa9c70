"""A drafter beside each layout of layouts.py, and what it says:  python drafters.py   (torch and safetensors, for torch.save)

`dflash/` in the form of the releases, mask_embedding.pt included; V2.6's config.json ends in a comma too many, as the published one does.
draft.bin (README.md) is reference.py's, on its own taps of the values that folder.py reads.
"""
import json

import numpy as np

import models
import reference
from folder import read_folder
from layouts import CASES, FIXTURES
from make import DRAFT_MARGIN, write_draft_expected

STARTS = [1, 9, 16, 17, 40]  # a window of 16: 9 is the first that hides a key from the last slot, 16 from the anchor
CHANGES = {"v2-flash-split-fp8": dict(seed=710, mask=64, eps=1e-5, layers=2), "v2.5-fused-fp8": dict(seed=810, mask=65, eps=1e-5, layers=1),
           "v2.6-fused-mxfp4": dict(seed=910, mask=63, eps=1e-6, layers=1)}


def drafter(hidden, mask, eps, layers):
    return {
        "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "hidden_size": hidden, "intermediate_size": 32,
        "num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "v_head_dim": 16,
        "partial_rotary_factor": 0.5, "block_size": 8,
        "dflash_config": {"target_layer_ids": [0, 2], "mask_token_id": mask, "num_anchors": 4096, "block_size": 8,
                          "loss_decay_gamma": 7.0, "use_swa": True, "swa_window_size": 16, "backbone_rotary_base": 10000,
                          "attention_value_scale": 0.612, "attention_sink_bias": True},
        "num_target_layers": 3, "vocab_size": 67, "max_position_embeddings": 512, "rope_theta": 10000, "sliding_window": 16,
        "rms_norm_eps": eps, "torch_dtype": "bfloat16", "hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0,
        "tie_word_embeddings": False, "use_cache": True,
    }


def make(name, seed, **given):
    folder = FIXTURES / name
    c, ids = json.loads((folder / "config.json").read_text()), json.loads((folder / "ids.json").read_text())
    assert given["mask"] not in ids[: max(STARTS)], "a committed token would be read as a mask"
    shape = reference.Target.from_config({**c, "sliding_window": c.get("sliding_window", c["sliding_window_size"] + 1)})
    weights = read_folder(folder, shape)
    _, taps, _ = reference.target_forward(shape, weights, ids)
    (folder / "dflash").mkdir(exist_ok=True)
    config = drafter(c["hidden_size"], **given)
    embedding = models.write_drafter(folder / "dflash", seed, config)
    if name.startswith("v2.6"):
        text = json.dumps(config, indent=2)
        (folder / "dflash" / "config.json").write_text(text[: text.rindex("\n}")] + ",\n}\n")
    draft = read_folder(folder / "dflash")
    drafted = np.stack([reference.draft_forward(config, draft, embedding, weights, taps, ids, start)[1:] for start in STARTS])
    ranked = np.sort(drafted, axis=2)
    margin = (ranked[..., -1] - ranked[..., -2]).min()
    if margin < DRAFT_MARGIN:
        return make(name, seed + 1, **given)
    write_draft_expected(folder / "draft.bin", ids, drafted, STARTS)
    for path in (folder / "dflash").iterdir():
        path.chmod(0o644)
    print(f"{name}: seed {seed}, draft logits std {drafted.std():.2f}, draft margin {margin:.1e}")
    return None


if __name__ == "__main__":
    for case in CASES:
        make(case, **CHANGES[case])
