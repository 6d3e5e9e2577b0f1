/* The engine and the books it reads.
 *
 * An engine is a model made ready to compute: threads, kernels, memory plan, KV store. A book is one token sequence
 * read by an engine: its keys and values (memory-mapped, in the store or in unlinked temporary files), and the logits
 * after its last token.
 *
 *     quire_engine_open(&engine, model, &options, &err);
 *     quire_book_open(&book, engine, &err);
 *     quire_book_read(book, ids, n_ids, n_new, &err);       prefill: what the store holds is reused
 *     while (...) {
 *         quire_sampler_pick(sampler, quire_book_logits(book), &id, &err);
 *         quire_book_append(book, id, &err);                 decode
 *     }
 *     quire_book_close(book); quire_engine_close(engine);
 *
 * One book is open per engine at a time. An engine and its book are used from one thread; quire_engine_cancel may be
 * called from any thread and from a signal handler. */
#ifndef QUIRE_ENGINE_H
#define QUIRE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "kv_type.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Most tokens that quire_book_append_draft computes ahead. */
enum { QUIRE_DRAFT_MOST = 15 };

typedef struct quire_engine quire_engine;
typedef struct quire_book quire_book;

typedef struct quire_progress {
    bool is_decode;
    uint64_t n_tokens;       /* of the text: read (prefill) or written (decode) so far, counted in whole-stack tokens */
    uint64_t n_tokens_total; /* to be read, reused ones included */
    double work_done;        /* 0..1 of the prefill, weighted by arithmetic: attention grows with the square */
    uint32_t layer;          /* the layer at work */
    uint32_t n_layers;
} quire_progress;

/* Called now and then from the thread that called the engine. Return nonzero to stop (CANCELLED); before what was read
 * is written to the store it is then called once more. */
typedef int (*quire_progress_fn)(void *user, const quire_progress *progress);

/* Natural-log probabilities of tokens first, first+1, ..., first+n-1 of the text (position counted from 0; the first
 * token of a text has none), in order. Only tokens computed now are reported, not those reused from the store, nor
 * the first one behind these, which the last of them predicts; twice, where a damaged block of the store made a part be
 * computed again. */
typedef void (*quire_logprobs_fn)(void *user, uint64_t first, const int32_t *ids, const float *logprobs, size_t n);

typedef struct quire_engine_options {
    uint64_t memory_bytes; /* budget for weights, activations and KV together; 0: three quarters of what is available */
    const char *store_path;     /* the KV store's folder, made if missing; NULL: nothing is kept */
    const char *spill_path;     /* where KV goes when there is no store; NULL: $TMPDIR or /var/tmp */
    uint64_t store_limit_bytes; /* books used least recently make way so that the store takes no more; 0: no limit */
    bool no_reuse;              /* do not look for what the store already holds */
    quire_kv_type kv_type;
    /* How much attention may leave out: older keys whose softmax weights together are proved to be at most this are not
     * read. A channel of a head's output is then wrong by at most twice this times its largest value. 0: all are read.
     */
    float attn_eps;
    uint32_t chunk_tokens; /* tokens that go through one layer together; 0: 512, fewer where memory is short */
    uint32_t span_tokens;  /* tokens that go through the stack layer by layer; 0: as many as the budget allows */
    /* With a store, what a crash may cost: the span at work is saved once this many seconds have passed since the last
     * time, at the end of a chunk, and at the end of a layer after a sixth of that; less often where the disk is so
     * slow that it would take over 2 % of the time. 0: after every chunk of a layer, whatever it costs. */
    double commit_seconds;
    uint32_t draft_tokens; /* most tokens that decode computes ahead (quire_book_append_draft), for which room is
                              planned; at most QUIRE_DRAFT_MOST */
    uint32_t n_threads;    /* 0: the processors that this process may use */
    /* "ref", "base", "avx2", "avx512"; "avx2-i16", "avx2-vnni", "avx512-vnni" (which round the factors of prefill's
     * products to 16-bit fixed point), "avx512-bf16", "amx-bf16" (to bfloat16), with sums in float32. NULL: QUIRE_ISA,
     * else the best that runs here. */
    const char *isa;
    quire_progress_fn progress;
    quire_logprobs_fn logprobs;
    void *user; /* for both */
} quire_engine_options;

