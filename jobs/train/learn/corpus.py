"""The encoded corpus as rows for training: windows of the token stream in a fixed random order, kept on the device."""
import numpy as np
import torch

from learn import parallel


class Corpus:
    """A position in the order is all its state: which rows a step sees does not depend on how often the run was stopped."""

    def __init__(self, path, stride, longest, device, seed=7):
        if not path.exists():
            raise SystemExit(f"{path}: missing; the stage tokenize writes it")
        tokens = np.fromfile(path, dtype=np.uint16)
        if len(tokens) < stride + longest + 2:
            raise SystemExit(f"{path}: {len(tokens)} tokens: too few for rows of {longest}")
        if tokens.max() > 32767:
            raise SystemExit(f"{path}: token {tokens.max()}: rows are kept as int16")
        self.tokens = torch.from_numpy(tokens.astype(np.int16)).to(device)
        self.stride, self.seed = stride, seed
        self.windows = (len(tokens) - longest - 1) // stride
        self.order, self.epoch = None, -1

    def starts(self, first, count):
        """Where rows first .. first + count - 1 of the order begin; every pass over the data has an order of its own."""
        result = []
        for i in range(first, first + count):
            epoch, at = divmod(i, self.windows)
            if epoch != self.epoch:
                self.order, self.epoch = np.random.default_rng(self.seed + epoch).permutation(self.windows), epoch
            result.append(self.order[at] * self.stride)
        return result

    def rows(self, starts, length):
        """int64 [len(starts), length] tokens on the device."""
        begin = torch.as_tensor(np.asarray(starts), device=self.tokens.device)
        return self.tokens[begin[:, None] + torch.arange(length, device=begin.device)].long()

    def batch(self, cursor, rows, length):
        """This process's share of `rows` rows of length + 1 tokens, from `cursor` of the order on."""
        share = rows // parallel.WORLD
        return self.rows(self.starts(cursor + parallel.RANK * share, share), length + 1)
