"""Drafts of a drafter with an in-block head as the engine makes them (ranks/model/sampling/walk.h), and the loss that they ask for.

The engine cuts the vocabulary into slices; of each slot's own logits, without the head, the best token of every slice is a candidate, and the head
chooses among these. So the own logits need not know which token is the best one, but which is the best of its slice: a head that is
trained together with the drafter takes over the rest, and without a loss of its own this part, too.
"""
import torch

SLICES, RUN = 128, 8           # runs of neighbouring tokens are dealt out to slices in turn


def slice_tokens(vocab, device=None):
    """[SLICES, n]: the tokens of every slice, ascending; -1 behind the last."""
    turns = -(-vocab // (SLICES * RUN))
    tokens = torch.arange(turns * SLICES * RUN, device=device).view(turns, SLICES, RUN).transpose(0, 1).flatten(1)
    return torch.where(tokens < vocab, tokens, -1)


def of_slices(logits, tokens):
    """The logits [..., vocab] of such tokens [..., n], in float32."""
    return logits.gather(-1, tokens.clamp(min=0)).float().masked_fill(tokens < 0, float("-inf"))


def candidates(logits, slices):
    """Scores and tokens [..., SLICES] of each slice's best by logits [..., vocab]; slices: slice_tokens()."""
    best, at = of_slices(logits, slices.flatten().expand(*logits.shape[:-1], -1)).unflatten(-1, slices.shape).max(-1)
    return best, slices.expand(*at.shape, -1).gather(-1, at[..., None])[..., 0].clamp(min=0)


def within_slices(rows, labels, weight, head, slices, strength):
    """A part of HeadLoss: `strength` times the weighted cross entropy of each label among the tokens of its slice, by head [vocab, width] and the first
    `width` columns of rows [n, ..]; labels and weight [n, 1]. Returns its sum, and its gradient [n, width]."""
    logits = rows[:, :head.shape[1]] @ head.t()
    tokens, place = slices[(labels[:, 0] // RUN) % SLICES], labels // (SLICES * RUN) * RUN + labels % RUN
    logp, weight = torch.log_softmax(of_slices(logits, tokens), -1), weight * strength
    gradient = (logp.exp() * weight).scatter_add_(1, place, -weight).to(logits.dtype)
    gradient = torch.zeros_like(logits).scatter_add_(1, tokens.clamp(min=0), gradient)
    return -(logp.gather(1, place) * weight).sum(), gradient @ head
