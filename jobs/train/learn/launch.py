"""How a training step reaches the device: operation by operation, or as CUDA graphs.

A small model's step is some two thousand kernels of a few microseconds: launched one by one, they wait for the host. A graph
launches them all at once. A step is two halves, with the mean of the gradients over processes between them: the gradients of a
loss over static inputs, and the update. They are captured for every `key`, which says what changes the operations (the
length of rows, what is quantised). torch.compile within them was tried on an H100: it had not compiled the step after 110 s.
"""
import torch

from learn import parallel

WAYS = {"auto": ("graph", "eager"), "graph": ("graph", "eager"), "eager": ("eager",)}


class Launcher:
    def __init__(self, way, device, loss, update, parameters, state, extra=()):
        """loss(*inputs) -> a scalar; update() reads the gradients of `parameters`. state() lists every tensor that loss and
        update change: a capture runs both and puts these back. extra: tensors to average beside the gradients."""
        self.device, self.loss, self.update, self.state = device, loss, update, state
        self.parameters, self.extra = list(parameters), list(extra)
        if way not in WAYS:
            raise SystemExit(f"launch: {way!r}: should be one of {', '.join(WAYS)}")
        self.ways = list(WAYS[way]) if device.type == "cuda" else ["eager"]
        self.captured = {}
        self.report = lambda **fields: print(fields)

    @property
    def way(self):
        return self.ways[0]

    def gradients(self, inputs):
        for p in self.parameters:
            p.grad = None
        loss = self.loss(*inputs)
        loss.backward()
        return loss.detach()

    def step(self, key, inputs):
        """One training step; returns the loss, in a tensor that the next step may overwrite."""
        if self.device.type != "cuda" or self.way == "eager":
            loss = self.gradients(inputs)
            parallel.average([p.grad for p in self.parameters] + self.extra)
            self.update()
            return loss
        if key not in self.captured and not self.capture(key, inputs):
            return self.step(key, inputs)
        static, first, loss, gradients, second = self.captured[key]
        for kept, new in zip(static, inputs):
            kept.copy_(new)
        first.replay()
        parallel.average(gradients + self.extra)
        second.replay()
        return loss

    def capture(self, key, inputs):
        """A way that fails is given up for the next one, and the report says so."""
        try:
            self.captured[key] = self.capture_once(inputs)
            return True
        except Exception as error:  # captures fail in many ways; there is a slower way that works
            if len(self.ways) < 2:
                raise
            self.report(gave_up=self.ways.pop(0), because=f"{type(error).__name__}: {str(error)[:300]}")
            return False

    def capture_once(self, inputs):
        static = [t.clone() for t in inputs]
        kept = [t.clone() for t in self.state()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            try:
                for _ in range(3):
                    self.gradients(static)
                    self.update()
            finally:
                for tensor, old in zip(self.state(), kept):
                    tensor.copy_(old)
        torch.cuda.current_stream().wait_stream(side)
        first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(first):
            loss = self.gradients(static)
        gradients = [p.grad for p in self.parameters]
        with torch.cuda.graph(second):
            self.update()
        return static, first, loss, gradients, second
