"""Measures an exported model on the packages that were held out; one JSON line into DIR/results.jsonl.

acceptance   `prompts` prompts of exactly `prompt` tokens that begin at a top-level statement, of code; and of prose and of
             chat-like text made from the held-out packages' descriptions. The target continues each by `count` tokens at
             --temperature; acceptance is the mean of tokens committed a verify step, the bonus token included, with its histogram
             and the share of blocks that agree up to each position; loops: the share of continuations that end in one
parse rate   (at temperature 0) continuations of PARSED prompts that end at a line boundary, judged by parses.py
Arithmetic is BF16 on a GPU and float32 on a CPU. What the engine itself accepts is the figure that counts: requests.py
writes the same prompts as batch lines.
"""
import ast
import json
import random
from itertools import islice
from pathlib import Path

import torch

from judge.parses import parses
from learn.loops import repeats
from nets.decode import generate, noise
from nets.drafter import load_drafter
from nets.hub import open_target

PARSED, LINE_PROMPT = 64, (96, 320)     # prompts, tokens of one


def read_texts(path):
    return [json.loads(line)["text"] for line in open(path, encoding="utf-8")]


def statements(text):
    """Line numbers at which the top-level statements of one file begin."""
    for node in ast.parse(text).body:
        yield min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1


def exact(tokenizer, text, size):
    """The first `size` tokens of text, as text, where they are the same tokens again; else None."""
    ids = tokenizer.encode(text[:size * 12]).ids[:size]
    prompt = tokenizer.decode(ids, skip_special_tokens=False)
    return prompt if len(ids) == size and tokenizer.encode(prompt).ids == ids else None


def code_prompts(tokenizer, texts, count, size):
    """Prompts of exactly `size` tokens, at most four of a file."""
    found = []
    for number, text in enumerate(texts):
        lines = text.splitlines(keepends=True)
        starts = list(statements(text))
        random.Random(number).shuffle(starts)
        prompts = (exact(tokenizer, "".join(lines[first:first + 60]), size) for first in starts)
        found += islice((p for p in prompts if p), 4)
    random.Random(6).shuffle(found)
    return found[:count]


def prose_prompts(tokenizer, texts, count, size):
    found = []
    for text in texts:
        parts = [p for p in text.split("\n\n") if len(p) > 40]
        found += [exact(tokenizer, "\n\n".join(parts[i:i + 12]), size) for i in range(0, len(parts), 2)]
    found = [p for p in found if p]
    random.Random(6).shuffle(found)
    return found[:count]


def chat_prompts(tokenizer, texts, count, size):
    """A user's question about a passage of prose, and the beginning of an answer's turn: `size` tokens in all."""
    found, around = [], ("<|im_start|>user\nExplain this, and give an example in Python:\n\n", "<|im_end|>\n<|im_start|>assistant\n")
    own = sum(len(tokenizer.encode(part).ids) for part in around)
    for text in texts:
        parts = [p.strip() for p in text.split("\n\n") if len(p) > 80]
        for i in range(len(parts)):
            ids = tokenizer.encode("\n\n".join(parts[i:i + 12])).ids[:size - own]
            prompt = around[0] + tokenizer.decode(ids, skip_special_tokens=False) + around[1]
            found += [prompt] * (len(tokenizer.encode(prompt).ids) == size)
    random.Random(6).shuffle(found)
    return found[:count]


def prompts_of(data, tokenizer, count, size):
    """{"code": [...], "prose": [...], "chat": [...]}: the prompts of all figures."""
    code, prose = read_texts(data / "heldout.jsonl"), read_texts(data / "prose.jsonl") if (data / "prose.jsonl").exists() else []
    return {"code": code_prompts(tokenizer, code, count, size), "prose": prose_prompts(tokenizer, prose, count, size),
            "chat": chat_prompts(tokenizer, prose, count, size)}


def candidates(tokenizer, text):
    """(prompt, rest) for the top-level statements of one file, in a random order, one line boundary each."""
    lines, starts = text.splitlines(keepends=True), list(statements(text))
    random.Random(len(lines)).shuffle(starts)
    for first in starts:
        ends = []
        for last in range(first + 4, min(first + 60, len(lines) - 3)):
            if LINE_PROMPT[0] <= len(tokenizer.encode("".join(lines[first:last])).ids) <= LINE_PROMPT[1]:
                ends.append(last)
        if ends:
            last = random.Random(first).choice(ends)
            yield "".join(lines[first:last]), "".join(lines[last:])