/* bf16 KV, an attn_eps of 2^-24 (the rounding of float32), a commit every 60 seconds, and zeros. */
QUIRE_API quire_engine_options quire_engine_defaults(void);

/* What reading n_tokens and writing n_new more takes. */
typedef struct quire_plan {
    uint64_t n_tokens;
    uint64_t n_new;
    uint64_t memory_bytes;     /* expected peak of resident memory */
    uint64_t budget_bytes;     /* what it was planned against */
    uint64_t least_bytes;      /* the smallest budget that would do */
    uint64_t weight_bytes;     /* of which: weights resident at once */
    uint64_t activation_bytes; /* of which: residual stream, chunk buffers, unpacked weights */
    uint64_t kv_bytes;         /* of which: keys and values resident at once */
    uint64_t disk_bytes;       /* keys and values on disk */
    uint64_t flight_bytes;     /* on disk besides, while it reads: what is kept of a span in flight */
    uint64_t free_bytes;       /* free on that disk now */
    double seconds;            /* of reading all of the text, an estimate: quire_engine_plan */
    uint32_t chunk_tokens;
    uint32_t span_tokens;
} quire_plan;

/* Errors: USAGE; UNSUPPORTED (ISA not available here); IO and NO_SPACE (store); NO_MEMORY. The model must outlive the
 * engine, and the engine its book; strings in opts are copied. OpenBLAS is set to one thread, for the whole process:
 * the engine has threads of its own. */
QUIRE_API quire_status quire_engine_open(quire_engine **out, const quire_model *model, const quire_engine_options *opts,
                                         quire_error *err);
QUIRE_API void quire_engine_close(quire_engine *engine);

/* Asks the running call to stop: within a second it does nothing more but write to the store what it has read, at the
 * disk's speed (a span in flight takes 4 d_model bytes a token), and returns CANCELLED. Async-signal-safe. The request
 * holds until the engine has returned CANCELLED once. */
QUIRE_API void quire_engine_cancel(quire_engine *engine);

/* What a text would take under this engine's options, if the store holds nothing of it. The seconds are a guess from
 * some milliseconds of measuring this machine's arithmetic, done once for an engine; the progress of a reading refines
 * it. Errors: IO (the disk's free space); NO_MEMORY when the budget is below least_bytes (*out is
 * filled in all the same), USAGE when learned positions end before n_tokens + n_new. */
QUIRE_API quire_status quire_engine_plan(quire_engine *engine, uint64_t n_tokens, uint64_t n_new, quire_plan *out,
                                         quire_error *err);

QUIRE_API const char *quire_engine_isa(const quire_engine *engine);
QUIRE_API uint32_t quire_engine_n_threads(const quire_engine *engine);

/* An empty book. Errors: NO_MEMORY, USAGE (another book is open). */
QUIRE_API quire_status quire_book_open(quire_book **out, quire_engine *engine, quire_error *err);

/* Keeps what was read in the store, drops what was only appended, and frees. NULL is fine. */
QUIRE_API void quire_book_close(quire_book *book);

/* What the store's owner sees of this text (quire_store_list): the documents' names, and their first words, UTF-8, cut
 * where they are long; either may be NULL. Before the reading. */
QUIRE_API void quire_book_describe(quire_book *book, const char *label, const char *first_words);

/* Reads ids[0..n) as the book's text: takes from the store the longest beginning that it holds, computes the rest and
 * keeps it there, also while it works (commit_seconds), so that after a crash the same call goes on from the last
 * commit, whatever span_tokens is then; where memory_bytes is 0, with as much of what is available as that takes. What
 * the store held is checked before it is used; what is damaged is computed again, the damaged book then put back to
 * what of it is sound, and quire_book_notice tells. With store_limit_bytes, room is made before the work and after it.
 * Once per book. n_new: how many tokens may be appended afterwards (room is planned for them). Errors: CANCELLED (the
 * store keeps what was done; the same call on a new book goes on from there), NO_MEMORY (the budget is too small for
 * the text, or for what an interrupted reading left in the store, which keeps it: no_reuse reads without it), NO_SPACE
 * (the disk or store_limit_bytes; known before the work starts where the file system says so), IO, BUSY, NUMERIC (with
 * layer and position), USAGE (no tokens, an id outside the vocabulary). */
