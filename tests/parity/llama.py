"""GGUF files by the peers' own writer, and llama.cpp's logits."""
import ctypes
import importlib.metadata
import os

import gguf
import llama_cpp
import numpy as np

import parity  # noqa: F401  first: it finds the makers of golden models
import make_golden
from formats import gguf_name

VERSION = llama_cpp.__version__
GGUF_VERSION = importlib.metadata.version("gguf")
TYPES = gguf.GGMLQuantizationType
PRODUCED = {"f32": TYPES.F32, "f16": TYPES.F16, "bf16": TYPES.BF16, "q8_0": TYPES.Q8_0, "q4_0": TYPES.Q4_0,
            "q4_1": TYPES.Q4_1, "q5_0": TYPES.Q5_0, "q5_1": TYPES.Q5_1}
# What llama.cpp's own quantiser makes out of a file in F32: its name for the mixture.
QUANTISED = {"q2_K": "Q2_K", "q3_K": "Q3_K_S", "q4_K": "Q4_K_S", "q5_K": "Q5_K_S", "q6_K": "Q6_K", "iq4_nl": "IQ4_NL",
             "iq4_xs": "IQ4_XS"}


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(level, text, user):
    del level, text, user


llama_cpp.llama_log_set(silent, None)


def write(path, config, weights, dtype):
    """The keys of llama.cpp's converter; matrices in the type, vectors in F32; no tokenizer."""
    writer = gguf.GGUFWriter(path, "mpt")
    for key, value in make_golden.gguf_keys("parity", config).items():
        if key != "general.architecture":
            (writer.add_float32 if isinstance(value, float) else writer.add_string if isinstance(value, str)
             else writer.add_uint32)(key, value)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])
    for name, x in weights.items():
        kind = PRODUCED[dtype] if x.ndim == 2 else TYPES.F32
        data = gguf.quants.quantize(x.astype(np.float32), kind)
        writer.add_tensor(gguf_name(name), data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantise(source, path, kind):
    """llama.cpp's own quantiser, every matrix in the one type."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + QUANTISED[kind])
    params.pure = True
    done = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(path), ctypes.byref(params))
    assert done == 0, f"llama_model_quantize of {path}: {done}"


def unpack(path, config):
    """The tensors of a file in float64, under HuggingFace's names."""
    names = {gguf_name(name): name for name in make_golden.shapes(config)}
    return {names[t.name]: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64)
            for t in gguf.GGUFReader(path).tensors}


class Model:
    """A model and a context in float32 keys and values. Raises ValueError where llama.cpp refuses the file."""

    def __init__(self, path, n_ctx, flash=False):
        params = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self.model:
            raise ValueError(f"llama.cpp does not load {path}")
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = n_ctx
        options.n_batch = options.n_ubatch = 512
        options.type_k = options.type_v = llama_cpp.GGML_TYPE_F16 if flash else llama_cpp.GGML_TYPE_F32
        options.flash_attn_type = (llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash
                                   else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED)
        options.n_threads = options.n_threads_batch = len(os.sched_getaffinity(0))
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        assert self.context
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)

    def logits(self, ids, at=0):
        """[len(ids), n_vocab]: after each of the tokens, which stand at positions at, at + 1, ..."""
        rows = []
        batch = llama_cpp.llama_batch_init(512, 0, 1)
        for first in range(0, len(ids), 512):
            part = ids[first:first + 512]
            batch.n_tokens = len(part)
            for i, token in enumerate(part):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(token), at + first + i, 1
                batch.seq_id[i][0], batch.logits[i] = 0, True
            assert llama_cpp.llama_decode(self.context, batch) == 0
            for i in range(len(part)):
                row = llama_cpp.llama_get_logits_ith(self.context, i)
                rows.append(np.ctypeslib.as_array(row, (self.n_vocab,)).copy())
        llama_cpp.llama_batch_free(batch)
        return np.array(rows)

    def close(self):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)


def logits(path, ids):
    model = Model(path, len(ids) + 64)
    try:
        return model.logits(ids)
    finally:
        model.close()


def logits_after_gap(path, ids, gap, flash=False):
    """After the last token, in a model of one layer, where the second half of the ids stands `gap` positions further on."""
    model = Model(path, len(ids) + 64, flash)
    try:
        half = len(ids) // 2
        # New positions must follow the last: the first token of the second half is moved there once it is read. That
        # is exact in a model of one layer, whose keys and values do not depend on what a token attends to.
        model.logits(ids[:half + 1])
        llama_cpp.llama_memory_seq_add(llama_cpp.llama_get_memory(model.context), 0, half, -1, gap)
        return model.logits(ids[half + 1:], half + 1 + gap)[-1]
    finally:
        model.close()


def tokenize(path, text, special=False):
    """The ids of llama.cpp, nothing added."""
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    assert model, f"llama.cpp does not load the vocabulary of {path}"
    raw = text.encode()
    ids = (ctypes.c_int32 * (len(raw) + 1))()
    n = llama_cpp.llama_tokenize(llama_cpp.llama_model_get_vocab(model), raw, len(raw), ids, len(ids), False, special)
    llama_cpp.llama_model_free(model)
    assert n >= 0
    return list(ids[:n])
