"""MiMo-V2's forward pass and the DFlash drafter's, in NumPy and float64, from their descriptions alone.

Nothing is batched over anything but positions, nothing is cached, nothing is fast. make.py checks the target
against transformers' MiMoV2FlashForCausalLM before it is used as a reference for what transformers cannot express
(equal KV heads in both layer kinds, quantised weights) and for the drafter, which runs on its taps.
"""
from dataclasses import dataclass

import numpy as np


@dataclass
class Attention:
    heads: int
    kv_heads: int
    window: int  # keys a query sees, itself included; 0 = all
    theta: float


@dataclass
class Target:
    """The shape, from either dialect of config.json."""

    layers: int
    head_dim: int
    v_head_dim: int
    rotary_dim: int
    epsilon: float
    value_scale: float
    top_k: int
    routed_scale: float
    full: Attention
    sliding: Attention
    is_sliding: list
    chunks: int  # of a fused qkv

    def attention(self, layer):
        return self.sliding if self.is_sliding[layer] else self.full

    @staticmethod
    def from_config(c):
        heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
        if "hybrid_layer_pattern" in c:  # Xiaomi's
            is_sliding = [bool(kind) for kind in c["hybrid_layer_pattern"]]
            swa_heads, swa_kv = c["swa_num_attention_heads"], c["swa_num_key_value_heads"]
            theta, swa_theta = c["rope_theta"], c["swa_rope_theta"]
            epsilon, rotary = c["layernorm_epsilon"], c["partial_rotary_factor"]
        else:  # transformers': sliding layers have twice the KV heads
            is_sliding = [kind == "sliding_attention" for kind in c["layer_types"]]
            swa_heads, swa_kv = heads, 2 * kv
            rope = c["rope_parameters"]
            theta, swa_theta = rope["full_attention"]["rope_theta"], rope["sliding_attention"]["rope_theta"]
            epsilon, rotary = c["rms_norm_eps"], rope["full_attention"]["partial_rotary_factor"]
        return Target(
            layers=c["num_hidden_layers"], head_dim=c["head_dim"], v_head_dim=c["v_head_dim"],
            rotary_dim=int(c["head_dim"] * rotary), epsilon=epsilon,
            value_scale=c["attention_value_scale"], top_k=c["num_experts_per_tok"],
            routed_scale=c["routed_scaling_factor"] or 1.0,
            full=Attention(heads, kv, 0, theta),
            sliding=Attention(swa_heads, swa_kv, c["sliding_window"], swa_theta),
            is_sliding=is_sliding, chunks=kv)


def rms_norm(x, weight, epsilon):
    return weight * (x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon))


def silu(x):
    return x / (1 + np.exp(-x))


def rope(x, positions, rotary_dim, theta):
    """x [tokens, heads, dim]: rotate the pairs (i, i + rotary_dim / 2) of the first rotary_dim dimensions.

    The angle is a product in float32: that is the models' own definition, and at position 300 it shows."""
    half = rotary_dim // 2
    inverse = (1.0 / theta ** (np.arange(0, rotary_dim, 2) / rotary_dim)).astype(np.float32)
    angle = (positions[:, None].astype(np.float32) * inverse).astype(np.float64)[:, None, :]
    a, b = x[..., :half], x[..., half:rotary_dim]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle),
                           x[..., rotary_dim:]], axis=-1)


