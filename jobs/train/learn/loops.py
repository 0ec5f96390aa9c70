"""Text that repeats itself: greedy continuations of a small model mostly end so."""
import torch

TAIL, PERIOD = 48, 40


def repeats(tokens):
    """tokens [n, time] -> bool [n]: are the last TAIL tokens those of some PERIOD or fewer places before?"""
    found = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for period in range(1, min(PERIOD, tokens.shape[1] - TAIL) + 1):
        found |= (tokens[:, -TAIL:] == tokens[:, -TAIL - period:-period]).all(1)
    return found


def repeated(tokens, least=16):
    """tokens [n, time] -> bool [n, time]: the token and `least` - 1 before it are those of the same PERIOD or fewer places before."""
    found = torch.zeros_like(tokens, dtype=torch.bool)
    for period in range(1, PERIOD + 1):
        same = torch.zeros_like(tokens, dtype=torch.int64)
        same[:, period:] = tokens[:, period:] == tokens[:, :-period]
        run = same.cumsum(1)
        window = run.clone()
        window[:, least:] -= run[:, :-least]
        found |= window >= least
    return found
