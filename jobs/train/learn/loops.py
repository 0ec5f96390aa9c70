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


def copies(tokens, places, drafts, least=4):
    """tokens [n, time], drafts [n, k] of tokens at places [n, k], 1 or more -> bool [n, k]: would the draft repeat the token of PERIOD or fewer places
    before, as the `least` tokens before it do?"""
    lag = torch.arange(1, PERIOD + 1, device=tokens.device)[:, None]
    index = torch.arange(tokens.shape[1], device=tokens.device) - lag
    earlier = tokens[:, index.clamp(min=0)]
    run = ((earlier == tokens[:, None]) & (index >= 0)).long().cumsum(-1)
    window = run.clone()
    window[..., least:] -= run[..., :-least]
    at = places[:, None].expand(-1, PERIOD, -1)
    return ((earlier.gather(2, at) == drafts[:, None]) & (at >= lag) & (window.gather(2, at - 1) >= least)).any(1)
