/* The KV store: keys and values of books on disk, memory-mapped for reading.
 *
 * A library of its own: it knows tokens, layers, heads and numbers, and nothing of models or engines. See kv/README.md
 * for the file layout and the invariants (KV-1, KV-2, ...), which code, tests and messages cite.
 *
 * Words: a block is 64 consecutive tokens of one KV head in one layer: its keys, then its values, each as
 * base/kv_rows.h lays them out. A book is one token sequence. Its blocks are its own from `base_tokens` on; those
 * before belong to its parent book (read-only), and so on. The frontier is the number of tokens for which every layer
 * is stored. */
#ifndef QUIRE_KV_KV_H
#define QUIRE_KV_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"
#include "quire/kv_type.h"

enum { KV_BLOCK_TOKENS = 64 };

struct kv_geometry {
    uint32_t n_layers;
    uint32_t n_heads; /* KV heads */
    uint32_t head_dim;
    quire_kv_type type;
};

struct kv_store_options {
    const char *path;       /* the store's folder, made (0700) if missing; NULL: books are unlinked temporary files */
    const char *spill_path; /* folder for temporary files; NULL: $TMPDIR, else /var/tmp */
    struct kv_geometry geometry;
    /* What decides the numbers besides the tokens: the model and its configuration, the tokenizer, the numeric path, as
     * one line of printable text: "name value name value ...". Books of another identity are not used; where one holds
     * the text, kv_store_notice names the field. At most 767 bytes. */
    const char *identity;
};

struct kv_store;
struct kv_book;

/* What people know a book by. Printable UTF-8 without line ends, each ended by a NUL; empty where nobody said. */
struct kv_about {
    char label[256];     /* the documents' names */
    char words[256];     /* the text's first ones */
    char model[128];     /* the model's name */
    char tokenizer[256]; /* the file that the tokenizer came from */
    int64_t created;     /* seconds since 1970; 0: not known */
};

/* field = the text's beginning as far as it fits: white space becomes single spaces, other control characters too, and
 * what is not UTF-8 becomes U+FFFD. */
void kv_about_set(char *field, size_t size, const char *text, size_t n);

/* Errors: USAGE; IO; NO_MEMORY; MISMATCH (the folder is a store of a newer format version, named). */
quire_status kv_store_open(struct kv_store **out, const struct kv_store_options *opts, quire_error *err);
/* Its books are closed before. NULL is fine. */
void kv_store_close(struct kv_store *store);

/* Why the last kv_book_open or kv_book_load_residual did not reuse a book that it could have: a sentence that names the
 * book, and the damaged file or block, or the field in which it is another model's. NULL where there is nothing to say.
 * Valid until the next call on the store or one of its books. */
const char *kv_store_notice(const struct kv_store *store);

/* The books that kv_book_open makes or goes on with from now on are described so; `created` is set by the store. */
void kv_store_describe(struct kv_store *store, const struct kv_about *about);

/* Bytes of one block. */
size_t kv_block_bytes(const struct kv_geometry *geometry);

/* Bytes that n tokens take on disk. */
uint64_t kv_disk_bytes(const struct kv_geometry *geometry, uint64_t n_tokens);

/* Free bytes on the file system where new books and branches go: that of the folder for temporary files, where there is
 * no store or it may only be read. */
quire_status kv_store_free_bytes(const struct kv_store *store, uint64_t *out, quire_error *err);

/* Removes whole books, those used least recently first, until with n_bytes more the store takes at most limit_bytes;
 * never one that is in use, as open books and their parents are, and never a parent of one that stays. None goes in
 * vain: where all together would not be room enough for n_bytes, they stay; where n_bytes is 0, as many go as can.
 * Errors: NO_SPACE (that does not do: the message has the figures), IO, NO_MEMORY. */
quire_status kv_store_make_room(const struct kv_store *store, uint64_t limit_bytes, uint64_t n_bytes, quire_error *err);

/* A book for the text ids[0..n), n > 0, with room for `n` tokens. Where the store holds a beginning of the text it is
 * reused, in the way that leaves the least to compute:
 *  - a book that holds exactly this text and its logits is opened as it is, for reading: its frontier is n;
 *  - a book that ends inside this text and nobody writes is gone on with (this process becomes its one writer);
 *  - a book that goes another way after a common beginning, or is being written, becomes the parent of a new book,
 * which starts at the last whole block of that beginning. In the last two cases the frontier is below n, so that
 * computing the rest gives the logits: a book that holds exactly this text without its logits, or goes on behind it,
 * serves as a parent up to the last whole block before token n - 1. no_reuse: always a new book. Two writers that read
 * the same text at once get a book each. A damaged book is not reused and left alone; kv_store_notice tells. Errors:
 * USAGE (n), IO, NO_SPACE, NO_MEMORY. */
