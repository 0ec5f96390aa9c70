"""recover: a model file that `slipstream convert` wrote, back into the folders that training goes on from.

Writes DIR/export and, where the file has a drafter, DIR/export/dflash, in the names and formats of nets/export.py and nets/drafter.py, and
DIR/data/tokenizer.json. Values stay as they are stored; experts in MXFP4 become the same numbers in BF16. So `convert --experts mxfp4` of
the folder gives the file's datasets again. docs/checkpoint-format.md says what a file holds.
"""
import json

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

from nets.drafter import load_drafter
from nets.export import write_json
from nets.hub import OwnTarget

# The tensor of a dataset: those outside of layers, and those of a layer, experts by {} their number.
TARGET = {"embed": "model.embed_tokens.weight", "head": "lm_head.weight", "norm": "model.norm.weight"}
DRAFT = {"fc": "fc.weight", "hidden_norm": "hidden_norm.weight", "norm": "norm.weight", "mask_embedding": "mask_embedding",
         "markov_previous": "previous.weight", "markov_following": "following.weight"}
LAYER = {"attn_norm": "input_layernorm.weight", "mlp_norm": "post_attention_layernorm.weight", "router": "mlp.gate.weight",
         "router_bias": "mlp.gate.e_score_correction_bias", "sinks": "self_attn.attention_sink_bias",
         **{n: f"self_attn.{n}_proj.weight" for n in "qkvo"}, **{n: f"self_attn.{n}.weight" for n in ("q_norm", "k_norm")},
         **{n: f"mlp.{n}_proj.weight" for n in ("gate", "up", "down")},
         **{f"experts/{n}": f"mlp.experts.{{}}.{n}_proj.weight" for n in ("gate", "up", "down")}}
MAGNITUDES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def mxfp4(codes, scales):
    """codes uint8 [.., columns / 2], scales uint8 [.., columns / 32] -> the same numbers in float64 [.., columns]."""
    nibbles = np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:-1], -1)
    values = MAGNITUDES[nibbles & 7] * np.where(nibbles & 8, -1, 1)
    return values * np.exp2(scales.astype(np.int64) - 127).repeat(32, -1)


def values(place, dataset):
    """A dataset as a tensor of the type that an export has it in."""
    kind, stored = text(dataset.attrs.get("dtype", "")), dataset[...]
    if kind == "f32":
        return torch.from_numpy(stored)
    if kind == "bf16":
        return torch.from_numpy(stored.view(np.int16)).view(torch.bfloat16)
    if kind != "mxfp4":
        raise SystemExit(f"{place}: dtype: {kind!r}: should be f32, bf16 or mxfp4; these scripts train nothing else")
    exact = torch.from_numpy(mxfp4(stored, dataset.parent[dataset.name.split("/")[-1] + "_scale"][...]))
    if not torch.equal(exact.bfloat16().double(), exact):
        raise SystemExit(f"{place}: has a scale whose numbers BF16 does not hold")
    return exact.bfloat16()


def datasets(group):
    """(name, dataset) of all below a group, links to a layer's file followed."""
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            yield from ((f"{name}/{below}", dataset) for below, dataset in datasets(item))
        else:
            yield name, item


def tensors(path, group, top, prefix):
    """(name, tensor) of a model file's group; `top` names what stands outside of layers, `prefix` begins a layer's names."""
    for name, dataset in datasets(group):
        if name.endswith("_scale"):
            continue
        layer, own = name.split("/", 2)[1:] if name.startswith("layers/") else ("", name)
        wanted = (LAYER if layer else top).get(own)
        if wanted is None:
            raise SystemExit(f"{path}: {group.name}/{name}: no weight that these scripts train")
        begin, tensor = f"{prefix}layers.{layer}." if layer else "", values(f"{path}: {group.name}/{name}", dataset)
        if own.startswith("experts/"):
            yield from ((begin + wanted.format(e), part.contiguous()) for e, part in enumerate(tensor))
        else:
            yield begin + wanted, tensor


def write(folder, config, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config)
    save_file(content, folder / "model.safetensors", metadata={"format": "pt"})


def recover(path, out):
    """The model file `path` into the folder `out` and out/dflash; returns the tokenizer's bytes."""
    if not path.exists():
        raise SystemExit(f"{path}: there is no such file")
    if not h5py.is_hdf5(path):
        raise SystemExit(f"{path}: should be a model that slipstream convert wrote, and is no HDF5 file")
    with h5py.File(path) as file:
        if text(file.attrs.get("format", "")) != "slipstream" or "tokenizer" not in file:
            raise SystemExit(f"{path}: should be a model that slipstream convert wrote, with a tokenizer")
        config, settings = text(file.attrs["config"]), json.loads(text(file.attrs.get("settings", "{}")))
        window = json.loads(config).get("sliding_window")
        if settings.get("window", window) != window:
            raise SystemExit(f"{path}: settings: window: {settings['window']}: the config says {window}, and these scripts know that alone")
        write(out, config, dict(tensors(path, file["target"], TARGET, "model.")))
        write_json(out / "generation_config.json", {"eos_token_id": settings.get("eos_token_id", []), **settings.get("sampling", {})})
        tokenizer = file["tokenizer"][...].tobytes()
        (out / "tokenizer.json").write_bytes(tokenizer)
        if "draft" in file:
            draft, content = text(file.attrs["draft_config"]), dict(tensors(path, file["draft"], DRAFT, ""))
            embedding = content.pop("mask_embedding")
            write(out / "dflash", draft, content)
            torch.save({"embedding": embedding, "mask_token_id": json.loads(draft)["dflash_config"]["mask_token_id"]}, out / "dflash" / "mask_embedding.pt")
    return tokenizer


def main(run):
    out, data = run.folder / "export", run.folder / "data"
    if run.args.model is None:
        raise SystemExit("train: recover needs --model")
    if (out / "model.safetensors").exists():
        raise SystemExit(f"{out}: is there already")
    (data / "tokenizer.json").write_bytes(recover(run.args.model, out))
    target = OwnTarget(out, run.device)                                 # what was written loads: every weight is there, in its shape
    drafter = load_drafter(out / "dflash", target) if (out / "dflash").exists() else None
    print(f"recover: {out}: {sum(p.numel() for p in target.model.parameters())} parameters, "
          + (f"drafter {sum(p.numel() for p in drafter.parameters())}, block {drafter.c.block}" if drafter else "no drafter"))
    return True
