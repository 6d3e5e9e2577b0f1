#!/usr/bin/env python3
"""Train a small MPT model on a processor, for a given stretch of wall time.

The schedule goes by the clock, not by steps: the learning rate reaches zero
at --minutes after the first start, however busy the machine was meanwhile.
A run that was stopped goes on from its last checkpoint when started again.
"""
import argparse
import json
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from tokenizers import Tokenizer

END_OF_TEXT = 0


# ---------------------------------------------------------------- the model

class LayerNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, None, 1e-5)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.Wqkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, x, bias):
        batch, length, width = x.shape
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2)
                   for t in self.Wqkv(x).split(width, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.out_proj(y.transpose(1, 2).reshape(batch, length, width))


class FeedForward(nn.Module):
    def __init__(self, width, ratio):
        super().__init__()
        self.up_proj = nn.Linear(width, ratio * width, bias=False)
        self.down_proj = nn.Linear(ratio * width, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.gelu(self.up_proj(x)))


class Block(nn.Module):
    def __init__(self, width, heads, ratio):
        super().__init__()
        self.norm_1 = LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm_2 = LayerNorm(width)
        self.ffn = FeedForward(width, ratio)

    def forward(self, x, bias):
        x = x + self.attn(self.norm_1(x), bias)
        return x + self.ffn(self.norm_2(x))


def alibi_slopes(heads, bias_max=8):
    power = 2 ** math.ceil(math.log2(heads))
    slopes = [2.0 ** (-bias_max * k / power) for k in range(1, power + 1)]
    if power != heads:
        slopes = (slopes[1::2] + slopes[0::2])[:heads]
    return torch.tensor(slopes)


def attention_bias(heads, length):
    """ALiBi and the causal mask as one [1, heads, length, length] tensor."""
    pos = torch.arange(length)
    distance = (pos[:, None] - pos[None, :]).float()
    bias = -alibi_slopes(heads)[:, None, None] * distance
    return bias.masked_fill(distance < 0, -torch.inf)[None]


class MPT(nn.Module):
    """Parameters carry the names of the published checkpoints."""

    def __init__(self, vocab, width, heads, layers, ratio=4):
        super().__init__()
        self.config = dict(vocab=vocab, width=width, heads=heads, layers=layers, ratio=ratio)
        self.wte = nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(Block(width, heads, ratio) for _ in range(layers))
        self.norm_f = LayerNorm(width)
        nn.init.normal_(self.wte.weight, std=0.02)
        for block in self.blocks:
            nn.init.normal_(block.attn.Wqkv.weight, std=width ** -0.5)
            nn.init.normal_(block.ffn.up_proj.weight, std=width ** -0.5)
            nn.init.zeros_(block.attn.out_proj.weight)
            nn.init.zeros_(block.ffn.down_proj.weight)

    def forward(self, ids, bias):
        x = self.wte(ids)
        for block in self.blocks:
            x = block(x, bias)
        return F.linear(self.norm_f(x), self.wte.weight)

    def loss(self, ids, targets, bias):
        logits = self(ids, bias)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


# ------------------------------------------------------------ the optimisers

def orthogonalise(g):
    """Newton-Schulz steps towards the nearest orthogonal matrix, per matrix."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Momentum whose update is orthogonalised; for the block matrices.

    Wqkv counts as three square matrices.  Matrices of one shape go together.
    """

    def __init__(self, params, lr, momentum=0.95, decay=0.1):
        self.params, self.lr, self.momentum, self.decay = list(params), lr, momentum, decay
        self.state = [torch.zeros_like(p) for p in self.params]

    @torch.no_grad()
    def step(self, scale):
        lr = self.lr * scale
        groups = {}
        for p, m in zip(self.params, self.state):
            m.lerp_(p.grad, 1 - self.momentum)
            update = p.grad.lerp(m, self.momentum)
            p.mul_(1 - lr * self.decay)
            parts = 3 if p.size(0) == 3 * p.size(1) else 1
            for target, u in zip(p.chunk(parts), update.chunk(parts)):
                groups.setdefault(tuple(u.shape), []).append((target, u))
        for (rows, cols), pairs in groups.items():
            ortho = orthogonalise(torch.stack([u for _, u in pairs]))
            for (target, _), u in zip(pairs, ortho):
                target.add_(u, alpha=-lr * max(1, rows / cols) ** 0.5)


# ------------------------------------------------------------------ the data

def load_ids(folder, tok, cache):
    """All books of a folder as one array of ids; each ends with <|endoftext|>."""
    if not cache.exists():
        parts = []
        for path in sorted(folder.glob("*.txt")):
            ids = tok.encode(path.read_text(encoding="utf-8")).ids
            parts.append(np.array(ids + [END_OF_TEXT], dtype=np.uint16))
        np.concatenate(parts).tofile(cache)
    return np.fromfile(cache, dtype=np.uint16)


class Windows:
    """Windows of the text in shuffled order; a new shuffle and offset per epoch."""

    def __init__(self, ids, length, seed):
        self.ids, self.length, self.seed = ids, length, seed
        self.per_epoch = (len(ids) - 1) // length - 1
        self.epoch = -1

    def get(self, index):
        epoch, i = divmod(index, self.per_epoch)
        if epoch != self.epoch:
            rng = np.random.default_rng([self.seed, self.length, epoch])
            self.order, self.offset = rng.permutation(self.per_epoch), int(rng.integers(self.length))
            self.epoch = epoch
        start = self.offset + int(self.order[i]) * self.length
        return self.ids[start:start + self.length + 1]

    def batch(self, index, size):
        block = torch.from_numpy(np.stack([self.get(index + i) for i in range(size)]).astype(np.int64))
        return block[:, :-1].contiguous(), block[:, 1:].contiguous()


def validation_windows(ids, length, count):
    """The same evenly spread windows every time."""
    starts = np.linspace(0, len(ids) - length - 1, count).astype(int)
    return torch.from_numpy(np.stack([ids[s:s + length + 1] for s in starts]).astype(np.int64))


@torch.no_grad()
def token_losses(model, windows, batch=8):
    """Loss in nats for every target token, [windows, length], in float32."""
    bias = attention_bias(model.config["heads"], windows.size(1) - 1)
    out = []
    for block in windows.split(batch):
        logits = model(block[:, :-1], bias)
        out.append(F.cross_entropy(logits.transpose(1, 2), block[:, 1:], reduction="none"))
    return torch.cat(out)


def bytes_per_token(tok):
    """How many bytes of text each id stands for."""
    n = tok.get_vocab_size()
    return torch.tensor([0 if i < 2 else len(tok.id_to_token(i)) for i in range(n)])


# -------------------------------------------------------------------- the run

def schedule(step, progress):
    """Warm up over 100 steps, hold, then go linearly to zero with the clock."""
    return min(1.0, (step + 1) / 100) * min(1.0, max(0.0, 1 - progress) / 0.65)


def save(path, **state):
    new = path.with_suffix(".new")
    torch.save(state, new)
    new.replace(path)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("data", type=pathlib.Path, help="folder with train/, heldout/ and tokenizer.json")
    ap.add_argument("run", type=pathlib.Path, help="folder for the checkpoint and the log")
    ap.add_argument("--minutes", type=float, default=100, help="wall time of the whole run (default %(default)s)")
    ap.add_argument("--width", type=int, default=256)
    ap.add_argument("--heads", type=int, default=4)
    ap.add_argument("--layers", type=int, default=6)
    ap.add_argument("--windows", default="256:0.35,512:0.85,1024:1", metavar="LENGTH:UNTIL,...",
                    help="window lengths and the share of the time up to which each is used (default %(default)s)")
    ap.add_argument("--tokens", type=int, default=4096, help="tokens in a step (default %(default)s)")
    ap.add_argument("--muon-lr", type=float, default=0.02)
    ap.add_argument("--adam-lr", type=float, default=0.004)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--save-every", type=float, default=300, help="seconds between checkpoints")
    ap.add_argument("--compile", action="store_true", help="use torch.compile (needs a C++ compiler)")
    ap.add_argument("--no-bf16", action="store_true", help="do the matrix products in float32")
    args = ap.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    tok = Tokenizer.from_file(str(args.data / "tokenizer.json"))
    train = load_ids(args.data / "train", tok, args.data / "train.u16")
    heldout = load_ids(args.data / "heldout", tok, args.data / "heldout.u16")
    check = validation_windows(heldout, 512, 64)
    check_bytes = bytes_per_token(tok)[check[:, 1:]].sum().item()

    model = MPT(tok.get_vocab_size(), args.width, args.heads, args.layers)
    matrices = [p for n, p in model.named_parameters() if n.startswith("blocks.") and p.ndim == 2]
    others = [p for n, p in model.named_parameters() if not (n.startswith("blocks.") and p.ndim == 2)]
    muon = Muon(matrices, lr=args.muon_lr)
    adam = torch.optim.AdamW(others, lr=args.adam_lr, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
    phases = [(int(n), float(until)) for n, until in (p.split(":") for p in args.windows.split(","))]
    length, step, tokens, seen = 0, 0, 0, 0         # seen: windows used at the present length
    spent, began = 0.0, time.time()                 # spent: seconds inside training steps

    checkpoint = args.run / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
        for mine, saved in zip(muon.state, state["muon"]):
            mine.copy_(saved)
        step, tokens, seen, length = (state[k] for k in ("step", "tokens", "seen", "length"))
        spent, began = state["spent"], state["began"]

    def write_log(**row):
        with open(args.run / "log.jsonl", "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")

    def validate(progress):
        loss = token_losses(model, check)
        write_log(step=step, tokens=tokens, seconds=round(time.time() - began), progress=round(progress, 4),
                  heldout_nats=round(loss.mean().item(), 4),
                  heldout_bits_per_byte=round(loss.sum().item() / check_bytes / math.log(2), 4))

    def store():
        save(checkpoint, model=model.state_dict(), config=model.config, adam=adam.state_dict(),
             muon=muon.state, step=step, tokens=tokens, seen=seen, length=length, spent=spent, began=began)

    loss_of = torch.compile(model.loss, dynamic=False) if args.compile else model.loss
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(train):,} training tokens, "
          f"{len(heldout):,} held out; starting at step {step}", flush=True)

    windows, recent, total, saved_at, logged_at = None, [], args.minutes * 60, time.time(), time.time()
    while (progress := (time.time() - began) / total) < 1:
        wanted = next(n for n, until in phases if progress < until)
        if windows is None or wanted != length:
            seen = seen if wanted == length else 0
            length = wanted
            windows, bias = Windows(train, length, args.seed), attention_bias(args.heads, length)
        tick = time.time()
        size = max(1, args.tokens // length)
        ids, targets = windows.batch(seen, size)
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.no_bf16):
            loss = loss_of(ids, targets, bias)
        loss.backward()
        scale = schedule(step, progress)
        muon.step(scale)
        for group in adam.param_groups:
            group["lr"] = args.adam_lr * scale
        adam.step()
        model.zero_grad(set_to_none=True)
        step, seen, tokens = step + 1, seen + size, tokens + ids.numel()
        spent += time.time() - tick
        recent.append(loss.item())
        if time.time() - logged_at > 30:
            logged_at = time.time()
            write_log(step=step, tokens=tokens, seconds=round(logged_at - began), scale=round(scale, 3),
                      train_nats=round(sum(recent) / len(recent), 4), step_ms=round((time.time() - tick) * 1000))
            recent = []
        if time.time() - saved_at > args.save_every:
            validate(progress)
            store()
            saved_at = time.time()
    validate(1.0)
    store()
    print(f"done: {step} steps, {tokens:,} tokens, {(time.time() - began) / 60:.1f} minutes, "
          f"{spent / 60:.1f} of them in training steps")


if __name__ == "__main__":
    main()
