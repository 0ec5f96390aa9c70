"""The roundings of the engine, with the identity as their gradient (straight-through).

Weights: MXFP4 as the checkpoint stores it: E2M1 elements, one power-of-two scale for 32 consecutive input columns.

Scale rule "even" of the OCP MX tools: exponent = floor(log2(largest magnitude)), one more from 1.75 * 2^exponent on,
less 2; elements rounded to nearest, ties to even, saturating at 6. The rule is idempotent: values on the grid come back
unchanged, which is what makes an export in BF16 and a later conversion to codes exact.
Activations: E4M3 with a float32 scale for every 128 columns of a token, as kernels/cuda/ops/operand.cuh makes them.
"""
import torch
import torch.nn.functional as F

BLOCK = 32
COLUMNS, E4M3_MOST = 128, 448.0


def power(exponent):
    """2^exponent exactly, on any device; exponent int32 in -126..127."""
    return ((exponent + 127) << 23).view(torch.float32)


def mxfp4(weight):
    """weight [..., columns] -> the nearest values on the MXFP4 grid, same shape and dtype; columns divide by 32."""
    blocks = weight.float().unflatten(-1, (-1, BLOCK))
    bits = blocks.abs().amax(-1, keepdim=True).view(torch.int32)
    exponent = (((bits + (1 << 21)) >> 23) - 127 - 2).clamp(-126, 125)        # a mantissa from 1.75 on carries
    scaled = blocks * power(-exponent)
    magnitude = scaled.abs()
    step = 0.5 + 0.5 * (magnitude >= 2) + (magnitude >= 4)                    # 0.5 below 2, 1 below 4, then 2
    rounded = ((scaled / step).round() * step).clamp(-6, 6)                   # torch.round ties to even
    return (rounded * power(exponent)).flatten(-2).to(weight.dtype)


def e4m3(x):
    """x [..., columns] -> E4M3 times a scale for every 128 columns of a row, amax / 448 (1 where all are zero); same dtype."""
    columns = x.shape[-1]
    blocks = F.pad(x.float(), (0, -columns % COLUMNS)).unflatten(-1, (-1, COLUMNS))
    most = blocks.abs().amax(-1, keepdim=True)
    scale = torch.where(most > 0, most * (1 / E4M3_MOST), torch.ones_like(most))
    codes = (blocks * (1 / scale)).clamp(-E4M3_MOST, E4M3_MOST).to(torch.float8_e4m3fn)
    return (codes.float() * scale).flatten(-2)[..., :columns].to(x.dtype)


class Straight(torch.autograd.Function):
    """A rounding forward, the identity backward."""

    @staticmethod
    def forward(ctx, x, rounding):
        return rounding(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def weights(w):
    return Straight.apply(w, mxfp4)


def activations(x):
    return Straight.apply(x, e4m3)
