"""Trains the byte-level BPE tokenizer, where there is none, and encodes the corpus.

Reads DIR/train.jsonl, writes DIR/tokenizer.json, DIR/train.u16 and DIR/heldout.jsonl's tokens as DIR/heldout.u16.
The pre-tokenizer is Qwen2's, exactly: NFC, Qwen2's split expression (matches isolated), then bytes. A document is
<|endoftext|> text <|endoftext|>; documents lie one after the other, shuffled once with a fixed seed. The special tokens
take the highest ids.
"""
import json
import random

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCAB = 4096
SAMPLE = 4                     # the tokenizer is trained on every fourth file
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
    for start in range(0, len(order), 1024):
        batch = [texts[i] for i in order[start:start + 1024]]
        for encoding in tokenizer.encode_batch_fast(batch):
            parts.append(np.array([end, *encoding.ids, end], dtype=np.uint16))
    return np.concatenate(parts)


def encode_all(data):
    tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
    for split in ("heldout", "train"):
        texts = read(data / f"{split}.jsonl")
        tokens = encode(tokenizer, texts, seed=1)
        tokens.tofile(data / f"{split}.u16")
        size = sum(len(t.encode()) for t in texts)
        print(f"{split}: {len(tokens)} tokens, {size} bytes, {size / len(tokens):.3f} bytes a token")


def summary(data):
    return {split: (data / f"{split}.u16").stat().st_size // 2 for split in ("heldout", "train")
            if (data / f"{split}.u16").exists()}


def done(run):
    return (run.folder / "data" / "train.u16").exists()


def main(run):
    data = run.folder / "data"
    if not (data / "tokenizer.json").exists():         # a model that training goes on from has its own
        sample = [t for i, t in enumerate(read(data / "train.jsonl")) if i % SAMPLE == 0]
        train(sample).save(str(data / "tokenizer.json"))
    encode_all(data)
