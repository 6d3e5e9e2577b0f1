/* The memory plan: what a text takes, and what stays resident, under a budget. */
#ifndef QUIRE_ENGINE_PLAN_H
#define QUIRE_ENGINE_PLAN_H

#include "kernels/kernels.h"
#include "kv/kv.h"
#include "model/model.h"
#include "quire/engine.h"

enum {
    /* Memory that the plan does not itemise: the program and its libraries, the tokenizer, page tables; and OpenBLAS's
     * packing buffers in each thread. Part of every plan, so that the peak stays under the budget itself. */
    PLAN_BASE_BYTES = 32 << 20,
    PLAN_THREAD_BYTES = 8 << 20,
    PLAN_DRAFT_TOKEN_BYTES = 16, /* what a drafter has for each token of the text: quire/draft.h */
    PLAN_DEFAULT_CHUNK = 512,
    PLAN_SMALLEST_CHUNK = 64,
    PLAN_LOGIT_ROWS = 128 /* rows of logits at once when log-probabilities are wanted */
};

/* How one half of the work (prefill or decode) keeps to the budget: the first layers' weights and KV stay in memory
 * from one pass to the next, the others are let go once they were used. */
struct plan_residency {
    uint32_t n_weight_layers; /* layers whose weights stay */
    uint32_t n_kv_layers;     /* layers whose KV stays */
    bool keeps_head;          /* the embedding (and head) stays */
    bool releases_heads;      /* KV is let go head by head within a layer */
};

struct memory_plan {
    quire_plan figures;
    struct plan_residency prefill, decode;
};

/* n_threads and, in opts, memory_bytes, chunk_tokens (0: chosen) and span_tokens (0: chosen). Errors: NO_MEMORY when
 * even the smallest span does not fit; *out is filled in then too. */
quire_status plan_memory(struct memory_plan *out, const struct quire_model *model, const quire_engine_options *opts,
                         const struct kernels *kernels, uint32_t n_threads, uint64_t n_tokens, uint64_t n_new,
                         quire_error *err);

#endif