class Continuations:
    """What the target makes of the prompts of one kind at one temperature: the same for every drafter."""
    LONGEST_BLOCK, SEED, ROWS = 16, 7, 8

    def __init__(self, run, target, prompts, tokenizer, temperature, taps):
        self.count, self.temperature, self.taps, self.groups = run.settings.evaluate.count, temperature, taps, []
        dtype, by_size = torch.bfloat16 if run.device.type == "cuda" else torch.float32, {}
        for prompt in prompts:
            ids = tokenizer.encode(prompt).ids
            by_size.setdefault(len(ids), []).append(ids)
        for size, group in sorted(by_size.items()):
            ids = torch.tensor(group, device=run.device)
            tokens, states = generate(target.model, ids, self.count + self.LONGEST_BLOCK, dtype, taps, temperature, self.SEED)
            self.groups.append((size, tokens, states.bfloat16()))
        self.loops = [loop for size, tokens, _ in self.groups for loop in repeats(tokens[:, size:size + self.count]).tolist()]

    def agreeing(self, drafter, head, own_noise):
        """[prompts][count]: how many drafts agree at each anchor."""
        block, c, found = drafter.c.block, drafter.c, []
        for size, tokens, states in self.groups:
            columns = torch.cat([torch.arange(c.hidden, device=tokens.device) + self.taps.index(t) * c.hidden for t in c.taps])
            anchors = torch.arange(size, size + self.count, device=tokens.device)
            noises = [self.temperature * noise(self.SEED, size + j, len(tokens), c.vocab, tokens.device)
                      for j in range(self.count + block)] if own_noise else []
            for a in range(0, len(tokens), self.ROWS):
                rows = tokens[a:a + self.ROWS]
                drawn = torch.stack([torch.stack([n[a:a + self.ROWS] for n in noises[j:j + self.count]], 1)
                                     for j in range(1, block)], 2) if own_noise else None
                drafts = drafter.drafts(states[a:a + self.ROWS][..., columns], anchors.expand(len(rows), -1),
                                        rows[:, size:size + self.count], head, drawn)
                truth = torch.stack([rows[:, size + j:size + self.count + j] for j in range(1, block)], -1)
                found += (drafts == truth).cumprod(-1).sum(-1).tolist()
        return found

    def judge(self, drafter, head, own_noise=False):
        """The acceptance figures of a drafter; own_noise: it draws with the noise of the target's samples instead of taking the arg max."""
        rows, block = [], drafter.c.block
        for row in self.agreeing(drafter, head, own_noise):
            lengths, start = [], 0
            while start < self.count - 1:
                lengths.append(row[start] + 1)
                start += lengths[-1]
            rows.append(lengths)
        lengths = [n for row in rows for n in row]
        plain = [n for row, loop in zip(rows, self.loops) if not loop for n in row]
        return {"prompts": len(rows), "mean_acceptance_length": sum(lengths) / len(lengths),
                "without_loops": sum(plain) / max(1, len(plain)), "prompts_without_loops": self.loops.count(False),
                "loops": sum(self.loops) / len(self.loops), "acceptance_histogram": [lengths.count(n + 1) for n in range(block)],
                "survival": [sum(n > j for n in lengths) / len(lengths) for j in range(1, block)]}


class Judge:
    """Judges drafters of one target; continuations are made when first asked for, with the taps of all layers."""

    def __init__(self, run, target):
        s = run.settings.evaluate
        self.run, self.target, self.tokenizer, self.made = run, target, target.tokenizer(), {}
        self.prompts = {kind: found for kind, found in prompts_of(run.folder / "data", self.tokenizer, s.prompts, s.prompt).items() if found}

    def continuations(self, kind, temperature):
        key = kind, temperature
        if key not in self.made:
            self.made[key] = Continuations(self.run, self.target, self.prompts[kind], self.tokenizer, temperature,
                                           tuple(range(self.target.layers)))
        return self.made[key]

    def judge(self, drafter, temperature, about, kinds=None):
        """Result records: by arg max, and at temperatures above 0 by the target's noise too. Kinds without prompts are left out."""
        c, kinds = drafter.c, [kind for kind in kinds or self.prompts if kind in self.prompts]
        about = {"what": "acceptance", **about, "block": c.block, "layers": c.layers, "width": c.width, "taps": list(c.taps),
                 "markov": c.markov, "count": self.run.settings.evaluate.count, "device": str(self.run.device),
                 "parameters": sum(p.numel() for p in drafter.parameters()), "temperature": temperature}
        for own_noise in (False, True) if temperature else (False,):
            yield {**about, "draws": "noise" if own_noise else "arg max",
                   **{kind: self.continuations(kind, temperature).judge(drafter, self.target.head, own_noise)
                      for kind in kinds}}


def parse_rate(run, target, tokenizer, texts, ends):
    """How many of the greedy continuations of PARSED prompts parse; and of the packages' own."""
    texts = random.Random(6).sample(texts, len(texts))
    pairs = [pair for text in texts[:PARSED] for pair in islice(candidates(tokenizer, text), 2)]
    count = run.settings.evaluate.count
    dtype = torch.bfloat16 if run.device.type == "cuda" else torch.float32
    pairs, passed, real, loops = pairs[:min(PARSED, run.settings.evaluate.prompts)], 0, 0, 0
    for prompt, rest in pairs:
        ids = torch.tensor([tokenizer.encode(prompt).ids], device=run.device)
        tokens, _ = generate(target.model, ids, count, dtype)
        own = tokens[0, ids.shape[1]:].tolist()
        text = tokenizer.decode(own[:min([own.index(e) for e in ends if e in own], default=count)], skip_special_tokens=False)
        passed += parses(prompt + text + "\n" * (len(text) == 0))
        real += parses(prompt + tokenizer.decode(tokenizer.encode(rest).ids[:count]))
        loops += repeats(tokens[:, ids.shape[1]:]).item()
    return {"parse_rate": passed / len(pairs), "parse_rate_of_real_text": real / len(pairs), "loops": loops / len(pairs)}


def main(run):
    target = open_target(run)
    folder = run.folder / (f"dflash-{run.args.branch}" if run.args.branch else "export/dflash")
    drafter, judge = load_drafter(folder, target), Judge(run, target)
    about = {"drafter": run.args.branch or "", "note": run.args.note}
    for temperature in run.args.temperature:
        for result in judge.judge(drafter, temperature, about):
            if temperature == 0 and not run.args.branch:
                texts = read_texts(run.folder / "data" / "heldout.jsonl")
                result["parsing"] = parse_rate(run, target, judge.tokenizer, texts, target.config["eos_token_id"])
            with open(Path(run.folder) / "results.jsonl", "a") as results:
                results.write(json.dumps(result) + "\n")
            print(json.dumps(result), flush=True)
    return True
