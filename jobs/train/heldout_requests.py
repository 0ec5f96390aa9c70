#!/usr/bin/env python3
"""Writes batch lines whose prompts come from the held-out packages: 25 lines from a top-level statement on, greedy, 128 tokens.

    python heldout_requests.py --data DIR/data > heldout.jsonl
    mpirun -n 3 slipstream batch -m model.h5 -i heldout.jsonl -o results.jsonl --sequences 1 --always-draft

The acceptance length that this prints is the README's. The draw is seeded: the same data give the same lines.
"""
import argparse
import json
import random
from pathlib import Path

PROMPTS, LINES, TOKENS = 48, 25, 128


def prompt(documents):
    """The next draw, or None where it is too short to be of use."""
    lines = random.choice(documents)["text"].split("\n")
    if len(lines) < 60:
        return None
    first = random.randrange(0, len(lines) - 50)
    while first < len(lines) - 40 and not (lines[first] and lines[first][0] not in " \t#)]}"):
        first += 1
    text = "\n".join(lines[first:first + LINES]) + "\n"
    return text if len(text) >= 200 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    documents = [json.loads(line) for line in open(parser.parse_args().data / "heldout.jsonl")]
    random.seed(7)
    written = draw = 0
    while written < PROMPTS:
        text = prompt(documents)
        if text is not None:
            body = {"prompt": text, "max_tokens": TOKENS, "temperature": 0}
            print(json.dumps({"custom_id": f"h{draw}", "method": "POST", "url": "/v1/completions", "body": body}))
            written += 1
        draw += 1


if __name__ == "__main__":
    main()