def attend(q, k, v, visible, sinks):
    """q [t, heads, d], k [s, kv, d], v [s, kv, dv], visible [t, s] -> [t, heads * dv]. sinks [heads] or None."""
    heads, group = q.shape[1], q.shape[1] // k.shape[1]
    out = np.zeros((len(q), heads, v.shape[2]))
    for h in range(heads):
        score = q[:, h] @ k[:, h // group].T / np.sqrt(q.shape[2])
        score = np.where(visible, score, -np.inf)
        top = score.max(axis=1, keepdims=True)
        if sinks is not None:
            top = np.maximum(top, sinks[h])
        p = np.exp(score - top)
        total = p.sum(axis=1, keepdims=True)
        if sinks is not None:
            total = total + np.exp(sinks[h] - top)
        out[:, h] = p / total @ v[:, h // group]
    return out.reshape(len(q), -1)


def mlp(x, w, prefix):
    gate, up, down = (w[f"{prefix}.{part}_proj.weight"] for part in ("gate", "up", "down"))
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


def experts(x, w, prefix, shape, margins):
    """Sigmoid scores; the bias only picks. `margins` collects how far the last picked score is from the next."""
    score = 1 / (1 + np.exp(-(x @ w[f"{prefix}.gate.weight"].T)))
    choice = score + w[f"{prefix}.gate.e_score_correction_bias"]
    order = np.argsort(-choice, axis=1)
    ranked = np.take_along_axis(choice, order, axis=1)
    margins.append((ranked[:, shape.top_k - 1] - ranked[:, shape.top_k]).min())
    out = np.zeros_like(x)
    for t, picked in enumerate(order[:, : shape.top_k]):
        weight = score[t, picked] / (score[t, picked].sum() + 1e-20) * shape.routed_scale
        for e, factor in zip(picked, weight):
            out[t] += factor * mlp(x[t : t + 1], w, f"{prefix}.experts.{e}")[0]
    return out


def target_forward(shape, w, ids):
    """-> logits [tokens, vocabulary], taps [layers][tokens, hidden] (the residual stream after each layer, before
    the final norm), the smallest routing margin."""
    position = np.arange(len(ids))
    distance = position[:, None] - position[None, :]
    x, taps, margins = w["model.embed_tokens.weight"][ids], [], []
    for n in range(shape.layers):
        geometry, layer = shape.attention(n), f"model.layers.{n}"
        h = rms_norm(x, w[f"{layer}.input_layernorm.weight"], shape.epsilon)
        q, k, v = (h @ w[f"{layer}.self_attn.{part}_proj.weight"].T for part in "qkv")
        q, k = (rope(m.reshape(len(ids), -1, shape.head_dim), position, shape.rotary_dim, geometry.theta)
                for m in (q, k))
        v = v.reshape(len(ids), -1, shape.v_head_dim) * shape.value_scale
        assert q.shape[1] == geometry.heads and k.shape[1] == v.shape[1] == geometry.kv_heads
        visible = distance >= 0
        if geometry.window:
            visible &= distance < geometry.window
        sinks = w.get(f"{layer}.self_attn.attention_sink_bias")
        assert (sinks is not None) == shape.is_sliding[n]
        x = x + attend(q, k, v, visible, sinks) @ w[f"{layer}.self_attn.o_proj.weight"].T
        h = rms_norm(x, w[f"{layer}.post_attention_layernorm.weight"], shape.epsilon)
        dense = f"{layer}.mlp.gate_proj.weight" in w
        x = x + (mlp(h, w, f"{layer}.mlp") if dense else experts(h, w, f"{layer}.mlp", shape, margins))
        taps.append(x)
    logits = rms_norm(x, w["model.norm.weight"], shape.epsilon) @ w["lm_head.weight"].T
    return logits, taps, min(margins)


def draft_forward(config, w, mask_embedding, target, taps, ids, start):
    """Logits [block, vocabulary] of a draft block whose anchor is ids[start] and whose context is every position
    before it. `taps` [layers][tokens, hidden] of the committed tokens; row j speaks of position start + j."""
    special = config["dflash_config"]
    d, epsilon = config["head_dim"], config["rms_norm_eps"]
    rotary_dim, theta = int(d * config["partial_rotary_factor"]), special["backbone_rotary_base"]
    block, window = special["block_size"], special["swa_window_size"]
    context = np.concatenate([taps[i][:start] for i in special["target_layer_ids"]], axis=1)
    context = rms_norm(context @ w["fc.weight"].T, w["hidden_norm.weight"], epsilon)
    key_at, row_at = np.arange(start), start + np.arange(block)
    # A row sees the context inside its window, and every row of its block, the later ones too.
    visible = np.concatenate([row_at[:, None] - key_at[None, :] < window, np.ones((block, block), bool)], axis=1)
    x = np.stack([target["model.embed_tokens.weight"][ids[start]]] + [mask_embedding] * (block - 1))
    for n in range(config["num_hidden_layers"]):
        attn = f"layers.{n}.self_attn"

        def project(rows, part, at=None):
            m = (rows @ w[f"{attn}.{part}_proj.weight"].T).reshape(len(rows), -1, d)
            if part == "v":
                return m * special["attention_value_scale"]
            return rope(rms_norm(m, w[f"{attn}.{part}_norm.weight"], epsilon), at, rotary_dim, theta)

        u = rms_norm(x, w[f"layers.{n}.input_layernorm.weight"], epsilon)
        k = np.concatenate([project(context, "k", key_at), project(u, "k", row_at)])
        v = np.concatenate([project(context, "v"), project(u, "v")])
        mixed = attend(project(u, "q", row_at), k, v, visible, w[f"{attn}.attention_sink_bias"])
        x = x + mixed @ w[f"{attn}.o_proj.weight"].T
        x = x + mlp(rms_norm(x, w[f"layers.{n}.post_attention_layernorm.weight"], epsilon), w, f"layers.{n}.mlp")
    return rms_norm(x, w["norm.weight"], epsilon) @ target["lm_head.weight"].T


def walk(w, logits, anchor, slices=128, run=8):
    """The drafts [slots] of a block whose drafter has an in-block head, from its logits [slots, vocabulary], and the smallest margin of all choices.

    Tokens are cut into slices, runs of `run` ids dealt out in turn. Of each slice the token of the highest logit is a candidate; the draft is the
    candidate whose logit is highest with what the head adds to it behind the draft before."""
    previous, following = w["previous.weight"], w["following.weight"]
    of = np.arange(logits.shape[1]) // run % slices
    before, drafts, margins = anchor, [], []
    for row in logits:
        candidates = []
        for tokens in (np.flatnonzero(of == s) for s in np.unique(of)):
            ranked = tokens[np.argsort(-row[tokens])]
            candidates.append(ranked[0])
            if len(ranked) > 1:
                margins.append(row[ranked[0]] - row[ranked[1]])
        candidates = np.array(candidates)
        total = row[candidates] + following[candidates] @ previous[before]
        ranked = np.argsort(-total)
        margins.append(total[ranked[0]] - total[ranked[1]])
        before = candidates[ranked[0]]
        drafts.append(before)
    return drafts, min(margins)
