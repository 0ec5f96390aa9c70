"""The target: a small MiMo-V2 (hybrid global and sliding-window attention, mixture of experts), for training.

The architecture and every constant are those of the published family; only the sizes are small. Written for speed on
one device: activations in bfloat16, master weights in float32, sliding attention in banded blocks, experts on tokens
sorted by expert. `Config.hub()` is the config.json that transformers' MiMoV2FlashForCausalLM loads.
"""
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from nets import experts, quantize
from nets.loss import HeadLoss


@dataclass
class Config:
    vocab: int = 4096
    hidden: int = 256
    layers: int = 6
    globals: tuple = (0, 5)
    window: int = 128              # keys a sliding layer sees, the query's own included
    heads: int = 4
    kv_heads: int = 1              # on global layers; sliding layers have twice as many
    head_dim: int = 192
    v_head_dim: int = 128
    rotary: int = 64               # int(192 * 0.334)
    theta_global: float = 1e6
    theta_sliding: float = 1e4
    value_scale: float = 0.707
    dense: int = 768               # intermediate size of layer 0
    experts: int = 16
    top_k: int = 4
    expert_width: int = 192
    eps: float = 1e-5
    positions: int = 4096
    end_ids: list = field(default_factory=list)

    def hub(self):
        """config.json in transformers' mimo_v2_flash dialect."""
        rope = {"rope_type": "default", "partial_rotary_factor": 0.334}
        return {
            "architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash", "dtype": "bfloat16",
            "vocab_size": self.vocab, "hidden_size": self.hidden, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim, "v_head_dim": self.v_head_dim, "sliding_window": self.window,
            "layer_types": ["full_attention" if i in self.globals else "sliding_attention"
                            for i in range(self.layers)],
            "rope_parameters": {"full_attention": {**rope, "rope_theta": self.theta_global},
                                "sliding_attention": {**rope, "rope_theta": self.theta_sliding}},
            "attention_value_scale": self.value_scale, "attention_bias": False, "attention_dropout": 0.0,
            "intermediate_size": self.dense, "mlp_layer_types": ["dense"] + ["sparse"] * (self.layers - 1),
            "n_routed_experts": self.experts, "num_experts_per_tok": self.top_k,
            "moe_intermediate_size": self.expert_width, "n_group": 1, "topk_group": 1, "norm_topk_prob": True,
            "routed_scaling_factor": 1.0, "hidden_act": "silu", "rms_norm_eps": self.eps,
            "max_position_embeddings": self.positions, "initializer_range": 0.02, "tie_word_embeddings": False,
            "bos_token_id": None, "eos_token_id": self.end_ids, "pad_token_id": None, "use_cache": True,
        }


