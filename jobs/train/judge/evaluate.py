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
from nets.decode import generate
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


def acceptance(drafter, head, tokens, taps, prompt, count):
    """Of one batch of continuations: each row's list of acceptance lengths, and agreement by position [block - 1]."""
    block = drafter.c.block
    anchors = torch.arange(prompt, prompt + count, device=tokens.device).expand(len(tokens), -1)
    drafts = torch.cat([drafter.drafts(taps[i:i + 8].bfloat16(), anchors[i:i + 8], tokens[i:i + 8, prompt:prompt + count], head)
                        for i in range(0, len(tokens), 8)])
    truth = torch.stack([tokens[:, prompt + j:prompt + count + j] for j in range(1, block)], -1)
    accepted = (drafts == truth).cumprod(-1).sum(-1).tolist()
    rows = []
    for row in accepted:
        lengths, start = [], 0
        while start < count - 1:
            lengths.append(row[start] + 1)
            start += lengths[-1]
        rows.append(lengths)
    return rows


def measure(run, target, drafter, prompts, tokenizer, temperature):
    """The acceptance figures of one kind of prompts."""
    s, block = run.settings.evaluate, drafter.c.block
    dtype = torch.bfloat16 if run.device.type == "cuda" else torch.float32
    by_size, rows, loops = {}, [], []
    for prompt in prompts:
        ids = tokenizer.encode(prompt).ids
        by_size.setdefault(len(ids), []).append(ids)
    for size, group in sorted(by_size.items()):
        ids = torch.tensor(group, device=run.device)
        tokens, taps = generate(target.model, ids, s.count + block, dtype, drafter.c.taps, temperature,
                                torch.Generator(run.device).manual_seed(7))
        rows += acceptance(drafter, target.head, tokens, taps, size, s.count)
        loops += repeats(tokens[:, size:size + s.count]).tolist()
    lengths = [n for row in rows for n in row]
    plain = [n for row, loop in zip(rows, loops) if not loop for n in row]
    return {"prompts": len(rows), "mean_acceptance_length": sum(lengths) / len(lengths),
            "without_loops": sum(plain) / max(1, len(plain)), "prompts_without_loops": loops.count(False),
            "loops": sum(loops) / len(loops), "acceptance_histogram": [lengths.count(n + 1) for n in range(block)],
            "survival": [sum(n > j for n in lengths) / len(lengths) for j in range(1, block)]}


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
    s = run.settings.evaluate
    target = open_target(run)
    folder = run.folder / (f"dflash-{run.args.branch}" if run.args.branch else "export/dflash")
    drafter = load_drafter(folder, target)
    tokenizer = target.tokenizer()
    about = {"what": "acceptance", "drafter": run.args.branch or "", "note": run.args.note, "block": drafter.c.block,
             "layers": drafter.c.layers, "taps": list(drafter.c.taps), "markov": drafter.c.markov, "count": s.count,
             "parameters": sum(p.numel() for p in drafter.parameters()), "device": str(run.device)}
    prompts = prompts_of(run.folder / "data", tokenizer, s.prompts, s.prompt)
    for temperature in run.args.temperature:
        result = {**about, "temperature": temperature}
        for kind, found in prompts.items():
            if found:
                result[kind] = measure(run, target, drafter, found, tokenizer, temperature)
        if temperature == 0 and not run.args.branch:
            texts = read_texts(run.folder / "data" / "heldout.jsonl")
            result["parsing"] = parse_rate(run, target, tokenizer, texts, target.config["eos_token_id"])
        with open(Path(run.folder) / "results.jsonl", "a") as results:
            results.write(json.dumps(result) + "\n")
        print(json.dumps(result), flush=True)
    return True
