"""The target as the drafter sees it: hidden states, taps, embedding and head, from our export or from any Hugging Face folder."""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import nn

from nets import experts
from nets.decode import Decoder
from nets.drafter import compute_dtype
from nets.export import load_target


class OwnTarget:
    """A folder that nets/export.py wrote, with the training code's forward pass."""

    def __init__(self, folder, device):
        self.folder, self.model = folder, load_target(folder, device)
        for mixture in self.model.mixtures():
            mixture.products = experts.way("auto", device)
        c = self.model.c
        self.vocab, self.hidden, self.layers, self.window = c.vocab, c.hidden, c.layers, c.window
        self.embedding, self.head = self.model.embed_tokens.data, self.model.lm_head.data.bfloat16()

    def states(self, tokens, taps):
        """tokens [batch, time] -> final-normed states [batch, time, hidden], taps [batch, time, taps * hidden]."""
        if compute_dtype(tokens.device) == torch.float32:
            return Decoder(self.model, *tokens.shape, torch.float32, taps).step(tokens)
        time = tokens.shape[1]
        states, tapped = self.model.hidden(F.pad(tokens, (0, -time % self.window)), taps)
        return states[:, :time], torch.cat(tapped, -1)[:, :time]

    def tokenizer(self):
        return Tokenizer.from_file(str(self.folder / "tokenizer.json"))


class HubTarget(OwnTarget):
    """Any causal model that transformers loads."""

    def __init__(self, folder, device):
        from transformers import AutoModelForCausalLM
        self.folder = Path(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=compute_dtype(device)).to(device).eval().requires_grad_(False)
        self.embedding = self.model.get_input_embeddings().weight.data
        self.head = self.model.get_output_embeddings().weight.data.bfloat16()
        self.vocab, self.hidden = self.head.shape
        self.blocks = next(m for m in self.model.modules() if isinstance(m, nn.ModuleList))
        self.layers, self.tapped = len(self.blocks), {}
        for i, block in enumerate(self.blocks):
            block.register_forward_hook(lambda module, inputs, output, i=i: self.keep(i, output))

    def keep(self, layer, output):
        self.tapped[layer] = output[0] if isinstance(output, tuple) else output

    def states(self, tokens, taps):
        states = self.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        return states, torch.cat([self.tapped[i] for i in taps], -1)


def open_target(run):
    """The target of this run: --target FOLDER by transformers, or DIR/export."""
    folder = Path(run.args.target or run.folder / "export")
    if not (folder / "config.json").exists():
        raise SystemExit(f"{folder}: config.json: missing; the stage export writes it")
    target = (HubTarget if run.args.target else OwnTarget)(folder, run.device)
    target.config = json.loads((folder / "config.json").read_text())
    return target
