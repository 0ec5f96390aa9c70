"""What a target loses and its drafter gains: both of DIR/export, or of DIR/agree-NAME with --branch NAME; a JSON line into DIR/results.jsonl.

bits_per_byte of held-out files, experts in MXFP4 and activations in E4M3; acceptance on the code prompts of evaluate.py at every --temperature,
greedy with the shares that loop and that parse, prompt and continuation together.
"""
import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer

from judge.bits import nats, windows
from judge.evaluate import Continuations, code_prompts, read_texts
from judge.parses import parses
from nets.drafter import load_drafter
from nets.hub import OwnTarget


class Trade:
    def __init__(self, run):
        self.run, s, data = run, run.settings.evaluate, run.folder / "data"
        self.tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
        self.prompts = code_prompts(self.tokenizer, read_texts(data / "heldout.jsonl"), s.prompts, s.prompt)
        self.rows, self.bytes = windows(data / "heldout.u16", self.tokenizer, run.settings.target.long, s.tokens)

    def bits(self, model):
        """In the training forward pass, rounded as the engine rounds."""
        model.quantize("experts", True)
        found = nats(model, self.rows, self.run.device, 16) / math.log(2) / self.bytes
        model.quantize("none")
        return found

    def parse_rate(self, made, ends):
        """Of greedy continuations, each up to its end of text."""
        passed = 0
        for size, tokens, _ in made.groups:
            for row in tokens[:, :size + made.count].tolist():
                end = next((i for i in range(size, len(row)) if row[i] in ends), len(row))
                passed += parses(self.tokenizer.decode(row[:end], skip_special_tokens=False))
        return passed / len(self.prompts)

    @torch.no_grad()
    def judge(self, folder, about, temperatures=(0.0, 1.0)):
        """Writes and returns the line of `folder`, a target with its drafter in dflash."""
        target = OwnTarget(Path(folder), self.run.device)
        drafter = load_drafter(Path(folder) / "dflash", target)
        line = {"what": "trade", **about, "note": self.run.args.note, "device": str(self.run.device), "bits_per_byte": self.bits(target.model),
                "tokens": self.rows.numel() - len(self.rows)}
        for temperature in temperatures:
            made = Continuations(self.run, target, self.prompts, self.tokenizer, temperature, tuple(drafter.c.taps))
            line[f"T{temperature:g}"] = made.judge(drafter, target.head, own_noise=temperature > 0)
            if temperature == 0:
                line["parse_rate"] = self.parse_rate(made, target.model.c.end_ids)
        with open(self.run.folder / "results.jsonl", "a") as results:
            results.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        return line


def main(run):
    name = run.args.branch
    Trade(run).judge(run.folder / (f"agree-{name}" if name else "export"), {"agree": name or ""}, sorted({0.0, *run.args.temperature}))
    return True
