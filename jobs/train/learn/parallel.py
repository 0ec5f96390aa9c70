"""Training in several processes, started by torchrun; alone, everything here does nothing.

Every process takes its share of each step's rows, gradients are averaged, and all make the same update. On GPUs a process
drives one of them, over NCCL. On a shared CPU two processes of one thread lose far less than one of two, whose threads
wait for each other in every operation.
"""
import os

import torch
import torch.distributed as dist

RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def device():
    """The device to use; sets the number of threads on the way (OMP_NUM_THREADS where that is given)."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", max(1, min(os.cpu_count(), 16) // WORLD))))
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cuda", torch.cuda.current_device())


def start():
    """Joins the other processes; returns the device to use."""
    chosen = device()
    if WORLD > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return chosen


def average(tensors):
    """Replaces every tensor by its mean over the processes."""
    if WORLD > 1:
        flat = torch.cat([t.flatten() for t in tensors])
        dist.all_reduce(flat)
        for t, part in zip(tensors, (flat / WORLD).split([t.numel() for t in tensors])):
            t.copy_(part.view_as(t))


def agree(value, device):
    """Rank 0's value of a float, for all."""
    if WORLD > 1:
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return shared.item()
    return value


def finish():
    if WORLD > 1:
        dist.barrier()
