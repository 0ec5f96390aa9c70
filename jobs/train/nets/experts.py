"""The products of a mixture of experts, in three ways that give the same.

Experts: a product an expert, on rows sorted by expert. It wants the number of rows of each on the host, which a GPU would have to
wait for, and no CUDA graph can; on a CPU it is the fastest.
grouped: the same rows, one grouped product for all experts, whose numbers of rows stay in device memory.
dense: every expert on every token, weight 0 where it was not chosen: a few times the arithmetic, but two plain products and no
sorting, which costs a GPU less where tokens are few.
"""
import torch
import torch.nn.functional as F

from nets import quantize

grouped_mm = getattr(F, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)


class Experts(torch.autograd.Function):
    """sum over the chosen experts of weight * down(silu(gate x) * up x), on rows sorted by expert.

    x [n, hidden]; gate_up [experts, 2 * width, hidden]; down [experts, hidden, width]; chosen, weights [n, k].
    """

    @staticmethod
    def forward(ctx, x, gate_up, down, chosen, weights):
        n, k = chosen.shape
        order = chosen.flatten().argsort(stable=True)
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(n * k, device=x.device)
        ends = torch.bincount(chosen.flatten(), minlength=len(down)).cumsum(0).tolist()
        spans = list(zip([0, *ends[:-1]], ends))
        rows, factor = x[order // k], weights.flatten()[order].to(x.dtype)[:, None]
        both = x.new_empty(n * k, gate_up.shape[1])
        for e, (a, b) in enumerate(spans):
            torch.mm(rows[a:b], gate_up[e].t(), out=both[a:b])
        gate, up = both.chunk(2, -1)
        silu = F.silu(gate)
        product = silu * up * factor
        y = x.new_empty(n * k, x.shape[1])
        for e, (a, b) in enumerate(spans):
            torch.mm(product[a:b], down[e].t(), out=y[a:b])
        ctx.save_for_backward(rows, both, silu, product, factor, gate_up, down, order, inverse)
        ctx.spans = spans
        return y[inverse].view(n, k, -1).sum(1)

    @staticmethod
    def backward(ctx, gradient):
        rows, both, silu, product, factor, gate_up, down, order, inverse = ctx.saved_tensors
        n, k = gradient.shape[0], len(order) // gradient.shape[0]
        dy = gradient[order // k]
        dproduct, ddown = torch.empty_like(product), torch.empty_like(down)
        for e, (a, b) in enumerate(ctx.spans):
            torch.mm(dy[a:b], down[e], out=dproduct[a:b])
            torch.mm(dy[a:b].t(), product[a:b], out=ddown[e])
        gate, up = both.chunk(2, -1)
        dfactor = (dproduct * silu).mul_(up).sum(-1, dtype=torch.float32)
        dproduct *= factor
        dboth = torch.empty_like(both)
        dgate, dup = dboth.chunk(2, -1)
        torch.mul(dproduct, silu, out=dup)
        dgate.copy_(torch.ops.aten.silu_backward(dproduct.mul_(up), gate))
        drows, dgate_up = torch.empty_like(rows), torch.empty_like(gate_up)
        for e, (a, b) in enumerate(ctx.spans):
            torch.mm(dboth[a:b], gate_up[e], out=drows[a:b])
            torch.mm(dboth[a:b].t(), rows[a:b], out=dgate_up[e])
        dx = drows[inverse].view(n, k, -1).sum(1)
        return dx, dgate_up, ddown, None, dfactor[inverse].view(n, k)


class Sort(torch.autograd.Function):
    """x [n, d] -> x[order // k] [n * k, d]; backward gathers by the inverse instead of scattering."""

    @staticmethod
    def forward(ctx, x, order, inverse, k):
        ctx.save_for_backward(inverse)
        ctx.k = k
        return x[order // k]

    @staticmethod
    def backward(ctx, gradient):
        (inverse,) = ctx.saved_tensors
        return gradient[inverse].unflatten(0, (-1, ctx.k)).sum(1), None, None, None


class Unsort(torch.autograd.Function):
    """y [n * k, d] sorted by expert -> its sums over the k rows of every token [n, d]."""

    @staticmethod
    def forward(ctx, y, order, inverse, k):
        ctx.save_for_backward(order)
        ctx.k = k
        return y[inverse].unflatten(0, (-1, k)).sum(1)

    @staticmethod
    def backward(ctx, gradient):
        (order,) = ctx.saved_tensors
        return gradient[order // ctx.k], None, None, None


def grouped(x, gate_up, down, chosen, weights, e4m3=False):
    """As Experts; with e4m3 the operands of both products are rounded as the GPU engine rounds them."""
    k = chosen.shape[1]
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    inverse = order.argsort()
    ends = (flat[:, None] == torch.arange(len(down), device=x.device)).sum(0).cumsum(0).to(torch.int32)
    factor = weights.flatten()[order].to(x.dtype)[:, None]
    rows = Sort.apply(quantize.activations(x) if e4m3 else x, order, inverse, k)
    gate, up = grouped_mm(rows, gate_up.transpose(1, 2), offs=ends).chunk(2, -1)
    product = F.silu(gate) * up
    if e4m3:
        product = quantize.activations(product)
    return Unsort.apply(grouped_mm(product, down.transpose(1, 2), offs=ends) * factor, order, inverse, k)


def dense(x, gate_up, down, chosen, weights, e4m3=False):
    """As grouped."""
    experts, width = len(down), down.shape[2]
    factor = torch.zeros(len(x), experts, dtype=weights.dtype, device=x.device).scatter(1, chosen, weights)
    if e4m3:
        x = quantize.activations(x)
    gate, up = (x @ gate_up.flatten(0, 1).t()).unflatten(1, (experts, -1)).chunk(2, -1)
    product = F.silu(gate) * up
    if e4m3:
        product = quantize.activations(product)
    product = product * factor.to(x.dtype)[..., None]
    return product.flatten(1) @ down.transpose(0, 1).reshape(-1, experts * width).t()


def loop(x, gate_up, down, chosen, weights, e4m3=False):
    """Experts, which rounds nothing; where activations are to be rounded, grouped."""
    return grouped(x, gate_up, down, chosen, weights, True) if e4m3 else Experts.apply(x, gate_up, down, chosen, weights)


WAYS = {"loop": loop, "grouped": grouped, "dense": dense}


def way(name, device):
    """The function for a setting: "auto" is what suits the device."""
    if name == "auto":
        name = "grouped" if device.type == "cuda" else "loop"
    if name not in WAYS:
        raise SystemExit(f"target.experts: {name!r}: should be one of auto, {', '.join(WAYS)}")
    return WAYS[name]
