"""transformers.bin beside expected.bin: the same logits by transformers.   python hold.py

For the layouts that transformers cannot read itself, but whose forward pass it has: folder.py reads what is stored, and
MiMoV2FlashForCausalLM runs on those values in float32. reference.py is held against it in float64 first.
"""
import json
import pathlib

import numpy as np
import torch
from transformers import MiMoV2FlashConfig, MiMoV2FlashForCausalLM

import reference
from folder import read_folder
from layouts import CASES, golden

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
EXACT, ROUNDING = 1e-5, 3e-5  # as in make.py


def in_their_words(c):
    """Xiaomi's config.json in transformers' dialect. Where only sliding_window_size is given, what it means is left to transformers."""
    kinds, factor = ["full_attention", "sliding_attention"], c["partial_rotary_factor"]
    same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "moe_intermediate_size", "num_experts_per_tok", "n_routed_experts", "routed_scaling_factor", "n_group", "topk_group",
            "norm_topk_prob", "head_dim", "v_head_dim", "attention_value_scale", "max_position_embeddings", "tie_word_embeddings")
    window = "sliding_window" if "sliding_window" in c else "sliding_window_size"
    assert c["swa_num_key_value_heads"] == 2 * c["num_key_value_heads"], "transformers has no other sliding layers"
    return MiMoV2FlashConfig(
        **{name: c[name] for name in same}, **{window: c[window]}, rms_norm_eps=c["layernorm_epsilon"],
        layer_types=[kinds[kind] for kind in c["hybrid_layer_pattern"]],
        mlp_layer_types=[["dense", "sparse"][kind] for kind in c["moe_layer_freq"]],
        rope_parameters={kind: dict(rope_type="default", rope_theta=float(c[base]), partial_rotary_factor=factor)
                         for kind, base in zip(kinds, ("rope_theta", "swa_rope_theta"))})


def their_names(weights):
    """gate_up_proj and down_proj of all experts stacked; sinks by their name there."""
    state, experts = {}, {}
    for name, value in weights.items():
        if ".experts." in name:
            layer, rest = name.split(".experts.")
            expert, part = rest.split(".")[:2]
            experts.setdefault(layer, {}).setdefault(int(expert), {})[part] = value
        else:
            state[name.replace("attention_sink_bias", "sinks")] = value
    for layer, of in experts.items():
        state[f"{layer}.experts.gate_up_proj"] = np.stack([np.concatenate([of[e]["gate_proj"], of[e]["up_proj"]]) for e in sorted(of)])
        state[f"{layer}.experts.down_proj"] = np.stack([of[e]["down_proj"] for e in sorted(of)])
    return state


def their_logits(c, weights, ids, dtype):
    config = in_their_words(c)
    config._attn_implementation = config._experts_implementation = "eager"
    model = MiMoV2FlashForCausalLM(config).to(dtype).eval()
    state = {name: torch.from_numpy(np.array(value)).to(dtype) for name, value in their_names(weights).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("inv_freq" in name for name in missing), (missing, unexpected)
    with torch.no_grad():
        return config.sliding_window, model(torch.tensor([ids])).logits[0].numpy()


def main():
    torch.set_num_threads(1)
    for name in CASES:
        folder = FIXTURES / name
        c, ids = json.loads((folder / "config.json").read_text()), json.loads((folder / "ids.json").read_text())
        shape = reference.Target.from_config({**c, "sliding_window": c.get("sliding_window", c["sliding_window_size"] + 1)})
        weights = read_folder(folder, shape)
        logits, _, _ = reference.target_forward(shape, weights, ids)
        window, exact = their_logits(c, weights, ids, torch.float64)
        _, theirs = their_logits(c, weights, ids, torch.float32)
        errors = [np.abs(other - logits).max() for other in (exact, theirs)]
        assert window == shape.sliding.window and errors[0] < EXACT and errors[1] < ROUNDING, (name, window, errors)
        (folder / "transformers.bin").write_bytes(golden(theirs))
        print(f"{name}: {errors[0]:.1e} off in float64, {errors[1]:.1e} in float32, a window of {window}")


if __name__ == "__main__":
    main()