quire_status kv_book_open(struct kv_book **out, struct kv_store *store, const int32_t *ids, size_t n, bool no_reuse,
                          quire_error *err);

/* A temporary book that starts as a branch of `parent` (which must stay open) at its frontier, with room for n_more
 * tokens. The tokens behind the last whole block are copied. Errors: IO, NO_SPACE, NO_MEMORY, USAGE (too large). */
quire_status kv_book_branch(struct kv_book **out, struct kv_book *parent, size_t n_more, quire_error *err);

/* Closes; a temporary book's files vanish. NULL is fine. What was not committed is not kept. */
void kv_book_close(struct kv_book *book);

size_t kv_book_frontier(const struct kv_book *book);    /* tokens stored in every layer */
uint64_t kv_book_n_written(const struct kv_book *book); /* bytes written to files by this handle */

/* Takes the disk space of the blocks that will be put up to token n_tokens, so that a full disk is known now and not in
 * the midst of the work, and sees to it that n_other_bytes are free besides (what will be written next to them). What
 * was taken and is not written goes back when the book is closed; a process that is killed leaves it to the next writer
 * of the book. Where the file system cannot reserve, only the free space is looked at. Errors: NO_SPACE, naming what is
 * needed, what is free, and where: nothing is taken then; IO. */
quire_status kv_book_reserve(struct kv_book *book, size_t n_tokens, uint64_t n_other_bytes, quire_error *err);

/* Bytes that the book, with its blocks up to token n_tokens and n_other_bytes next to them, will take beyond what its
 * files take already: blocks of a span in flight and reservations of a writer that was killed are among these. A
 * temporary book's count as not taken. */
uint64_t kv_book_missing_bytes(const struct kv_book *book, size_t n_tokens, uint64_t n_other_bytes);

/* Stores keys and values of tokens [first, first + n) of one layer. k and v are float32, one token's heads in a row:
 * element (token, head, channel) at [token * stride + head * head_dim + channel]. Within a layer tokens come in order,
 * without gaps, from the frontier on. Whole blocks are written to the file at once and never change again (KV-1);
 * the last, unfinished block of each layer stays in memory until it is full (kv_book_commit keeps a copy in a file).
 * Work on different layers may not overlap in time. A failed put changes nothing and may be tried again.
 * Errors: NO_SPACE, IO, NO_MEMORY; USAGE (layer, order, room, a book opened as it is). */
quire_status kv_book_put(struct kv_book *book, uint32_t layer, size_t first, size_t n, const float *k, const float *v,
                         size_t stride, quire_error *err);

/* Of a branch: drops the tokens from n_tokens on, in every layer that has them; the next put goes on there. They may
 * only be such as lie in unfinished blocks, which no file holds (KV-13). Errors: USAGE (another kind of book, or whole
 * blocks would have to change): nothing is dropped then. */
quire_status kv_book_take_back(struct kv_book *book, size_t n_tokens, quire_error *err);

/* A block as it lies in the mapped file (or in memory, if unfinished), in the KV type. Rows from n_tokens on are
 * undefined. */
struct kv_block {
    const void *k, *v; /* one side each, as base/kv_rows.h lays it out */
    uint32_t n_tokens; /* rows that are stored: 64 but for the last block */
};

/* May be called from several threads at once, but not during kv_book_put on the same layer. `block` counts from the
 * start of the text; it must have been put, and checked where this handle did not put it itself. */
struct kv_block kv_book_block(const struct kv_book *book, uint32_t layer, uint32_t head, size_t block);

/* No key of a head in blocks [0, block] of the layer is longer (L2). The blocks are whole, and checked where this
 * handle did not put them itself; what the call gives depends on them alone. Infinity where a key has a NaN. */
float kv_book_key_norm(const struct kv_book *book, uint32_t layer, uint32_t head, size_t block);

/* Whether all that the layer held when the book (or, of a branch, its parent) was opened has been checked. */
bool kv_book_is_checked(const struct kv_book *book, uint32_t layer);

/* Compares what one head of a layer held when the book was opened, its parents' blocks too, with its checksums, once
 * (KV-6): to be called for each head before the layer's blocks are used. Different heads may be checked from several
 * threads at once. Errors: FORMAT naming book, layer, head and block: then none of the layer may be used; IO;
 * NO_MEMORY. */
quire_status kv_book_check(struct kv_book *book, uint32_t layer, uint32_t head, quire_error *err);

