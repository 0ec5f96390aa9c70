"""Checks of nets/walk.py: what it does with tables, done here token by token; and that its slices are the engine's."""
from pathlib import Path

import torch
import torch.nn.functional as F

from nets.drafter import DraftConfig, Drafter
from nets.loss import HeadLoss, survival
from nets.walk import RUN, SLICES, slice_tokens, within_slices

VOCAB = 2 * SLICES * RUN + 100  # the last run is cut, and some slices have a run more than others


def slice_of(token):
    return token // RUN % SLICES


def walk(drafter, states, head, anchor, noise):
    """The drafts of one block's states [block, hidden]."""
    drafts, before = [], anchor
    for state, more in zip(states[1:], noise):
        own, best = (head @ state + more).tolist(), {}
        for token, score in enumerate(own):
            if score > own[best.setdefault(slice_of(token), token)]:
                best[slice_of(token)] = token
        before = max(best.values(), key=lambda t: own[t] + float(drafter.following[t] @ drafter.previous[before]))  # noqa: B023
        drafts.append(before)
    return drafts


def walking():
    """Drafts with an in-block head; and the gradient of the loss within slices beside the one with the head, against autograd."""
    header = (Path(__file__).resolve().parents[3] / "ranks/model/sampling/walk.h").read_text()
    if f"SLIP_SLICES = {SLICES}," not in header or f"SLIP_SLICE_RUN = {RUN}," not in header:
        raise SystemExit("check: walk: its slices are not those of ranks/model/sampling/walk.h")
    torch.manual_seed(11)
    c = DraftConfig(hidden=32, layers=1, heads=2, kv_heads=1, head_dim=32, width=32, block=4, taps=(0,), rotary=16, positions=64, vocab=VOCAB, markov=8)
    head, drafter = torch.randn(VOCAB, 32) / 8, Drafter(c, torch.randn(VOCAB, 32)).requires_grad_(False)
    torch.nn.init.normal_(drafter.following, std=2.0)
    taps, anchors, noise = torch.randn(2, 20, 32), torch.tensor([[5, 9], [7, 15]]), torch.randn(2, 2, 3, VOCAB)
    tokens = torch.randint(0, VOCAB, (2, 2))
    states, drafts = drafter(taps, anchors, tokens).float(), drafter.drafts(taps, anchors, tokens, head, noise)
    head = head.to(drafter.embedding.dtype).float()
    wanted = [[walk(drafter, states[i, j], head, tokens[i, j].item(), noise[i, j]) for j in range(2)] for i in range(2)]
    if drafts.tolist() != wanted:
        raise SystemExit(f"check: walk: drafts {drafts.tolist()}, wanted {wanted}")

    labels, wide = torch.randint(0, VOCAB, (12,)), torch.cat([head, drafter.following], 1)
    labels[0], slices, found = VOCAB - 1, slice_tokens(VOCAB), []
    x0 = torch.randn(12, 40)
    for ours in (False, True):
        x = x0.clone().requires_grad_()
        if ours:
            HeadLoss.apply(x, wide, labels, lambda e, a: survival(e, 3), 6, None,
                           lambda rows, label, weight: within_slices(rows, label, weight, head, slices, 0.7)).backward()
        else:
            entropy = F.cross_entropy(x @ wide.t(), labels, reduction="none")
            inside = torch.stack([F.cross_entropy((head[slice_of(torch.arange(VOCAB)) == slice_of(label)] @ row[:32])[None],
                                                  (slice_of(torch.arange(label)) == slice_of(label)).sum()[None])
                                  for row, label in zip(x, labels)])
            weight = survival(entropy.detach(), 3)
            ((entropy + 0.7 * inside) * weight).sum().div(weight.sum()).backward()
        found.append(x.grad)
    worst = ((found[1] - found[0]).abs().max() / found[0].abs().max()).item()
    if worst > 1e-4:
        raise SystemExit(f"check: loss within slices: its gradient differs by {worst:.2e}")
    return worst
