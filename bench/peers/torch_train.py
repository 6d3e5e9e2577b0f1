#!/usr/bin/env python3
"""Training speed of PyTorch on the processor, with the model, the batch and the optimiser (Lion) of bench_train.

    torch_train.py [-m 15m|60m] [-c CONTEXT] [-b SEQUENCES] [-p f32|bf16] [--compile] [-t THREADS] [-n STEPS]

bf16: autocast, weights in float32. Attention is scaled_dot_product_attention with ALiBi as its mask, [heads, n, n]: what
it takes for linear biases. The loss goes over chunks of rows, so that a batch's logits need not be in memory at once.
Lines are CSV: torch's version, model, parameters, context, sequences, factors, compiled, tokens/s, Gop/s (counted as
bench_train counts)."""
import argparse
import math
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.utils.checkpoint

SHAPES = {"15m": (384, 6, 8, 8192), "60m": (640, 10, 10, 16384)}
LOSS_ROWS = 1024


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(d, bias=False), nn.LayerNorm(d, bias=False)
        self.wqkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)

    def forward(self, x, bias):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.wqkv(self.norm_1(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class Model(nn.Module):
    def __init__(self, d, heads, layers, vocab, context):
        super().__init__()
        self.wte = nn.Embedding(vocab, d)
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.norm_f = nn.LayerNorm(d, bias=False)
        power = 2 ** math.ceil(math.log2(heads))
        t = [2 ** (-k * 8 / power) for k in range(1, power + 1)]
        slopes = torch.tensor(t if power == heads else (t[1::2] + t[::2])[:heads])
        position = torch.arange(context)
        distance = (position[:, None] - position[None, :]).float()
        bias = (-slopes[:, None, None] * distance).masked_fill(distance < 0, -math.inf)
        self.register_buffer("bias", bias[None])
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=math.sqrt(2 / p.shape[1]))

    def forward(self, ids, bias):
        x = self.wte(ids)
        for block in self.blocks:
            x = block(x, bias)
        return self.norm_f(x)


def loss_of(model, forward, ids, targets, bias):
    h = forward(ids, bias).flatten(0, 1)
    total = 0.0
    for rows, wanted in zip(h.split(LOSS_ROWS), targets.flatten().split(LOSS_ROWS)):
        total = total + torch.utils.checkpoint.checkpoint(
            lambda r, w: F.cross_entropy(F.linear(r, model.wte.weight).float(), w, reduction="sum"), rows, wanted,
            use_reentrant=False)
    return total / targets.numel()


def step(model, forward, momentum, ids, targets, is_bf16):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16):
        bias = model.bias.bfloat16() if is_bf16 else model.bias
        loss = loss_of(model, forward, ids, targets, bias)
    loss.backward()
    params = list(model.parameters())
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    with torch.no_grad():
        grads = [p.grad for p in params]
        update = torch._foreach_mul(momentum, 0.9)
        torch._foreach_add_(update, grads, alpha=0.1)
        torch._foreach_sign_(update)
        torch._foreach_add_(params, update, alpha=-1e-4)
        torch._foreach_lerp_(momentum, grads, 0.01)
    for p in params:
        p.grad = None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", choices=SHAPES, default="15m")
    parser.add_argument("-c", type=int, default=1024)
    parser.add_argument("-b", type=int, default=0)
    parser.add_argument("-p", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("-t", type=int, default=0)
    parser.add_argument("-n", type=int, default=3)
    args = parser.parse_args()
    if args.t:
        torch.set_num_threads(args.t)
    d, heads, layers, vocab = SHAPES[args.m]
    n, sequences = args.c, args.b or max(1, 8192 // args.c)
    torch.manual_seed(1)
    model = Model(d, heads, layers, vocab, n)
    forward = torch.compile(model) if args.compile else model
    momentum = [torch.zeros_like(p) for p in model.parameters()]
    ids, targets = torch.randint(vocab, (2, sequences, n))
    times = []
    for _ in range(args.n + 1):
        start = time.perf_counter()
        step(model, forward, momentum, ids, targets, args.p == "bf16")
        times.append(time.perf_counter() - start)
    best = min(times[1:])
    weights = layers * 12 * d * d + vocab * d
    operations = sequences * (6 * weights * n + 12 * layers * d * n * (n + 1) / 2)
    print("torch,model,parameters,context,sequences,factors,compiled,tokens_per_s,gops")
    print(f"{torch.__version__},{args.m},{sum(p.numel() for p in model.parameters())},{n},{sequences},{args.p},"
          f"{int(args.compile)},{sequences * n / best:.0f},{operations / best / 1e9:.1f}")


if __name__ == "__main__":
    main()
