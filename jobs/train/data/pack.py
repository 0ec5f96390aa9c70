"""Packs the text of a run into a few files that travel, and unpacks and encodes it again where it arrives.

pack writes TRAVEL/text.N.xz, and two small files as they are: compressed source text is half the size of
its tokens, and encoding on the cores of a GPU machine takes less time than sending tokens. unpack restores
DIR/data/{train,heldout}.jsonl and encodes them.
"""
import json
import lzma
import multiprocessing
import shutil

from data import tokenizer

PLAIN = ("tokenizer.json", "prose.jsonl")
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 27}]


def compress(text):
    return lzma.compress(text, format=lzma.FORMAT_XZ, filters=FILTERS)


def pack(data, travel, share):
    """Of the training text every N-th file from the i-th on, for a share i/N, in two halves (so that two cores compress, and two calls carry);
    held-out text in a file of its own."""
    first, step = map(int, share.split("/"))
    travel.mkdir(parents=True, exist_ok=True)
    lines = (data / "train.jsonl").read_bytes().splitlines(keepends=True)[first::step]
    half = sum(map(len, lines)) // 2
    parts, size = [[], []], 0
    for line in lines:
        parts[size > half].append(line)
        size += len(line)
    texts = [(data / "heldout.jsonl").read_bytes(), *(b"".join(p) for p in parts)]
    with multiprocessing.Pool(2) as pool:
        for i, packed in enumerate(pool.imap(compress, texts)):
            (travel / f"text.{i}.xz").write_bytes(packed)
            print(f"text.{i}.xz: {len(texts[i])} bytes in {len(packed)}")
    for name in PLAIN:
        shutil.copyfile(data / name, travel / name)


def unpack(travel, data):
    for name in PLAIN:
        shutil.copyfile(travel / name, data / name)
    with multiprocessing.Pool() as pool:
        texts = pool.map(lzma.decompress, [p.read_bytes() for p in sorted(travel.glob("text.*.xz"))])
    (data / "heldout.jsonl").write_bytes(texts[0])
    (data / "train.jsonl").write_bytes(b"".join(texts[1:]))
    tokenizer.encode_all(data)


def main(run):
    if run.args.travel is None:
        raise SystemExit(f"train: {run.stage} needs --travel")
    if run.stage == "pack":
        pack(run.folder / "data", run.args.travel, run.args.share)
    else:
        unpack(run.args.travel, run.folder / "data")
    (run.folder / "data" / "summary.json").write_text(json.dumps(tokenizer.summary(run.folder / "data")) + "\n")
