"""Losses over the head that never hold the logits of all rows."""
import torch


class HeadLoss(torch.autograd.Function):
    """Weighted mean over rows of the cross entropy of x head^T, in chunks, so that no full logits tensor lives.

    x [n, hidden], head [vocab, hidden], labels [n]. weigh: None for the plain mean, or a function from a chunk's cross
    entropies [rows] and its first row to its weights [rows], taken as constants; `chunk` must then hold whole blocks of rows.
    A negative weight pushes its label away and does not count in the mean's denominator. teacher [n, hidden]: states whose
    distribution under the same head takes the place of the labels in the gradient (weights still come from the labels).
    beside: None, or a function from a chunk's rows, labels and weights [rows, 1] to a sum that is added to the loss's and its gradient [rows, ..] for the
    first columns of x.
    """

    @staticmethod
    def forward(ctx, x, head, labels, weigh=None, chunk=1024, teacher=None, beside=None):
        dx, dhead = torch.empty_like(x), torch.zeros(head.shape, device=x.device)
        total, weight_sum = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
        for a in range(0, len(x), chunk):
            rows, label = x[a:a + chunk], labels[a:a + chunk, None]
            logp = torch.log_softmax((rows @ head.t()).float(), -1)
            entropy = -logp.gather(1, label)
            weight = weigh(entropy[:, 0], a)[:, None] if weigh else torch.ones_like(entropy)
            total, weight_sum = total + (entropy * weight).sum(), weight_sum + weight.clamp(min=0).sum()
            gradient = logp.exp_().mul_(weight)
            if teacher is None:
                gradient = gradient.scatter_add_(1, label, -weight).to(x.dtype)
            else:
                wanted = torch.softmax((teacher[a:a + chunk] @ head[:, :teacher.shape[1]].t()).float(), -1)
                gradient = (gradient - wanted * weight).to(x.dtype)
            torch.mm(gradient, head, out=dx[a:a + chunk])
            if beside:
                more, gradient_beside = beside(rows, label, weight)
                total = total + more
                dx[a:a + chunk, :gradient_beside.shape[1]] += gradient_beside
            if ctx.needs_input_grad[1]:
                dhead += gradient.t() @ rows
        ctx.save_for_backward(dx, dhead, weight_sum)
        return total / weight_sum

    @staticmethod
    def backward(ctx, gradient):
        dx, dhead, weight_sum = ctx.saved_tensors
        scale = gradient / weight_sum
        return dx * scale.to(dx.dtype), dhead * scale if ctx.needs_input_grad[1] else None, None, None, None, None, None


def survival(entropy, slots, alpha=0.5):
    """D-PACE: a slot counts by the chance that a block's agreement gets as far as it or beyond; entropy [blocks * slots]."""
    reach = ((1 - alpha) * torch.exp(-entropy.view(-1, slots)) + alpha).cumprod(-1)
    return reach.flip(-1).cumsum(-1).flip(-1).flatten()


def decay(entropy, slots):
    """exp(-(j - 1) / gamma) for slot j, gamma half the block (4 at block 8)."""
    weight = torch.exp(-torch.arange(slots, device=entropy.device) / ((slots + 1) / 2))
    return weight.repeat(len(entropy) // slots)


def unlikelihood(kind, strength):
    """weigh for HeadLoss. kind [n]: 1 a label to make likelier, 0 none of ours, -1 one to make less likely, by -log(1 - p)."""
    def weigh(entropy, first):
        p, chosen = torch.exp(-entropy), kind[first:first + len(entropy)]
        return torch.where(chosen < 0, -strength * p / (1 - p).clamp(min=0.05), chosen)
    return weigh
