"""The drafter: DFlash, a small block-diffusion model that reads the target's hidden states and shares its head.

One forward fills a block: slot 0 holds the anchor (the last token the target has committed), the others a learned mask
embedding; slot j predicts the token at position anchor + j. The states of the committed tokens before the anchor, tapped
after some of the target's layers, enter every drafter layer as keys and values. Constants as in MiMo-V2's drafters:
partial rotary with one base for block and context, a sink per head, scaled values, attention both ways inside the block.
"""
import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from nets.target import rope_table
from nets.walk import candidates, slice_tokens


@dataclass
class DraftConfig:
    hidden: int = 256
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 128
    width: int = 512               # intermediate size
    block: int = 8
    taps: tuple = (0, 2, 4, 5)     # target layers, whose output (the residual stream after them) is read
    rotary: int = 64
    theta: float = 5e6
    window: int = 1024
    value_scale: float = 0.707
    eps: float = 1e-5
    positions: int = 4096
    vocab: int = 4096
    mask_id: int = 4095
    target_layers: int = 6
    markov: int = 0                # rank of the head that reads the block's previous token; 0: none

    def hub(self):
        """config.json with the field names of the published drafters."""
        return {
            "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "dtype": "bfloat16",
            "vocab_size": self.vocab, "hidden_size": self.hidden, "intermediate_size": self.width,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head_dim, "v_head_dim": self.head_dim,
            "partial_rotary_factor": self.rotary / self.head_dim, "rope_theta": 10000, "rms_norm_eps": self.eps,
            "hidden_act": "silu", "attention_bias": False, "attention_sink_bias": True,
            "attention_value_scale": self.value_scale, "sliding_window": self.window,
            "layer_types": ["sliding_attention"] * self.layers, "is_causal": False, "block_size": self.block,
            "max_position_embeddings": self.positions, "num_target_layers": self.target_layers,
            "tie_word_embeddings": False,
            "dflash_config": {"target_layer_ids": list(self.taps), "mask_token_id": self.mask_id,
                              "backbone_rotary_base": int(self.theta), "use_swa": True,
                              "swa_window_size": self.window, "causal": False,
                              **({"markov": self.markov} if self.markov else {})},
        }


def compute_dtype(device):
    """BF16 where the device multiplies it: a CPU that does not takes forty times as long as in float32."""
    fast = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def rms_norm(x, weight, eps):
    """On BF16 as it is: one kernel, which sums in float32; the engine has these weights in BF16 too."""
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), eps)


def rotate_at(x, table, positions):
    """RoPE on x [batch, rows, heads, d] at positions [batch, rows]."""
    cos, sin = (t[positions] for t in table)
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


class DraftAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_proj = nn.Linear(c.hidden, c.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(c.heads * c.head_dim, c.hidden, bias=False)
        self.q_norm = nn.Parameter(torch.ones(c.head_dim))
        self.k_norm = nn.Parameter(torch.ones(c.head_dim))
        self.attention_sink_bias = nn.Parameter(torch.zeros(c.heads))

    def project(self, x, name, norm, table, positions):
        """Queries or keys: normed per head, rotated, [batch, heads, rows, d]."""
        c = self.c
        y = F.linear(x, getattr(self, f"{name}_proj").weight.to(x.dtype)).unflatten(-1, (-1, c.head_dim))
        return rotate_at(rms_norm(y, norm, c.eps), table, positions).transpose(1, 2)

    def values(self, x):
        c = self.c
        y = F.linear(x, self.v_proj.weight.to(x.dtype)) * c.value_scale
        return y.unflatten(-1, (-1, c.head_dim)).transpose(1, 2)

    def forward(self, x, context, table, positions, mask):
        """x [batch, blocks * block, hidden] normed, context [batch, time, hidden], positions [batch, blocks * block],
        mask [batch, 1, 1, blocks * block, time]."""
        c, (batch, rows, _), time = self.c, x.shape, context.shape[1]
        kv, g, blocks = c.kv_heads, c.heads // c.kv_heads, rows // c.block
        before = torch.arange(time, device=x.device).expand(batch, -1)
        q = self.project(x, "q", self.q_norm, table, positions).reshape(batch, kv, g * rows, -1)
        q = q * c.head_dim ** -0.5
        far = (q @ self.project(context, "k", self.k_norm, table, before).transpose(2, 3))
        far = far.view(batch, kv, g, rows, time) + mask
        inside = q.view(batch, kv, g, blocks, c.block, -1)
        own = self.project(x, "k", self.k_norm, table, positions).reshape(batch, kv, 1, blocks, c.block, -1)
        near = (inside @ own.transpose(-1, -2)).view(batch, kv, g, rows, c.block)
        sink = self.attention_sink_bias.to(x.dtype).view(1, kv, g, 1, 1).expand(batch, -1, -1, rows, 1)
        p = torch.softmax(torch.cat([far, near, sink], -1), -1)
        out = p[..., :time].reshape(batch, kv, g * rows, time) @ self.values(context)
        near = p[..., time:-1].reshape(batch, kv, g, blocks, c.block, c.block)
        own = near @ self.values(x).reshape(batch, kv, 1, blocks, c.block, -1)
        out = out.view(batch, c.heads, rows, -1) + own.view(batch, c.heads, rows, -1)
        return F.linear(out.transpose(1, 2).flatten(2), self.o_proj.weight.to(x.dtype))


class DraftMlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden, c.width, bias=False)
        self.up_proj = nn.Linear(c.hidden, c.width, bias=False)
        self.down_proj = nn.Linear(c.width, c.hidden, bias=False)

    def forward(self, x):
        gate, up, down = (p.weight.to(x.dtype) for p in (self.gate_proj, self.up_proj, self.down_proj))
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


class DraftLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.eps = c.eps
        self.input_layernorm = nn.Parameter(torch.ones(c.hidden))
        self.self_attn = DraftAttention(c)
        self.post_attention_layernorm = nn.Parameter(torch.ones(c.hidden))
        self.mlp = DraftMlp(c)

    def forward(self, x, context, table, positions, mask):
        x = x + self.self_attn(rms_norm(x, self.input_layernorm, self.eps), context, table, positions, mask)
        return x + self.mlp(rms_norm(x, self.post_attention_layernorm, self.eps))


class Drafter(nn.Module):
    def __init__(self, c, embedding):
        """embedding [vocab, hidden]: the target's, frozen."""
        super().__init__()
        self.c = c
        self.fc = nn.Linear(len(c.taps) * c.hidden, c.hidden, bias=False)
        self.hidden_norm = nn.Parameter(torch.ones(c.hidden))
        self.layers = nn.ModuleList(DraftLayer(c) for _ in range(c.layers))
        self.norm = nn.Parameter(torch.ones(c.hidden))
        self.mask_embedding = nn.Parameter(embedding.float().mean(0))
        if c.markov:
            self.previous = nn.Parameter(torch.zeros(c.vocab, c.markov))
            self.following = nn.Parameter(torch.zeros(c.vocab, c.markov))
        self.register_buffer("embedding", embedding.to(compute_dtype(embedding.device)), persistent=False)
        for name, p in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "following")):
                nn.init.zeros_(p)
            elif p.dim() == 2:
                nn.init.normal_(p, std=p.shape[-1] ** -0.5)

    def forward(self, taps, anchors, tokens):
        """taps [batch, time, taps * hidden]; anchors [batch, blocks] positions, tokens [batch, blocks] found there.
        Returns the final-normed states [batch, blocks, block, hidden]; slot j is for position anchor + j."""
        c, (batch, blocks), time = self.c, anchors.shape, taps.shape[1]
        context = rms_norm(F.linear(taps.to(self.embedding.dtype), self.fc.weight.to(self.embedding.dtype)), self.hidden_norm, c.eps)
        slots = torch.arange(c.block, device=taps.device)
        positions = (anchors[..., None] + slots).flatten(1)
        key = torch.arange(time, device=taps.device)
        seen = (key < anchors.repeat_interleave(c.block, 1)[..., None]) & (key > positions[..., None] - c.window)
        mask = torch.where(seen, 0.0, float("-inf")).to(context.dtype)[:, None, None]
        table = rope_table(time + c.block, c.rotary, c.theta, taps.device, context.dtype)
        x = self.mask_embedding.to(context.dtype).expand(batch, blocks, c.block - 1, -1)
        x = torch.cat([F.embedding(tokens, self.embedding)[:, :, None], x], 2).flatten(1, 2)
        for layer in self.layers:
            x = layer(x, context, table, positions, mask)
        return rms_norm(x, self.norm, c.eps).view(batch, blocks, c.block, -1)

    def with_previous(self, states, tokens, head):
        """States [..., hidden] and the head, in their type, widened by the previous tokens' rows [..., markov] where there is such a head."""
        head = head.to(states.dtype)
        if not self.c.markov:
            return states, head
        return (torch.cat([states, F.embedding(tokens, self.previous.to(states.dtype))], -1),
                torch.cat([head, self.following.to(states.dtype)], 1))

    @torch.no_grad()
    def drafts(self, taps, anchors, tokens, head, noise=None):
        """Drafts [batch, blocks, block - 1] of slots 1 and on: arg max, of the logits and of noise [batch, blocks, block - 1, vocab] where given.
        With an in-block head as the engine walks."""
        states, found = self(taps, anchors, tokens), [tokens]
        head, slices = head.to(states.dtype), slice_tokens(self.c.vocab, states.device)
        for slot in range(1, self.c.block):
            logits = (states[:, :, slot] @ head.t()).float()
            logits = logits if noise is None else logits + noise[:, :, slot - 1]
            if not self.c.markov:
                found.append(logits.argmax(-1))
                continue
            score, token = candidates(logits, slices)
            score = score + (F.embedding(token, self.following) * F.embedding(found[-1], self.previous)[..., None, :]).sum(-1)
            found.append(token.gather(-1, score.argmax(-1, keepdim=True))[..., 0])
        return torch.stack(found[1:], -1)