QUIRE_API quire_status quire_book_read(quire_book *book, const int32_t *ids, size_t n, size_t n_new, quire_error *err);

/* Reading in parts, by an engine without a store: begin takes the text as quire_book_read does, and reads nothing yet;
 * read_to reads what is missing up to token `end`, so that the logits are those after token end - 1, and drops what was
 * appended before. Room is planned for all of the text, and for n_new tokens behind each part. quire_book_read is one
 * begin and one read_to. Errors: as quire_book_read; USAGE (nothing was begun, `end` is not behind what is read or is
 * behind the text, a part of a text where there is a store). After an error there is no more to be read. */
QUIRE_API quire_status quire_book_begin(quire_book *book, const int32_t *ids, size_t n, size_t n_new, quire_error *err);
QUIRE_API quire_status quire_book_read_to(quire_book *book, size_t end, quire_error *err);

/* Decodes one token: the logits are then those after it. Appended tokens branch off the text: the stored book does not
 * change. CANCELLED by the answer of progress comes when the token is appended; after it the next can be. After every
 * other error but USAGE there are no logits, and nothing can be appended. Errors as quire_book_read, and USAGE when
 * n_new tokens have been appended already. */
QUIRE_API quire_status quire_book_append(quire_book *book, int32_t id, quire_error *err);

/* The same, and with it ahead what may follow: draft[0..n) are tokens that somebody expects to be appended next. They
 * go through the stack together with `id`, which reads the weights, and a block of keys, once for all of them. Where
 * the tokens that are then appended are these, their logits are there at once; at the first that is another one, what
 * was computed ahead is dropped. The draft decides about time alone: logits are the same, bit for bit, with any draft
 * and with none. Where the last one has not been used up, where a block of 64 tokens ends, and beyond draft_tokens and
 * n_new, it is left out or cut short. Errors: as quire_book_append; USAGE for a drafted id outside the vocabulary. */
QUIRE_API quire_status quire_book_append_draft(quire_book *book, int32_t id, const int32_t *draft, size_t n,
                                               quire_error *err);

/* [vocab_size] logits after the last token, logit_scale applied. Valid until the next call on the book. NULL before the
 * first read, and after an error. */
QUIRE_API const float *quire_book_logits(const quire_book *book);

/* What the user should know, a sentence each: what the store held of this text and could not use, and why (damage, or a
 * field in which that reading differs from this one), what became of it, and why a commit on the way failed, which
 * costs only what a crash may cost. In the order in which it came up; NULL from the number of notices on. The first
 * append can add some. Valid as long as the book is. */
QUIRE_API const char *quire_book_notice(const quire_book *book, size_t index);

QUIRE_API uint64_t quire_book_n_tokens(const quire_book *book); /* read and appended */
QUIRE_API uint64_t quire_book_n_reused(const quire_book *book); /* of these, taken from the store */
/* Besides these, work that an interrupted reading had done on tokens behind them, counted in whole tokens. */
QUIRE_API uint64_t quire_book_n_resumed(const quire_book *book);
/* KV blocks that attention has read since the book was opened, each counted once for every query and head that needed
 * it, and those that it left out because of attn_eps. The share of the second in their sum is what the certified stop
 * saves. */
QUIRE_API uint64_t quire_book_n_blocks_met(const quire_book *book);
QUIRE_API uint64_t quire_book_n_blocks_skipped(const quire_book *book);
/* Drafted tokens that were computed ahead since the book was opened, and those of them that were then appended. */
QUIRE_API uint64_t quire_book_n_drafted(const quire_book *book);
QUIRE_API uint64_t quire_book_n_accepted(const quire_book *book);
QUIRE_API uint64_t quire_book_disk_bytes(const quire_book *book); /* written for this book by this run */

#ifdef __cplusplus
}
#endif
#endif
