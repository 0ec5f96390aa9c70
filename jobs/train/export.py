#!/usr/bin/env python3
"""Writes the trained target as a Hugging Face folder, and reads such a folder back for training the drafter.

    python export.py --state DIR --data DIR --out DIR

OUT gets config.json, generation_config.json, tokenizer.json and model.safetensors: the names of the published MiMo-V2
checkpoints, BF16, router and correction bias in F32. Experts are written on the MXFP4 grid (BF16 holds it exactly), so a
conversion to MXFP4 changes no value. With transformers at hand the folder is loaded by MiMoV2FlashForCausalLM and its
logits are compared with ours.
"""
import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import mxfp4
from decode import Decoder
from model import Config, Mixture, Target


def mixture_tensors(prefix, mlp):
    """(name, tensor) of one layer's router and experts; experts on the MXFP4 grid."""
    yield f"{prefix}.gate.weight", mlp.router.float()
    yield f"{prefix}.gate.e_score_correction_bias", mlp.bias.float()
    gate_up, down = mxfp4.quantize(mlp.gate_up), mxfp4.quantize(mlp.down)
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
    write_json(out / "generation_config.json", {"eos_token_id": target.c.end_ids, "do_sample": False})
    with torch.no_grad():
        content = {name: t.detach().cpu().contiguous() for name, t in tensors(target)}
    save_file(content, out / "model.safetensors", metadata={"format": "pt"})


def load_target(folder, device="cpu"):
    """A Target with exactly the exported weights; its own forward and Decoder may both be used."""
    stored, target = load_file(folder / "model.safetensors"), Target(Config())
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder with target.pt")
    parser.add_argument("--data", type=Path, required=True, help="folder with tokenizer.json")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    target = Target(Config())
    target.load_state_dict(torch.load(args.state / "target.pt", map_location="cpu")["model"])
    export_target(target, args.data / "tokenizer.json", args.out)
    try:
        import transformers  # noqa: F401
    except ImportError:
        print("export: transformers is not installed, logits not compared")
        return
    tokens = torch.randint(0, target.c.vocab, (1, 400), generator=torch.Generator().manual_seed(1))
    print(f"export: largest logit difference to transformers {compare(args.out, tokens):.2e}")


if __name__ == "__main__":
    main()