def config_for(target, settings):
    """The DraftConfig of a drafter for `target`."""
    added = {t["content"]: t["id"] for t in json.loads((target.folder / "tokenizer.json").read_text())["added_tokens"]}
    return DraftConfig(hidden=target.hidden, vocab=target.vocab, target_layers=target.layers, layers=settings.layers,
                       heads=max(1, target.hidden // 64), kv_heads=max(1, target.hidden // 128), width=settings.width,
                       block=settings.block, taps=tuple(settings.taps), window=settings.window, markov=settings.markov,
                       mask_id=added.get("<|mask|>", target.vocab - 1),
                       positions=target.config.get("max_position_embeddings", 4096))


def export_drafter(drafter, out):
    """config.json, model.safetensors and mask_embedding.pt, named and shaped as in the published checkpoints."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(drafter.c.hub(), indent=2) + "\n")
    content = {}
    for name, p in drafter.named_parameters():
        bare = not name.endswith((".weight", "attention_sink_bias"))
        content[name + ".weight" * bare] = p.detach().cpu().bfloat16().contiguous()
    embedding = content.pop("mask_embedding.weight")
    save_file(content, out / "model.safetensors", metadata={"format": "pt"})
    torch.save({"embedding": embedding, "mask_token_id": drafter.c.mask_id}, out / "mask_embedding.pt")


def load_drafter(folder, target):
    """The exported drafter, bound to the target's embedding."""
    h = json.loads((folder / "config.json").read_text())
    d = h["dflash_config"]
    c = DraftConfig(hidden=h["hidden_size"], layers=h["num_hidden_layers"], heads=h["num_attention_heads"],
                    kv_heads=h["num_key_value_heads"], head_dim=h["head_dim"], width=h["intermediate_size"],
                    block=h["block_size"], taps=tuple(d["target_layer_ids"]), window=d["swa_window_size"],
                    positions=h["max_position_embeddings"], vocab=h["vocab_size"], mask_id=d["mask_token_id"],
                    target_layers=h["num_target_layers"], markov=d.get("markov", 0))
    drafter = Drafter(c, target.embedding)
    drafter.load_state_dict(read_weights(folder, drafter))
    return drafter.to(target.head.device).eval().requires_grad_(False)


def read_weights(folder, drafter):
    """The state of `drafter` with the weights that export_drafter wrote. Layers and an in-block head that the folder lacks stay as they are:
    they add nothing before they are trained."""
    if not (folder / "model.safetensors").exists():
        raise SystemExit(f"{folder}: model.safetensors: missing; a drafter's folder is what the stage drafter writes")
    names, state = dict(drafter.named_parameters()), {n: p.detach() for n, p in drafter.named_parameters()}
    for name, tensor in load_file(folder / "model.safetensors").items():
        name = name if name in names else name.removesuffix(".weight")
        if name not in names or names[name].shape != tensor.shape:
            raise SystemExit(f"{folder}: {name}: {tuple(tensor.shape)}: this drafter has no such weight; its settings must be those of the folder")
        state[name] = tensor.float()
    state["mask_embedding"] = torch.load(folder / "mask_embedding.pt", weights_only=True)["embedding"].float()
    return state
