#!/usr/bin/env python3
"""Trains the byte-level BPE tokenizer and encodes the corpus.

    python tokenizer.py --data DIR

Reads DIR/train.jsonl, writes DIR/tokenizer.json, DIR/train.u16 and DIR/heldout.jsonl's tokens as DIR/heldout.u16.
The pre-tokenizer is Qwen2's, exactly: NFC, Qwen2's split expression (matches isolated), then bytes. A document is
<|endoftext|> text <|endoftext|>; documents lie one after the other, shuffled once with a fixed seed. The special tokens
take the highest ids.
"""
import argparse
import json
import random
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCAB = 4096
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|mask|>"]
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def train(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(SPECIALS), special_tokens=[], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    ids = [tokenizer.token_to_id(s) for s in SPECIALS]
    assert ids == list(range(VOCAB - len(SPECIALS), VOCAB)), ids
    return tokenizer


def encode(tokenizer, texts, seed):
    """All documents in one stream of uint16, shuffled by `seed`, each between two <|endoftext|>."""
    end = tokenizer.token_to_id("<|endoftext|>")
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    parts = []
    for start in range(0, len(order), 256):
        batch = [texts[i] for i in order[start:start + 256]]
        for encoding in tokenizer.encode_batch(batch):
            parts.append(np.array([end, *encoding.ids, end], dtype=np.uint16))
    return np.concatenate(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by gather.py")
    args = parser.parse_args()
    texts = read(args.data / "train.jsonl")
    tokenizer = train(texts)
    tokenizer.save(str(args.data / "tokenizer.json"))
    for split in ("train", "heldout"):
        texts = read(args.data / f"{split}.jsonl")
        tokens = encode(tokenizer, texts, seed=1)
        tokens.tofile(args.data / f"{split}.u16")
        size = sum(len(t.encode()) for t in texts)
        print(f"{split}: {len(tokens)} tokens, {size} bytes, {size / len(tokens):.3f} bytes a token")


if __name__ == "__main__":
    main()
