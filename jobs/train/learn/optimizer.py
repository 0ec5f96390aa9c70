"""Muon for the matrices, AdamW for the rest, both scaled by one schedule.

Muon (Jordan et al., 2024): the momentum of a matrix is replaced by its nearest orthogonal matrix, found by five steps of a
quintic Newton-Schulz iteration. Matrices of one shape are stacked and iterated together.
"""
from collections import defaultdict

import torch


def orthogonalize(stack, steps=5):
    """stack [n, rows, columns], rows <= columns -> nearly orthogonal matrices of the same row space."""
    x = stack / (stack.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        poly = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, poly, x, beta=3.4445)
    return x


class Muon(torch.optim.Optimizer):
    """Parameters of two dimensions, or three with a stack in front; `parts` splits the rows of a parameter first."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "parts": 1})

    @torch.no_grad()
    def step(self):
        """Elementwise work runs over all matrices of a group at once: a small model's step is bound by its number of kernels."""
        for group in self.param_groups:
            params = group["params"]
            momenta, gradients = [self.state[p]["momentum"] for p in params], [p.grad for p in params]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])
            stacks = defaultdict(list)
            for p, update in zip(params, nesterov):
                update = update.reshape(-1, p.shape[-2] // group["parts"], p.shape[-1])
                tall = update.shape[1] > update.shape[2]
                stacks[tuple(sorted(update.shape[1:])), tall].append((p, update.transpose(1, 2) if tall else update))
            for (_, tall), entries in stacks.items():
                self.apply_stack(entries, tall, group)

    @staticmethod
    def apply_stack(entries, tall, group):
        updates = torch.cat([u for _, u in entries])
        updates = orthogonalize(updates.bfloat16() if updates.is_cuda else updates).float()      # CPUs have no fast products in BF16
        scale = max(1, updates.shape[2] / updates.shape[1]) ** 0.5 if tall else 1.0
        updates = (updates * (group["lr"] * scale)).split([len(u) for _, u in entries])
        params = [p for p, _ in entries]
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_sub_(params, [(u.transpose(1, 2) if tall else u).reshape(p.shape) for p, u in zip(params, updates)])


def build(model, matrices, muon_lr, adam_lr, special_lr=()):
    """The optimizers for `model`; matrices: "muon" or "adamw"; special_lr: pairs (end of a name, rate) for AdamW.

    Rates are tensors on the parameters' device, so that a captured step reads what schedule() wrote last.
    """
    muon, stacked, rest = [], [], defaultdict(list)
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        special = [lr for end, lr in special_lr if name.endswith(end)]
        if special or p.dim() < 2 or matrices == "adamw":
            rest[special[0] if special else adam_lr].append(p)
        else:
            (stacked if name.endswith("gate_up") else muon).append(p)
    device = next(model.parameters()).device
    cuda = device.type == "cuda"
    groups = [{"params": muon}] * bool(muon) + [{"params": stacked, "parts": 2}] * bool(stacked)
    adam = torch.optim.AdamW([{"params": ps, "lr": torch.tensor(lr, device=device)} for lr, ps in rest.items()],
                             betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0, fused=True, capturable=cuda)
    optimizers = [Muon(groups, lr=torch.tensor(muon_lr, device=device), weight_decay=0.01)] if groups else []
    for optimizer in [*optimizers, adam]:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"].clone()
            group["base_lr"] = float(group["lr"])
    prepare([*optimizers, adam])
    return [*optimizers, adam]


def prepare(optimizers):
    """Makes the state that the optimizers would make in their first step, so that no capture contains its making."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                state = optimizer.state[p]
                if not state and isinstance(optimizer, Muon):
                    state["momentum"] = torch.zeros_like(p)
                elif not state:
                    state.update(step=torch.zeros((), device=p.device), exp_avg=torch.zeros_like(p),
                                 exp_avg_sq=torch.zeros_like(p))


def tensors(optimizers):
    """Every tensor that a step changes: parameters and states."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                yield p.data
                yield from (t for t in optimizer.state[p].values() if torch.is_tensor(t))


def restore(optimizers, states):
    """load_state_dict, but rates stay the tensors that they are."""
    for optimizer, state in zip(optimizers, states):
        rates = [(group["lr"], group["base_lr"]) for group in optimizer.param_groups]
        optimizer.load_state_dict(state)
        for group, (lr, base) in zip(optimizer.param_groups, rates):
            group["lr"], group["base_lr"] = lr, base


def rate(progress, step, settings):
    """The share of the base rate: linear warm-up over steps since the start or a resumption, constant, linear decay. The last step may end
    beyond the end of the training: it never falls below final_rate, and so never below 0."""
    late = max(0.0, (min(progress, 1.0) - settings.decay_from) / (1 - settings.decay_from))
    return (1 - (1 - settings.final_rate) * late) * min(1, (step + 1) / settings.warmup_steps)


def schedule(optimizers, share):
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"].fill_(group["base_lr"] * share)
