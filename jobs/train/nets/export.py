"""Writes the trained target as the Hugging Face folder DIR/export, and reads such a folder back for training the drafter.

The folder gets config.json, generation_config.json, tokenizer.json and model.safetensors: the names of the published MiMo-V2
checkpoints, BF16, router and correction bias in F32. Experts are written on the MXFP4 grid (BF16 holds it exactly), so a
conversion to MXFP4 changes no value. With transformers at hand the folder is loaded by MiMoV2FlashForCausalLM and its
logits are compared with ours.
"""
import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from nets import quantize
from nets.decode import Decoder
from nets.target import Config, Mixture, Target


def mixture_tensors(prefix, mlp):
    """(name, tensor) of one layer's router and experts; experts on the MXFP4 grid."""
    yield f"{prefix}.gate.weight", mlp.router.float()
    yield f"{prefix}.gate.e_score_correction_bias", mlp.bias.float()
    gate_up, down = quantize.mxfp4(mlp.gate_up), quantize.mxfp4(mlp.down)
    for e in range(len(down)):
        gate, up = gate_up[e].chunk(2)
        for name, tensor in (("gate", gate), ("up", up), ("down", down[e])):
            yield f"{prefix}.experts.{e}.{name}_proj.weight", tensor.bfloat16()


def tensors(target):
    """All (name, tensor) of the checkpoint."""
    yield "model.embed_tokens.weight", target.embed_tokens.bfloat16()
    for i, layer in enumerate(target.layers):
        prefix = f"model.layers.{i}"
        yield f"{prefix}.input_layernorm.weight", layer.input_layernorm.bfloat16()
        yield f"{prefix}.post_attention_layernorm.weight", layer.post_attention_layernorm.bfloat16()
        for name, p in layer.self_attn.named_parameters():
            yield f"{prefix}.self_attn.{name}", p.bfloat16()
        if isinstance(layer.mlp, Mixture):
            yield from mixture_tensors(f"{prefix}.mlp", layer.mlp)
        else:
            for name, p in layer.mlp.named_parameters():
                yield f"{prefix}.mlp.{name}", p.bfloat16()
    yield "model.norm.weight", target.norm.bfloat16()
    yield "lm_head.weight", target.lm_head.bfloat16()


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2) + "\n")


def export_target(target, tokenizer, out):
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tokenizer, out / "tokenizer.json")
    added = {t["content"]: t["id"] for t in json.loads(tokenizer.read_text())["added_tokens"]}
    target.c.end_ids = [added["<|endoftext|>"], added["<|im_end|>"]]
    write_json(out / "config.json", target.c.hub())
    write_json(out / "generation_config.json", {"eos_token_id": target.c.end_ids})
    with torch.no_grad():
        content = {name: t.detach().cpu().contiguous() for name, t in tensors(target)}
    save_file(content, out / "model.safetensors", metadata={"format": "pt"})


def config_of(folder):
    """Config from the config.json that Config.hub() wrote."""
    h = json.loads((folder / "config.json").read_text())
    rope = h["rope_parameters"]["full_attention"]
    kinds = h["layer_types"]
    return Config(vocab=h["vocab_size"], hidden=h["hidden_size"], layers=len(kinds),
                  globals=tuple(i for i, kind in enumerate(kinds) if kind == "full_attention"), window=h["sliding_window"],
                  heads=h["num_attention_heads"], kv_heads=h["num_key_value_heads"], head_dim=h["head_dim"],
                  v_head_dim=h["v_head_dim"], rotary=int(h["head_dim"] * rope["partial_rotary_factor"]) // 2 * 2,
                  dense=h["intermediate_size"], experts=h["n_routed_experts"], top_k=h["num_experts_per_tok"],
                  expert_width=h["moe_intermediate_size"], end_ids=h["eos_token_id"])


def load_target(folder, device="cpu"):
    """A Target with exactly the exported weights; its own forward and Decoder may both be used."""
    stored, target = load_file(folder / "model.safetensors"), Target(config_of(folder))
    state = {}
    for name, tensor in stored.items():
        name = name.removeprefix("model.").replace("mlp.gate.weight", "mlp.router")
        name = name.replace("mlp.gate.e_score_correction_bias", "mlp.bias")
        for short in ("embed_tokens", "norm", "layernorm", "lm_head"):
            name = name.replace(f"{short}.weight", short)
        state[name] = tensor.float()
    for i, layer in enumerate(target.layers):
        if isinstance(layer.mlp, Mixture):
            parts = {n: [state.pop(f"layers.{i}.mlp.experts.{e}.{n}_proj.weight") for e in range(target.c.experts)]
                     for n in ("gate", "up", "down")}
            state[f"layers.{i}.mlp.gate_up"] = torch.cat([torch.stack(parts["gate"]), torch.stack(parts["up"])], 1)
            state[f"layers.{i}.mlp.down"] = torch.stack(parts["down"])
    target.load_state_dict(state)
    return target.to(device).eval().requires_grad_(False)


def compare(folder, tokens):
    """Largest difference of logits between transformers' model and ours on tokens [1, time], both in float32."""
    from transformers import MiMoV2FlashForCausalLM
    theirs = MiMoV2FlashForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    decoder = Decoder(load_target(folder), *tokens.shape)
    with torch.no_grad():
        return (theirs(tokens).logits - decoder.logits(decoder.step(tokens)[0])).abs().max().item()


def done(run):
    return (run.folder / "export" / "model.safetensors").exists()


def main(run):
    data, out = run.folder / "data", run.folder / "export"
    target = Target(Config(**run.settings.target.shape))
    name = f"target-{run.args.branch}.pt" if run.args.branch else "target.pt"
    target.load_state_dict(torch.load(run.folder / "run" / name, map_location="cpu", weights_only=True)["model"])
    export_target(target, data / "tokenizer.json", out)
    try:
        from transformers import MiMoV2FlashForCausalLM  # noqa: F401
    except ImportError:
        print("export: this transformers has no MiMoV2FlashForCausalLM, logits not compared")
        return True
    tokens = torch.randint(0, target.c.vocab, (1, 300), generator=torch.Generator().manual_seed(1))
    print(f"export: largest logit difference to transformers {compare(out, tokens):.2e}")
    return True
