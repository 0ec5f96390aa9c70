"""Training in several processes, started by torchrun; alone, everything here does nothing.

On a shared CPU two processes of one thread lose far less than one of two, whose threads wait for each other in every
operation: `torchrun --nproc-per-node 2 train_target.py ...`. Every process takes its share of each step's rows, gradients
are averaged, and all make the same update.
"""
import os

import torch
import torch.distributed as dist

RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def device():
    """The device to use; sets the number of threads on the way."""
    torch.set_num_threads(max(1, min(os.cpu_count(), 16) // WORLD))
    return "cuda" if torch.cuda.is_available() else "cpu"


def start():
    """Joins the other processes; returns the device to use."""
    if WORLD > 1:
        dist.init_process_group("gloo")
    return device()


def average(tensors):
    """Replaces every tensor by its mean over the processes."""
    if WORLD > 1:
        flat = torch.cat([t.flatten() for t in tensors])
        dist.all_reduce(flat)
        for t, part in zip(tensors, (flat / WORLD).split([t.numel() for t in tensors])):
            t.copy_(part.view_as(t))


def agree(value):
    """Rank 0's value of a float, for all."""
    if WORLD > 1:
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return shared.item()
    return value