/* Whether every block of a layer that kv_book_block gave so far could be read through its mapping: where the disk
 * failed or a file was cut short, zeros stood in its place (base/map_guard.h), and what was computed from the layer is
 * to be thrown away. To be asked before results are kept. Errors: IO, naming file and offset. */
quire_status kv_book_check_map(const struct kv_book *book, uint32_t layer, quire_error *err);

/* Where kv_book_check has found damage: looks for the first damaged block in all layers. From now on this store's
 * kv_book_open uses only what lies before it, and says so (kv_store_notice): close the book and open it again. False
 * where there is no damage to be avoided in this way. */
bool kv_book_condemn(struct kv_book *book);

/* Once the text has been read and committed: the books that kv_book_open found damaged are put back to what of them is
 * sound, or removed where that is nothing, unless another process uses them. `book` may be a branch of them. *done is a
 * sentence on what was done, or empty. A book that cannot be mended is left as it is. */
void kv_book_mend_damaged(struct kv_book *book, quire_error *done);

/* Residency. Prefetch asks the system to bring blocks into the page cache, without waiting for them: those of one head,
 * [first_block, first_block + n_blocks), the newest first, as attention meets them; or all of a layer. How much is
 * under way is up to the caller. Release lets blocks leave memory (they are read again from the file when touched).
 * Hints: they cannot fail. Prefetch may be called from several threads at once. */
void kv_book_prefetch(const struct kv_book *book, uint32_t layer, uint32_t head, size_t first_block, size_t n_blocks);
void kv_book_prefetch_layer(const struct kv_book *book, uint32_t layer);
void kv_book_release_layer(const struct kv_book *book, uint32_t layer);
/* Release of one head's blocks [first_block, first_block + n_blocks). */
void kv_book_release(const struct kv_book *book, uint32_t layer, uint32_t head, size_t first_block, size_t n_blocks);

/* Makes tokens [0, n_tokens) the book's committed text: every layer must have them. ids: the whole text so far. logits:
 * those after the last token (n_logits floats), or NULL when they are not known. Unfinished blocks are written, files
 * synced, then the manifest replaced atomically. A temporary book only moves its frontier and keeps the logits.
 * After an error the book is what it was before. Where the system could not say what reached the disk (a failed sync),
 * later commits fail too: close the book and open it again, and it is at the last frontier that is sure.
 * Errors: IO, NO_SPACE, NO_MEMORY; USAGE (a layer lacks tokens; the ids before the frontier are not the book's). */
quire_status kv_book_commit(struct kv_book *book, const int32_t *ids, size_t n_tokens, const float *logits,
                            size_t n_logits, quire_error *err);

/* Logits stored with the frontier: true and logits[0..n) filled, or false. */
bool kv_book_logits(const struct kv_book *book, float *logits, size_t n);

/* A span in flight: what an interrupted prefill needs to go on. The engine gives the meaning of the position; the store
 * keeps it, the layers' KV put so far, and the residual stream. */
struct kv_flight {
    uint64_t span_first, span_end; /* tokens of the span */
    uint32_t layer;
    uint32_t phase;      /* step within the layer */
    uint64_t next_token; /* of that layer and phase */
    uint64_t kv_token;   /* tokens of `layer` that are stored: kv_book_put goes on from here */
};

/* Keeps a flight (residual: [span_end - span_first][d_model] float32, n_bytes in all) durably beside the frontier. ids:
 * the text, at least to span_end (n_ids >= span_end). What the layers hold now is part of it. Committing, or putting
 * tokens from the frontier on again, ends it. For temporary books there is nothing to keep: QUIRE_OK. Errors: as
 * kv_book_commit. */
quire_status kv_book_save_flight(struct kv_book *book, const int32_t *ids, size_t n_ids, const struct kv_flight *flight,
                                 const float *residual, size_t n_bytes, quire_error *err);

/* The flight stored with this book, when its text is a beginning of the one that the book was opened for. *found tells.
 * It only looks: kv_book_load_residual takes the flight up, and a put from the frontier on drops it. */
quire_status kv_book_flight(const struct kv_book *book, struct kv_flight *out, bool *found);

/* Takes the flight up: fills in its residual stream, and kv_book_put goes on at its position. On failure the book stays
 * where it is, and kv_store_notice tells what is damaged; the contents of residual are then undefined.
 * Errors: USAGE (no flight), MISMATCH (not n_bytes), FORMAT (damaged), IO, NO_MEMORY. */
quire_status kv_book_load_residual(struct kv_book *book, float *residual, size_t n_bytes, quire_error *err);

/* Compares every committed block that the book reads, its parents' too, with its checksum. Errors: FORMAT naming book,
 * layer, head and block; IO. */
quire_status kv_book_verify(const struct kv_book *book, quire_error *err);

#endif
