/* A model in training: float32 master weights, their gradients, and the forward and backward pass over a micro-batch.
 *
 * The loss of a token is the negative log-likelihood of its target, plus z_loss * lse^2 where asked for, lse being the
 * logarithm of the sum of the exponentials of the logits. Everything that the model computes is what the engine
 * computes for the same configuration; there is no dropout. All results are fixed by the weights, the tokens and the
 * options, bit for bit: sums are split by position, never by timing, so that the number of threads does not matter. The
 * kernel table does (it is part of what a run may want to record).
 *
 * A net is used by one caller at a time. */
#ifndef QUIRE_TRAIN_NET_H
#define QUIRE_TRAIN_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"
#include "quire/model.h"

struct net;
struct threads;

/* A target that counts for nothing: no loss, no gradient. For padding, prompts, and the seam between documents. */
#define NET_IGNORE UINT32_MAX

typedef enum train_precision {
    TRAIN_F32, /* every product of float32 factors */
    TRAIN_BF16 /* factors of matrix products and attention rounded to bfloat16, sums and all else float32. Where
                  products in 16-bit fixed point are the processor's fastest, those, which are nearer, and float32 in
                  attention; where it has neither, the same as TRAIN_F32: net_factors tells */
} train_precision;

struct net_options {
    uint32_t n_sequences; /* of a micro-batch, at most; at least 1 */
    uint32_t seq_len;     /* tokens of each, at most; at least 1 */
    train_precision precision;
    bool recomputes;    /* activations: keep only what enters each block, and compute the rest again on the way back */
    double z_loss;      /* weight; 0: none */
    uint32_t n_threads; /* 0: the processors that this process may use */
    const char *isa;    /* kernel table; NULL: QUIRE_ISA, or the best that the processor runs */
};

/* Bytes, known before any of them is asked for. */
struct net_memory {
    uint64_t parameters, gradients;
    uint64_t activations;    /* what the backward pass needs of the forward pass */
    uint64_t scratch;        /* packed factors, a chunk of logits, one block's work */
    uint64_t largest_linear; /* of the parameters: the largest that is_linear */
    uint64_t total;
};

/* What a net for the configuration would take. Errors: USAGE, UNSUPPORTED (naming what is out of range, as net_open
 * does); NO_MEMORY where it does not fit into an address space. */
quire_status net_plan(struct net_memory *out, const quire_config *config, const struct net_options *options,
                      quire_error *err);

/* A net with all weights and gradients zero: net_init or net_load comes next. Configuration and options are copied.
 * Errors: USAGE (a size that is 0; seq_len beyond max_seq_len where positions are learned), UNSUPPORTED (isa), those of
 * the configuration, NO_MEMORY. */
quire_status net_open(struct net **out, const quire_config *config, const struct net_options *options,
                      quire_error *err);
void net_close(struct net *net); /* NULL is fine */

const quire_config *net_config(const struct net *net);
struct threads *net_threads(struct net *net);
const char *net_isa(const struct net *net);     /* the kernel table's name; static storage */
const char *net_factors(const struct net *net); /* what the products multiply: "bf16", "f32", ...; static storage */

/* --- parameters ------------------------------------------------------------------------------------------------- */

/* One tensor. Pointers live as long as the net. */
struct param {
    const char *name; /* as HuggingFace files have it: "transformer.blocks.0.attn.Wqkv.weight" */
    uint32_t n_dims;  /* 1 or 2 */
    uint64_t dims[2]; /* outermost first: a matrix is {outputs, inputs} */
    size_t n;         /* numbers */
    float *data;      /* [n], row-major */
    float *grad;      /* [n] */
    bool decays;      /* weight decay applies: matrices, the embeddings included; not norms, nor biases */
    bool is_linear;   /* a matrix of a block, which multiplies what goes through; not the embeddings, nor the head */
};

/* All of them, always in the same order: wte, wpe, norm_f, lm_head (as far as the model has them), then block by block.
 * A tied head is no parameter of its own. */
