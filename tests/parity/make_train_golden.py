#!/usr/bin/env python3
"""Writes tests/train/golden/steps.txt: losses, gradients and optimiser steps of small MPT models by PyTorch's autograd in
float64. The model is written here from the family's definition; nothing of Quire is used. Needs torch.

    make_train_golden.py > tests/train/golden/steps.txt

Of each tensor: the norm of its gradient, and for some of its numbers index, gradient, and the weight after one step of
AdamW and after one of Lion, both with decay. Weights come from the formula of tests/golden/README.md."""
import math

import torch
import torch.nn.functional as F

BASE = dict(d_model=32, n_heads=4, kv_n_heads=4, n_layers=2, d_ff=128, max_seq_len=64, vocab_size=48, no_bias=1,
            alibi=1, alibi_bias_max=8.0, clip_qkv=0.0, qk_ln=0, softmax_scale=0.0, logit_scale=1.0, learned_pos_emb=0,
            rmsnorm=0, tied=1, z_loss=0.0)
CASES = {
    "base": {},
    "everything": dict(no_bias=0, d_ff=64, kv_n_heads=2, qk_ln=1, clip_qkv=0.75, alibi_bias_max=16.0, z_loss=0.001),
    "learned": dict(alibi=0, learned_pos_emb=1, rmsnorm=1, tied=0, softmax_scale=0.25, logit_scale=0.5),
    "six-heads": dict(d_model=48, n_heads=6, kv_n_heads=3, d_ff=144),
}
N_SEQUENCES, N_TOKENS, N_NUMBERS = 2, 20, 6
LR, DECAY = 0.01, 0.1


def mixed(u):
    u &= 0xFFFFFFFF
    u ^= u >> 16
    u = u * 0x85EBCA6B & 0xFFFFFFFF
    u ^= u >> 13
    u = u * 0xC2B2AE35 & 0xFFFFFFFF
    return u ^ u >> 16


def formula(name, shape):
    h = 0x811C9DC5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    u = [mixed(i * 0x9E3779B1 + h) for i in range(math.prod(shape))]
    bias = ".bias" in name
    if ".norm" in name or "q_ln" in name or "k_ln" in name:
        values = [((x >> 24) - 128) / 1024 if bias else 0.75 + (x >> 27) / 64 for x in u]
    else:
        divisor = 128 if "wte" in name else 256 if "wpe" in name else 512
        values = [((x >> 24) - 128) / divisor for x in u]
    return torch.tensor(values, dtype=torch.float64).reshape(shape).requires_grad_()


def tensors(c):
    d, kv = c["d_model"], c["kv_n_heads"] * c["d_model"] // c["n_heads"]
    shapes = {"transformer.wte.weight": (c["vocab_size"], d)}
    if c["learned_pos_emb"]:
        shapes["transformer.wpe.weight"] = (c["max_seq_len"], d)
    if not c["tied"]:
        shapes["lm_head.weight"] = (c["vocab_size"], d)

    def norm(name, width, has_bias):
        shapes[name + ".weight"] = (width,)
        if has_bias:
            shapes[name + ".bias"] = (width,)

    def linear(name, out, inputs):
        shapes[name + ".weight"] = (out, inputs)
        if not c["no_bias"]:
            shapes[name + ".bias"] = (out,)

    norm_bias = not c["no_bias"] and not c["rmsnorm"]
    norm("transformer.norm_f", d, norm_bias)
    for i in range(c["n_layers"]):
        b = f"transformer.blocks.{i}."
        norm(b + "norm_1", d, norm_bias)
        linear(b + "attn.Wqkv", d + 2 * kv, d)
        if c["qk_ln"]:
            norm(b + "attn.q_ln", d, norm_bias)
            norm(b + "attn.k_ln", kv, norm_bias)
        linear(b + "attn.out_proj", d, d)
        norm(b + "norm_2", d, norm_bias)
        linear(b + "ffn.up_proj", c["d_ff"], d)
        linear(b + "ffn.down_proj", d, c["d_ff"])
    return {name: formula(name, shape) for name, shape in shapes.items()}


def slopes(n_heads, bias_max):
    power = 2 ** math.ceil(math.log2(n_heads))
    t = [2 ** (-k * bias_max / power) for k in range(1, power + 1)]
    return torch.tensor(t if power == n_heads else (t[1::2] + t[::2])[:n_heads], dtype=torch.float64)


