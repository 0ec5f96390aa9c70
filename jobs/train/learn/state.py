"""What a run keeps on disk: whole checkpoints, JSON lines of its progress, and checkpoints cut into files that travel.

A checkpoint that stays on the machine is one file, written beside the old one and renamed over it: weights in float32 and the whole
state of the optimizers. One that travels holds the weights alone, as the upper 24 bits of their float32 (a relative error of
2^-17, far below an update), in files of at most 15 MiB: optimizers begin anew there, and the rate warms up again.
"""
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

PIECE = 15 << 20


def save(path, content):
    scratch = path.with_suffix(".tmp")
    torch.save(content, scratch)
    os.replace(scratch, path)


def fill(model, state, path):
    """The weights of the checkpoint `path` into the model: a checkpoint of other sizes ends the run."""
    own = model.state_dict()
    for name in sorted(own.keys() | state.keys()):
        found, wanted = (tuple(t[name].shape) if name in t else None for t in (state, own))
        if found != wanted:
            raise SystemExit(f"{path}: {name}: {found or 'missing'}: the settings ask for {wanted or 'none'}; the checkpoint is of other settings, "
                             "with which it goes on; others want another --dir or --branch")
    model.load_state_dict(state)


def to_24_bits(tensor):
    """float32 -> uint8 [n, 3], rounded to nearest."""
    bits = tensor.detach().float().cpu().contiguous().numpy().view(np.uint32).ravel()
    rounded = (bits.astype(np.uint64) + 0x80) >> 8
    return np.ascontiguousarray(rounded.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3])


def from_24_bits(data):
    wide = np.zeros((len(data), 4), np.uint8)
    wide[:, 1:] = data
    return torch.from_numpy(wide.view("<u4").ravel().view(np.float32).copy())


def travel(path, folder):
    """Cuts the checkpoint `path` into FOLDER/NAME.000 and so on."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    weights = {n: (tuple(t.shape), torch.from_numpy(to_24_bits(t))) for n, t in saved.pop("model").items()}
    saved.pop("optimizers", None)
    buffer = io.BytesIO()
    torch.save({**saved, "packed": weights}, buffer)
    data = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    for i, at in enumerate(range(0, len(data), PIECE)):
        (folder / f"{path.stem}.{i:03}").write_bytes(data[at:at + PIECE])


def arrive(folder, path):
    """The other way: joins FOLDER/NAME.000 ... into the checkpoint `path`."""
    pieces = sorted(Path(folder).glob(f"{path.stem}.[0-9][0-9][0-9]"))
    if [int(p.suffix[1:]) for p in pieces] != list(range(len(pieces))) or not pieces:
        raise SystemExit(f"{folder}: {path.stem}.NNN: a piece is missing, or there is none")
    saved = torch.load(io.BytesIO(b"".join(p.read_bytes() for p in pieces)), weights_only=True)
    saved["model"] = {n: from_24_bits(t.numpy()).view(shape) for n, (shape, t) in saved.pop("packed").items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, saved)


class Journal:
    """JSON lines, appended; `part` names what wrote them. Only the first process writes."""

    def __init__(self, path, part, rank=0):
        self.part, self.file = part, None if rank else open(path, "a", buffering=1)

    def write(self, **fields):
        if self.file:
            line = json.dumps({"part": self.part, "time": round(time.time(), 1), **fields})
            self.file.write(line + "\n")
            print(line, flush=True)
