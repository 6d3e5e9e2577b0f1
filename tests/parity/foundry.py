"""MosaicML's own model code, out of the package llm-foundry, on attention in plain torch.

Only the model is wanted, and only it is imported: the packages around it (training, data, cloud clients) would bring
hundreds of others. Parent packages are therefore put in place without their __init__, and names imported from the
trainer are empty classes; not a line of the model is changed."""
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import logging
import sys
import types
import warnings

import numpy as np
import torch
import transformers

warnings.filterwarnings("ignore")
transformers.utils.logging.set_verbosity_error()
logging.getLogger("llmfoundry").setLevel(logging.ERROR)

VERSION = importlib.metadata.version("llm-foundry")
ABSENT = ("composer", "omegaconf", "streaming", "torchmetrics")


class EmptyClasses(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules of absent packages, in which every name is an empty class."""

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)

        def missing(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})
        module.__getattr__ = missing
        return module

    def exec_module(self, module):
        pass


def model_class():
    sys.meta_path.append(EmptyClasses())
    root = importlib.util.find_spec("llmfoundry").submodule_search_locations[0]
    for name in ("llmfoundry", "llmfoundry.utils", "llmfoundry.models", "llmfoundry.models.layers",
                 "llmfoundry.models.mpt", "llmfoundry.models.utils"):
        module = types.ModuleType(name)
        module.__path__ = ["/".join([root] + name.split(".")[1:])]
        sys.modules[name] = module
    from llmfoundry.models.mpt.configuration_mpt import MPTConfig
    from llmfoundry.models.mpt.modeling_mpt import MPTForCausalLM
    return MPTConfig, MPTForCausalLM


MPTConfig, MPTForCausalLM = model_class()


def model(config, weights, dtype=torch.float32):
    attention = {"attn_impl": "torch", **config["attn_config"]}
    more = {"use_cache": False, "init_device": "cpu", "pad_token_id": None}
    net = MPTForCausalLM(MPTConfig(**{**config, **more, "attn_config": attention})).to(torch.float64)
    net.load_state_dict({name: torch.tensor(np.asarray(x), dtype=torch.float64) for name, x in weights.items()})
    return net.to(dtype).eval()


def logits(net, ids):
    with torch.inference_mode():
        return net(input_ids=torch.as_tensor(np.asarray(ids))[None]).logits[0].double().numpy()