class Attend(torch.autograd.Function):
    """softmax(q k^T + mask) v, one pass over the scores each way.

    q [n, g, t, d] already scaled (g query heads share a key head), k [n, s, d], v [n, s, dv]. mask [i, j, 1, t, s] is
    added to the scores, n counting batch * i * j. sink [j * g] or None: it takes column 0 of the scores, which the
    caller guarantees to be masked, so it joins the denominator and brings no value.
    """

    @staticmethod
    def forward(ctx, q, k, v, mask, sink):
        n, g, t, d = q.shape
        scores = torch.bmm(q.view(n, g * t, d), k.transpose(1, 2)).view(-1, *mask.shape[:2], g, t, k.shape[1])
        scores += mask
        if sink is not None:
            scores[..., 0] = sink.view(1, 1, -1, g, 1)
            v = v.clone()
            v[:, 0] = 0
        weights = torch.softmax(scores, -1).view(n, g * t, -1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.heads = 0 if sink is None else sink.numel()
        return torch.bmm(weights, v).view(n, g, t, -1)

    @staticmethod
    def backward(ctx, gradient):
        q, k, v, weights = ctx.saved_tensors
        n, g, t, d = q.shape
        gradient = gradient.reshape(n, g * t, -1)
        dv = torch.bmm(weights.transpose(1, 2), gradient)
        ds = torch._softmax_backward_data(torch.bmm(gradient, v.transpose(1, 2)), weights, -1, weights.dtype)
        dsink = None
        if ctx.heads:
            dsink = ds[..., 0].float().view(-1, ctx.heads, t).sum((0, 2))
            ds[..., 0] = 0
            dv[:, 0] = 0
        dq = torch.bmm(ds, k).view(n, g, t, d)
        dk = torch.bmm(ds.transpose(1, 2), q.reshape(n, g * t, d))
        return dq, dk, dv, None, dsink


def rms_norm(x, weight, eps):
    return F.rms_norm(x.float(), weight.shape, weight, eps).to(torch.bfloat16)


def rope_table(length, rotary, theta, device, dtype=torch.bfloat16):
    """cos and sin [length, 1, rotary / 2] of position * theta^(-2 i / rotary)."""
    rate = theta ** (-torch.arange(0, rotary, 2, device=device, dtype=torch.float32) / rotary)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rate
    return angle.cos()[:, None].to(dtype), angle.sin()[:, None].to(dtype)


def rotate(x, table):
    """RoPE, rotate-half pairing, on the first dimensions of x [batch, time, heads, d]."""
    cos, sin = table
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


@dataclass(frozen=True)
class Mode:
    """What a module's forward pass rounds: its weights to MXFP4, its products' activations to E4M3."""
    weights: bool = False
    activations: bool = False


def rounded(weight, mode):
    return quantize.weights(weight) if mode.weights else weight


def operand(x, mode):
    return quantize.activations(x) if mode.activations else x


class Attention(nn.Module):
    mode = Mode()

    def __init__(self, c, layer):
        super().__init__()
        self.c, self.sliding = c, layer not in c.globals
        self.kv = c.kv_heads * 2 if self.sliding else c.kv_heads
        self.q_proj = nn.Linear(c.hidden, c.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden, self.kv * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden, self.kv * c.v_head_dim, bias=False)
        self.o_proj = nn.Linear(c.heads * c.v_head_dim, c.hidden, bias=False)
        self.attention_sink_bias = nn.Parameter(torch.zeros(c.heads)) if self.sliding else None

    def forward(self, x, tables, masks):
        c, (batch, time, _) = self.c, x.shape
        table = tables[self.sliding]
        q, k, v, o = (rounded(p.weight, self.mode) for p in (self.q_proj, self.k_proj, self.v_proj, self.o_proj))
        weight = torch.cat([q * c.head_dim ** -0.5, k, v * c.value_scale]).bfloat16()
        q, k, v = F.linear(operand(x, self.mode), weight).split([c.heads * c.head_dim, self.kv * c.head_dim, self.kv * c.v_head_dim], -1)
        q = rotate(q.view(batch, time, c.heads, c.head_dim), table)
        k = rotate(k.view(batch, time, self.kv, c.head_dim), table)
        v = v.view(batch, time, self.kv, c.v_head_dim)
        mix = self.banded if self.sliding else self.full
        return F.linear(operand(mix(q, k, v, masks), self.mode), o.bfloat16())

    def full(self, q, k, v, masks):
        """All keys up to the query, in two halves of the queries: the first half needs only half of the keys."""
        batch, time, heads, d = q.shape
        q, k, v = q.transpose(1, 2), k.transpose(1, 2).flatten(0, 1), v.transpose(1, 2).flatten(0, 1)
        half, outs = time // 2, []
        for a, b in ((0, half), (half, time)):
            rows = q[:, :, a:b].contiguous().view(batch * self.kv, -1, b - a, d)
            outs.append(Attend.apply(rows, k[:, :b], v[:, :b], masks[False][None, None, None, a:b, :b], None))
        return torch.cat(outs, 2).view(batch, heads, time, -1).transpose(1, 2).flatten(2)

    def banded(self, q, k, v, masks):
        """Blocks of `window` queries against their own and the previous block of keys; column 0 holds the sink."""
        (batch, time, heads, d), w = q.shape, self.c.window
        blocks, g = time // w, heads // self.kv
        q = q.view(batch, blocks, w, self.kv, g, d).permute(0, 1, 3, 4, 2, 5).reshape(-1, g, w, d)
        out = Attend.apply(q, self.band(k, blocks), self.band(v, blocks), masks[True], self.attention_sink_bias)
        out = out.view(batch, blocks, self.kv, g, w, -1).permute(0, 1, 4, 2, 3, 5)
        return out.reshape(batch, time, -1)

    def band(self, x, blocks):
        """[batch, time, kv, d] -> [batch * blocks * kv, 2 * window, d]: the previous block, then the block itself."""
        batch, time, kv, d = x.shape
        x = x.view(batch, blocks, -1, kv, d)
        previous = F.pad(x[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        return torch.cat([previous, x], 2).transpose(2, 3).reshape(batch * blocks * kv, -1, d)


class Dense(nn.Module):
    mode = Mode()

    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden, c.dense, bias=False)
        self.up_proj = nn.Linear(c.hidden, c.dense, bias=False)
        self.down_proj = nn.Linear(c.dense, c.hidden, bias=False)

    def forward(self, x):
        gate, up, down = (rounded(p.weight, self.mode).bfloat16() for p in (self.gate_proj, self.up_proj, self.down_proj))
        x = operand(x, self.mode)
        return F.linear(operand(F.silu(F.linear(x, gate)) * F.linear(x, up), self.mode), down)


class Mixture(nn.Module):
    """Sigmoid router with a correction bias that only chooses; the bias is moved by the load, not by a loss."""
    mode = Mode()

    def __init__(self, c):
        super().__init__()
        self.top_k, self.products = c.top_k, experts.loop
        self.gate_up = nn.Parameter(torch.empty(c.experts, 2 * c.expert_width, c.hidden))
        self.down = nn.Parameter(torch.empty(c.experts, c.hidden, c.expert_width))
        self.router = nn.Parameter(torch.empty(c.experts, c.hidden))
        self.register_buffer("bias", torch.zeros(c.experts))
        self.register_buffer("load", torch.zeros(c.experts), persistent=False)

    def route(self, x):
        score = torch.sigmoid(x.float() @ self.router.t())
        chosen = torch.topk(score.detach() + self.bias, self.top_k, -1, sorted=False).indices
        weights = score.gather(1, chosen)
        if self.training:
            self.load += (chosen.flatten()[:, None] == torch.arange(len(self.bias), device=x.device)).sum(0)
        return chosen, weights / (weights.sum(-1, keepdim=True) + 1e-20)

    def balance(self, rate):
        """Nudges every expert's bias towards the mean load seen since the last call."""
        self.bias += rate * torch.sign(self.load.mean() - self.load)
        self.load.zero_()

    def forward(self, x):
        flat = x.flatten(0, 1)
        chosen, weights = self.route(flat)
        gate_up, down = (rounded(p, self.mode).bfloat16() for p in (self.gate_up, self.down))
        return self.products(flat, gate_up, down, chosen, weights, self.mode.activations).view_as(x)


class Layer(nn.Module):
    def __init__(self, c, index):
        super().__init__()
        self.eps = c.eps
        self.input_layernorm = nn.Parameter(torch.ones(c.hidden))
        self.self_attn = Attention(c, index)
        self.post_attention_layernorm = nn.Parameter(torch.ones(c.hidden))
        self.mlp = Mixture(c) if index else Dense(c)

    def forward(self, x, tables, masks):
        x = x + self.self_attn(rms_norm(x, self.input_layernorm, self.eps), tables, masks)
        return x + self.mlp(rms_norm(x, self.post_attention_layernorm, self.eps))


class Target(nn.Module):
    """tokens [batch, time] -> hidden states; time a multiple of the window."""

    def __init__(self, c):
        super().__init__()
        self.c, self.cache, self.scope = c, {}, "none"
        self.embed_tokens = nn.Parameter(torch.randn(c.vocab, c.hidden) * 0.1)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c.layers))
        self.norm = nn.Parameter(torch.ones(c.hidden))
        self.lm_head = nn.Parameter(torch.zeros(c.vocab, c.hidden))
        self.initialise()

    def initialise(self):
        """Outputs of every block start at zero; the rest at 1 / sqrt(fan in)."""
        for name, p in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "mlp.down")):
                nn.init.zeros_(p)
            elif p.dim() >= 2 and "embed" not in name and "lm_head" not in name:
                nn.init.normal_(p, std=p.shape[-1] ** -0.5)

    def tables_and_masks(self, time, device):
        """RoPE tables and additive masks by layer kind (False global, True sliding), kept for each length."""
        if time in self.cache:
            return self.cache[time]
        c, w = self.c, self.c.window
        tables = {False: rope_table(time, c.rotary, c.theta_global, device),
                  True: rope_table(time, c.rotary, c.theta_sliding, device)}
        causal = torch.full((time, time), float("-inf"), device=device).triu(1)
        query, key = torch.arange(w, device=device)[:, None] + w, torch.arange(2 * w, device=device)[None]
        seen = (key <= query) & (key > query - w)
        band = torch.stack([seen & (key >= w)] + [seen] * (time // w - 1))
        band = torch.where(band, 0.0, float("-inf"))[:, None, None].expand(-1, c.kv_heads * 2, 1, -1, -1)
        self.cache[time] = tables, {False: causal.bfloat16(), True: band.bfloat16()}
        return self.cache[time]

    def quantize(self, scope, activations=False):
        """The forward pass from here on: MXFP4 weights in "experts", "all" (every matrix but the router) or "none"."""
        self.scope = scope
        for layer in self.layers:
            sparse = isinstance(layer.mlp, Mixture)
            chosen = scope == "all" or scope == "experts" and sparse
            layer.mlp.mode = Mode(chosen, activations and chosen)
            layer.self_attn.mode = Mode(scope == "all", activations and scope == "all")

    def hidden(self, tokens, taps=()):
        """The final-normed states [batch, time, hidden] and, for each layer of `taps`, the residual stream after it."""
        tables, masks = self.tables_and_masks(tokens.shape[1], tokens.device)
        whole = Mode(self.scope == "all")
        x, tapped = F.embedding(tokens, rounded(self.embed_tokens, whole).bfloat16()), []
        for i, layer in enumerate(self.layers):
            x = layer(x, tables, masks)
            if i in taps:
                tapped.append(x)
        return rms_norm(x, self.norm, self.c.eps), tapped

    def head(self):
        return rounded(self.lm_head, Mode(self.scope == "all")).bfloat16()

    def loss(self, tokens, weigh=None):
        """Mean cross entropy in nats, weighted as HeadLoss says; tokens [batch, time + 1]."""
        x, _ = self.hidden(tokens[:, :-1])
        chunk = 8192 if x.is_cuda else 1024
        return HeadLoss.apply(x.flatten(0, 1), self.head(), tokens[:, 1:].flatten(), weigh, chunk)

    def mixtures(self):
        return [layer.mlp for layer in self.layers if isinstance(layer.mlp, Mixture)]