def loss_of(c, w, ids, targets):
    d, heads, kv_heads = c["d_model"], c["n_heads"], c["kv_n_heads"]
    hd, n = d // heads, ids.shape[1]

    def norm(name, x, is_rms):
        weight, bias = w[name + ".weight"], w.get(name + ".bias")
        if is_rms:
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight
        return F.layer_norm(x, weight.shape, weight, bias, 1e-5)

    def linear(name, x):
        return F.linear(x, w[name + ".weight"], w.get(name + ".bias"))

    position = torch.arange(n)
    distance = (position[:, None] - position[None, :]).double()
    bias = torch.zeros(heads, n, n, dtype=torch.float64)
    if c["alibi"]:
        bias = -slopes(heads, c["alibi_bias_max"])[:, None, None] * distance
    bias = bias.masked_fill(distance < 0, -math.inf)
    x = w["transformer.wte.weight"][ids]
    if c["learned_pos_emb"]:
        x = x + w["transformer.wpe.weight"][:n]
    for i in range(c["n_layers"]):
        b = f"transformer.blocks.{i}."
        qkv = linear(b + "attn.Wqkv", norm(b + "norm_1", x, c["rmsnorm"]))
        if c["clip_qkv"]:
            qkv = qkv.clamp(-c["clip_qkv"], c["clip_qkv"])
        q, k, v = qkv.split([d, kv_heads * hd, kv_heads * hd], dim=-1)
        if c["qk_ln"]:
            q, k = norm(b + "attn.q_ln", q, False), norm(b + "attn.k_ln", k, False)
        q = q.unflatten(-1, (heads, hd)).transpose(1, 2)
        k, v = (t.unflatten(-1, (kv_heads, hd)).transpose(1, 2).repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = q @ k.transpose(-1, -2) * (c["softmax_scale"] or hd**-0.5) + bias
        mixed_values = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + linear(b + "attn.out_proj", mixed_values)
        x = x + linear(b + "ffn.down_proj", F.gelu(linear(b + "ffn.up_proj", norm(b + "norm_2", x, c["rmsnorm"]))))
    x = norm("transformer.norm_f", x, c["rmsnorm"])
    logits = x @ w["transformer.wte.weight" if c["tied"] else "lm_head.weight"].T * c["logit_scale"]
    nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    lse = logits.logsumexp(-1)[targets >= 0]
    return nll + c["z_loss"] * lse.pow(2).mean()


def adamw(w):
    """One step of torch's; its decay is relative to the rate, MosaicML's is not."""
    copies = {name: t.detach().clone().requires_grad_() for name, t in w.items()}
    for name, t in w.items():
        copies[name].grad = t.grad.clone()
    matrices = [t for t in copies.values() if t.dim() == 2]
    vectors = [t for t in copies.values() if t.dim() == 1]
    groups = [{"params": matrices, "weight_decay": DECAY / LR}, {"params": vectors, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8).step()
    return copies


def lion(w):
    return {name: t.detach() * (1 - (DECAY if t.dim() == 2 else 0)) - LR * t.grad.sign() for name, t in w.items()}


def main():
    print("# made by tests/parity/make_train_golden.py with torch", torch.__version__.split("+")[0])
    for case, changes in CASES.items():
        c = {**BASE, **changes}
        w = tensors(c)
        numbers = [mixed(7919 * i + 1) % c["vocab_size"] for i in range(2 * N_SEQUENCES * N_TOKENS)]
        ids, targets = torch.tensor(numbers).reshape(2, N_SEQUENCES, N_TOKENS)
        targets[0, 3] = targets[1, 19] = -1
        loss = loss_of(c, w, ids, targets)
        loss.backward()
        print("case", case, *(f"{key}={value:g}" for key, value in changes.items()))
        print(f"loss {loss.item():.12g}")
        after_adamw, after_lion = adamw(w), lion(w)
        for name, t in w.items():
            print(f"tensor {name} {t.grad.norm().item():.9g}")
            for i in range(N_NUMBERS):
                at = mixed(31 * i + 5) % t.numel()
                figures = (x.flatten()[at].item() for x in (t.grad, after_adamw[name], after_lion[name]))
                print("number", at, *(f"{x:.9g}" for x in figures))


if __name__ == "__main__":
    main()
