#!/usr/bin/env python3
"""Writes PyTorch checkpoints with torch.save itself, for tests/model/test_torch_bin.c.

    make_torch_golden.py FOLDER    files torch-VERSION-NAME.bin, VERSION being that of the torch which runs this

Needs torch, any version since 1.6; what an old one lacks is left out. The values of a tensor are those of values()
below, which the test states again for itself.
"""
import collections
import os
import pathlib
import sys

import torch

VERSION = ".".join(torch.__version__.split(".")[:2])


def values(seed, *shape):
    """Element i is ((7 i + seed) mod 31 - 15) / 8: exact in every floating-point type."""
    n = 1
    for size in shape:
        n *= size
    return torch.tensor([((7 * i + seed) % 31 - 15) / 8 for i in range(n)]).reshape(shape)


def as_parameter(tensor, **attributes):
    parameter = torch.nn.Parameter(tensor)
    for name, value in attributes.items():
        setattr(parameter, name, value)
    return parameter


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Linear(3, 2)
        self.norm = torch.nn.LayerNorm(3)
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                parameter.copy_(values(i, *parameter.shape))


class Evil:
    """What a pickle runs when it is loaded as a pickle."""
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


def files():
    shared = values(5, 4, 3)
    yield "dict", {"f32": values(1, 2, 3), "f16": values(2, 4).half(), "bf16": values(3, 2, 2).bfloat16(),
                   "i64": torch.tensor([1, -2, 3]), "u8": torch.tensor([7], dtype=torch.uint8)}
    yield "ordered", Block().bfloat16().state_dict()
    yield "parameters", collections.OrderedDict(
        plain=as_parameter(values(1, 2, 2)), frozen=torch.nn.Parameter(values(2, 3).half(), requires_grad=False),
        tagged=as_parameter(values(3, 2), tag="decay", group=4))
    yield "views", {"whole": shared, "tied": shared, "rows": shared[1:3], "row": shared[2], "element": shared[3, 1],
                    "flat": shared.view(12), "none": values(0, 0, 4), "transposed": shared.t(), "column": shared[:, 1],
                    "repeated": shared[0].expand(5, 3), "one-row": shared[:, :2][1:2]}
    yield "nested", {"epoch": 3, "rate": 0.25, "steps": 1 << 40, "flags": [True, None, "x", (1, 2)],
                     "state_dict": {"model": collections.OrderedDict(inside=values(9, 2, 2))}}
    yield "many", {f"layers.{i}.weight": values(i, 1) for i in range(40)}
    # What must be refused.
    yield "module", Block()
    yield "list", [values(1, 2)]
    yield "os-system", {"weight": values(1, 2), "more": Evil(os.system, "true")}
    yield "eval", Evil(eval, "1 + 1")
    yield "hub-load", {"weight": Evil(torch.hub.load, "repo", "model")}
    if hasattr(torch, "float8_e4m3fn"):
        yield "untyped", {"f8": torch.zeros(2, 3, dtype=torch.float8_e4m3fn), "u16": torch.zeros(4, dtype=torch.uint16)}
    if hasattr(torch, "view_as_complex"):
        yield "conjugate", {"c": torch.view_as_complex(values(1, 2, 2)).conj()}


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, what in files():
        torch.save(what, folder / f"torch-{VERSION}-{name}.bin")
    torch.save({"weight": values(1, 2)}, folder / f"torch-{VERSION}-protocol-4.bin", pickle_protocol=4)
    torch.save({"weight": values(1, 2)}, folder / f"torch-{VERSION}-legacy.bin", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), folder / f"torch-{VERSION}-script.bin")


if __name__ == "__main__":
    main()
