#!/usr/bin/env python3
"""Measures an exported model on the packages that were held out.

    python evaluate.py --target EXPORT --data DIR [--prompts N] [--temperature T] [--show K]

bits per byte     files of heldout.jsonl in windows of WINDOW tokens, every token but a window's first is predicted
parse rate        greedy continuations of COUNT tokens of prompts that begin at a top-level statement and end at a line
                  boundary (PROMPT tokens long), judged by parses.py; the prompts' own continuations beside it
acceptance        on the same continuations: mean tokens committed a verify step, bonus included, and its histogram
repeating         share of the continuations that end in a loop of at most PERIOD tokens, as greedy text of a small model
                  will; and the acceptance length without them
One JSON object on standard output. Weights are the exported ones, arithmetic float32 (the drafter's bfloat16).
"""
import argparse
import ast
import json
import math
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import parallel
from decode import Decoder, generate
from drafter import load_drafter
from export import load_target
from parses import parses

WINDOW = 1024
PROMPT = (96, 320)             # tokens
COUNT = 128
PERIOD = 40


def read_texts(path):
    return [json.loads(line)["text"] for line in open(path, encoding="utf-8")]


def bits_per_byte(target, tokenizer, texts, limit):
    """Over the first windows of all files in turn, up to `limit` tokens."""
    windows = [ids[a:a + WINDOW] for ids in (tokenizer.encode(t).ids for t in texts) for a in range(0, len(ids), WINDOW)]
    random.Random(5).shuffle(windows)
    nats, size, count = 0.0, 0, 0
    for ids in windows:
        if count > limit or len(ids) < 2:
            continue
        tokens = torch.tensor([ids], device=target.lm_head.device)
        decoder = Decoder(target, 1, len(ids))
        logits = decoder.logits(decoder.step(tokens)[0])
        nats += F.cross_entropy(logits[0, :-1], tokens[0, 1:], reduction="sum").item()
        size += len(tokenizer.decode(ids[1:], skip_special_tokens=False).encode())
        count += len(ids) - 1
    return nats / math.log(2) / size


def candidates(tokenizer, text):
    """(prompt, rest) for the top-level statements of one file, one line boundary each."""
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
        ends = []
        for last in range(first + 4, min(first + 60, len(lines) - 3)):
            if PROMPT[0] <= len(tokenizer.encode("".join(lines[first:last])).ids) <= PROMPT[1]:
                ends.append(last)
        if ends:
            last = random.Random(first).choice(ends)
            yield "".join(lines[first:last]), "".join(lines[last:])


def choose_prompts(tokenizer, texts, count):
    pairs = [pair for text in texts for pair in candidates(tokenizer, text)]
    random.Random(6).shuffle(pairs)
    return pairs[:count]


def walk(target, drafter, tokens, taps, prompt):
    """Acceptance lengths of the verify steps that write tokens[prompt + 1 : prompt + COUNT]; tokens [time]."""
    block = drafter.c.block
    anchors = torch.arange(prompt, prompt + COUNT, device=tokens.device)
    states = drafter(taps[None].bfloat16(), anchors[None], tokens[anchors][None])[0, :, 1:]
    drafts = (states.float() @ target.lm_head.t()).argmax(-1)
    truth = torch.stack([tokens[anchors + j] for j in range(1, block)], -1)
    accepted = (drafts == truth).cumprod(-1).sum(-1).tolist()
    lengths, start = [], 0
    while start < COUNT - 1:
        lengths.append(accepted[start] + 1)
        start += lengths[-1]
    return lengths


def repeats(tokens):
    """Whether the last 48 tokens are those of some PERIOD or fewer places before."""
    tokens = tokens.tolist()
    return any(tokens[-48:] == tokens[-48 - p:-p] for p in range(1, PERIOD + 1))


def continuations(target, tokenizer, prompts, taps, block, temperature):
    device = target.lm_head.device
    for seed, (prompt, _) in enumerate(prompts):
        ids = torch.tensor([tokenizer.encode(prompt).ids], device=device)
        tokens, tapped = generate(target, ids, COUNT + block, taps=taps, temperature=temperature,
                                  generator=torch.Generator(device).manual_seed(seed))
        yield ids.shape[1], tokens[0], tapped[0]


def text_of(tokenizer, ids, ends):
    """The continuation's text up to an end of document."""
    ids = ids.tolist()
    stop = min([ids.index(e) for e in ends if e in ids], default=len(ids))
    return tokenizer.decode(ids[:stop], skip_special_tokens=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, required=True, help="folder written by export.py, with dflash/")
    parser.add_argument("--data", type=Path, required=True, help="folder with heldout.jsonl")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=60000, help="tokens for bits per byte (60000)")
    parser.add_argument("--show", type=int, default=0, help="print this many continuations to standard error")
    args = parser.parse_args()
    target = load_target(args.target, parallel.device())
    drafter = load_drafter(args.target / "dflash", target)
    tokenizer = Tokenizer.from_file(str(args.target / "tokenizer.json"))
    ends = json.loads((args.target / "config.json").read_text())["eos_token_id"]
    texts = read_texts(args.data / "heldout.jsonl")
    prompts = choose_prompts(tokenizer, texts, args.prompts)
    passed, real, loops, lengths, plain = 0, 0, 0, [], []
    rows = continuations(target, tokenizer, prompts, drafter.c.taps, drafter.c.block, args.temperature)
    for index, ((prompt, rest), (size, tokens, taps)) in enumerate(zip(prompts, rows)):
        text = text_of(tokenizer, tokens[size:size + COUNT], ends)
        good = parses(prompt + text + "\n" * (len(text) == 0))
        passed += good
        real += parses(prompt + tokenizer.decode(tokenizer.encode(rest).ids[:COUNT]))
        steps = walk(target, drafter, tokens, taps, size)
        lengths += steps
        loops += repeats(tokens[size:size + COUNT])
        plain += [] if repeats(tokens[size:size + COUNT]) else steps
        if index < args.show:
            print(f"=== parses {good}, {len(steps)} steps\n{prompt}>>>{text}", file=sys.stderr)
    histogram = [lengths.count(n + 1) for n in range(drafter.c.block)]
    print(json.dumps({
        "prompts": len(prompts), "temperature": args.temperature,
        "parse_rate": passed / len(prompts), "parse_rate_of_real_text": real / len(prompts),
        "mean_acceptance_length": sum(lengths) / len(lengths), "acceptance_histogram": histogram,
        "repeating": loops / len(prompts), "mean_acceptance_length_without_repeating": sum(plain) / max(1, len(plain)),
        "bits_per_byte": bits_per_byte(target, tokenizer, texts, args.tokens)}))


if __name__ == "__main__":
    main()
