"""Plain decoding with the target, many sequences in step: the teacher of the drafter and the reference of the tests."""
import torch
import torch.nn.functional as F

from nets import experts, quantize
from nets.target import Mixture, rope_table, rotate


def norm(x, weight, eps):
    return F.rms_norm(x.float(), weight.shape, weight, eps).to(x.dtype)


class Decoder:
    """Key/value caches of `batch` sequences that all have the same length so far; at most `length` tokens each."""

    def __init__(self, target, batch, length, dtype=torch.float32, taps=()):
        c, device = target.c, target.lm_head.device
        self.target, self.dtype, self.taps, self.position = target, dtype, taps, 0
        self.length = length
        self.tables = {sliding: rope_table(length, c.rotary, theta, device, dtype)
                       for sliding, theta in ((False, c.theta_global), (True, c.theta_sliding))}
        self.weights = {name: self.weight(name, p.detach()) for name, p in target.named_parameters()
                        if p.dim() >= 2 and "router" not in name}
        kv = [layer.self_attn.kv for layer in target.layers]
        self.keys = [torch.zeros(batch, n, length, c.head_dim, dtype=dtype, device=device) for n in kv]
        self.values = [torch.zeros(batch, n, length, c.v_head_dim, dtype=dtype, device=device) for n in kv]

    def weight(self, name, p):
        """As the target's own forward pass has it, were that to round experts."""
        rounding = self.target.scope == "experts" and name.endswith((".mlp.gate_up", ".mlp.down"))
        return (quantize.mxfp4(p) if rounding else p).to(self.dtype)

    def attend(self, i, x, mask):
        """x [batch, time, hidden], normed, at positions self.position on."""
        c, module = self.target.c, self.target.layers[i].self_attn
        (batch, time, _), start, kv = x.shape, self.position, module.kv
        w = {n: self.weights[f"layers.{i}.self_attn.{n}_proj.weight"] for n in "qkvo"}
        cos, sin = self.tables[module.sliding]
        table = cos[start:start + time], sin[start:start + time]
        q = rotate((x @ w["q"].t()).view(batch, time, c.heads, c.head_dim), table)
        k = rotate((x @ w["k"].t()).view(batch, time, kv, c.head_dim), table)
        v = (x @ w["v"].t()).view(batch, time, kv, c.v_head_dim) * c.value_scale
        self.keys[i][:, :, start:start + time] = k.transpose(1, 2)
        self.values[i][:, :, start:start + time] = v.transpose(1, 2)
        first = max(0, start - c.window + 1) if module.sliding else 0
        k, v = (cache[:, :, first:start + time] for cache in (self.keys[i], self.values[i]))
        q = q.transpose(1, 2).reshape(batch, kv, -1, c.head_dim)
        scores = ((q @ k.transpose(2, 3)) * c.head_dim ** -0.5).float().view(batch, c.heads, time, -1)
        scores += mask[module.sliding][:, first:]
        if module.sliding:
            sink = module.attention_sink_bias.detach().float().view(1, -1, 1, 1).expand(batch, -1, time, 1)
            scores = torch.cat([scores, sink], -1)
        p = torch.softmax(scores, -1)[..., :k.shape[2]].to(self.dtype)
        out = (p.view(batch, kv, -1, k.shape[2]) @ v).view(batch, c.heads, time, -1)
        return out.transpose(1, 2).flatten(2) @ w["o"].t()

    def feed_forward(self, i, x):
        mlp, w = self.target.layers[i].mlp, self.weights
        if isinstance(mlp, Mixture):
            flat = x.flatten(0, 1)
            chosen, weights = mlp.route(flat)
            products = experts.dense if flat.is_cuda else experts.loop
            out = products(flat, w[f"layers.{i}.mlp.gate_up"], w[f"layers.{i}.mlp.down"], chosen, weights)
            return out.view_as(x)
        gate, up, down = (w[f"layers.{i}.mlp.{n}_proj.weight"] for n in ("gate", "up", "down"))
        return (F.silu(x @ gate.t()) * (x @ up.t())) @ down.t()

    def masks(self, time):
        """Additive masks [time, keys] by layer kind for the tokens to come."""
        end = self.position + time
        query = torch.arange(self.position, end, device=self.keys[0].device)[:, None]
        key = torch.arange(end, device=query.device)[None]
        causal = torch.where(key <= query, 0.0, float("-inf"))
        return {False: causal, True: torch.where(key > query - self.target.c.window, causal, float("-inf"))}

    @torch.no_grad()
    def step(self, tokens):
        """tokens [batch, time] -> final-normed states [batch, time, hidden] and taps [batch, time, taps * hidden]."""
        x, mask, tapped = F.embedding(tokens, self.weights["embed_tokens"]), self.masks(tokens.shape[1]), []
        eps = self.target.c.eps
        for i, layer in enumerate(self.target.layers):
            x = x + self.attend(i, norm(x, layer.input_layernorm, eps), mask)
            x = x + self.feed_forward(i, norm(x, layer.post_attention_layernorm, eps))
            if i in self.taps:
                tapped.append(x)
        self.position += tokens.shape[1]
        return norm(x, self.target.norm, eps), torch.cat(tapped, -1) if tapped else None

    def logits(self, states):
        return (states @ self.weights["lm_head"].t()).float()


def noise(seed, position, rows, vocab, device):
    """The Gumbel noise of a position [rows, vocab]: as in the engine, a token is the arg max of its logits and this, so a drafter that knows
    the noise can draw with it."""
    generator = torch.Generator(device).manual_seed(seed * 1_000_003 + position)
    return -torch.log(-torch.log(torch.rand(rows, vocab, generator=generator, device=device).clamp(1e-9, 1 - 1e-7)))


def generate(target, prompts, count, dtype=torch.float32, taps=(), temperature=0.0, seed=0):
    """Continues prompts [batch, time] by `count` tokens. Returns tokens [batch, time + count] and, if taps are asked
    for, the taps of all of them but the last [batch, time + count - 1, taps * hidden]."""
    decoder = Decoder(target, len(prompts), prompts.shape[1] + count, dtype, taps)
    tokens, rows, tapped = prompts, prompts, []
    for _ in range(count):
        states, tap = decoder.step(rows)
        tapped.append(tap)
        logits = decoder.logits(states[:, -1])
        if temperature:
            logits = logits + temperature * noise(seed, tokens.shape[1], *logits.shape, logits.device)
        rows = logits.argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, rows], 1)
    return tokens, torch.cat(tapped, 1) if taps else None