const struct param *net_params(const struct net *net, size_t *n_params);
uint64_t net_n_parameters(const struct net *net); /* numbers in all of them */

/* All weights, or all gradients, as one array, for what treats them alike (checkpoints, optimisers): parameter after
 * parameter, each padded with zeros to a multiple of 16 numbers, which stay zero. */
float *net_weights(struct net *net, size_t *n);
float *net_gradients(struct net *net, size_t *n);

/* --- initialisation --------------------------------------------------------------------------------------------- */

typedef enum net_init_name {
    NET_INIT_KAIMING_NORMAL, /* std sqrt(2 / inputs), for the embeddings too: sqrt(2 / d_model) */
    NET_INIT_SMALL,          /* std sqrt(2 / (5 d_model)) */
    NET_INIT_BASELINE        /* std init_std */
} net_init_name;

/* Normal numbers for the matrices, 1 for norms, 0 for biases. */
struct net_init_options {
    net_init_name name;
    double init_std;         /* of NET_INIT_BASELINE */
    double emb_init_std;     /* of wte, wpe and an untied head; 0: as name has it */
    double residual_divisor; /* what the std of out_proj and down_proj is divided by; 0: sqrt(2 n_layers); 1: nothing */
    uint64_t seed;
};

/* The names of MosaicML's init_config: "kaiming_normal_", "small_init_", "baseline_". NULL-terminated; index by
 * net_init_name. */
extern const char *const net_init_names[];

/* Sets all weights; the same numbers for a seed on every machine, each tensor's from the seed and its name alone.
 * Gradients become zero. */
void net_init(struct net *net, const struct net_init_options *options);

/* Takes the weights of a model of the same configuration, of any type that quire computes with, as float32.
 * alibi_bias_max and clip_qkv may differ, and max_seq_len unless positions are learned. Gradients become zero.
 * Errors: MISMATCH (naming the field that differs); IO where a mapped file could not be read. */
quire_status net_load(struct net *net, const quire_model *model, quire_error *err);

/* --- passes ----------------------------------------------------------------------------------------------------- */

/* Sequences of the same length, each for itself; every one starts at position 0. */
struct net_batch {
    uint32_t n_sequences;    /* 1 .. options.n_sequences */
    uint32_t n_tokens;       /* of each sequence: 1 .. options.seq_len */
    const uint32_t *tokens;  /* [n_sequences][n_tokens], below vocab_size */
    const uint32_t *targets; /* the same shape: what comes behind each token, or NET_IGNORE */
};

struct net_loss {
    double nll;       /* summed over the targets that count */
    double z_loss;    /* likewise, weighted; 0 without */
    size_t n_targets; /* that count */
};

/* The loss. nll: [n_sequences][n_tokens], that of each target, 0 where it is ignored; NULL: not wanted. A NaN or an
 * infinity on the way is in the result, and no error. Errors: USAGE, MISMATCH (a token or a target beyond the
 * vocabulary, named), with *loss unchanged. */
quire_status net_forward(struct net *net, const struct net_batch *batch, struct net_loss *loss, float *nll,
                         quire_error *err);

/* The forward pass, and the backward pass behind it: gradients += scale * d(nll + z_loss) / d(weights). For the mean
 * over a batch of several micro-batches, scale is 1 over the targets that count in all of them. Errors: of
 * net_forward, with loss and gradients unchanged. */
quire_status net_backward(struct net *net, const struct net_batch *batch, double scale, struct net_loss *loss,
                          quire_error *err);

void net_clear_gradients(struct net *net);

/* Operations of a pass forward and back, as the field counts them: six for each token and each weight that multiplies
 * (the head, tied or not, among them; a row of an embedding does not), and what attention takes for every pair of a
 * token and one that is not behind it, whether it is left out or not. What is computed again does not count. */
double net_n_operations(const struct net *net, uint32_t n_sequences, uint32_t n_tokens);

#endif
