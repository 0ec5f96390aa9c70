"""MXFP4 as the checkpoint stores it: E2M1 elements, one power-of-two scale for 32 consecutive input columns.

Scale rule "even" of the OCP MX tools: exponent = floor(log2(largest magnitude)), one more from 1.75 * 2^exponent on,
less 2; elements rounded to nearest, ties to even, saturating at 6. The rule is idempotent: values on the grid come back
unchanged, which is what makes an export in BF16 and a later conversion to codes exact.
"""
import torch

BLOCK = 32


def quantize(weight):
    """weight [..., columns] -> the nearest values on the MXFP4 grid, same shape and dtype; columns divide by 32."""
    blocks = weight.float().unflatten(-1, (-1, BLOCK))
    mantissa, exponent = torch.frexp(blocks.abs().amax(-1, keepdim=True))     # mantissa in [0.5, 1)
    exponent = exponent - 1 + (mantissa >= 0.875).int() - 2
    scaled = torch.ldexp(blocks, -exponent)
    magnitude = scaled.abs()
    step = 0.5 + 0.5 * (magnitude >= 2) + (magnitude >= 4)                    # 0.5 below 2, 1 below 4, then 2
    rounded = (scaled / step).round_().mul_(step).clamp_(-6, 6)               # torch.round ties to even
    return torch.ldexp(rounded, exponent).flatten(-2).to(weight.dtype)


class FakeQuantize(torch.autograd.Function):
    """quantize() forward, the identity backward (straight-through)."""

    @staticmethod
    def forward(ctx, weight):
        return quantize(weight)

    @staticmethod
    def backward(ctx, gradient):
        return gradient
