/* A SentencePiece vocabulary of the unigram kind: what it has besides its tokens. Each piece has a score; a text is cut
 * into the pieces whose scores have the greatest sum (unigram.h). In a piece a space is spelt U+2581.
 *
 * Filled by vocab_spiece.c or vocab_gguf.c, then read-only. */
#ifndef QUIRE_TOKENIZER_PIECES_H
#define QUIRE_TOKENIZER_PIECES_H

#include "vocab.h"

/* A longer piece is refused: the search looks this far ahead from each place. Trained vocabularies have 16 characters.
 */
#define PIECE_MAX_BYTES 512

/* Of the prefixes of all pieces; a vocabulary of 2^18 pieces has about a million. */
#define PIECES_MAX_NODES (1u << 22)

#define PIECE_SPACE       "\xE2\x96\x81" /* U+2581 */
#define PIECE_SPACE_BYTES 3

/* What the unknown piece decodes to where a file says nothing: U+2047 between spaces. */
#define PIECE_UNKNOWN_SURFACE " \xE2\x81\x87 "

/* As both file formats number them. */
enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2,      /* stands for what no piece spells */
    PIECE_CONTROL = 3,      /* a special token: text never gives it */
    PIECE_USER_DEFINED = 4, /* taken wherever its text stands */
    PIECE_UNUSED = 5,       /* an id without a token */
    PIECE_BYTE = 6,         /* "<0xE2>": a byte of what no other piece spells */
};

/* A step of the tree of pieces: from a node, by a byte, to another. One of a hash table's slots; child 0: free. */
struct piece_step {
    uint32_t parent;
    uint32_t child : 24, byte : 8;
};

struct pieces {
    float *scores; /* [n_scores] by id */
    size_t n_scores, scores_capacity;
    uint8_t *types; /* [n_scores] */
    size_t types_capacity;

    struct piece_step *steps;
    size_t steps_mask;
    uint64_t hash_seed;
    int32_t *ids; /* [n_nodes] of the piece that ends at each node, or -1; node 0 is where all start */
    uint32_t n_nodes;
    size_t longest; /* piece in the tree, in bytes */

    int32_t unknown; /* its id */
    float unknown_score;
    bool has_bytes; /* what is unknown is spelt by bytes (vocab->byte_ids) */

    /* What is done to a text before it is cut. */
    bool adds_prefix; /* a space goes before it */
    bool squeezes;    /* spaces at its ends go, and all but one of a run */
    bool escapes;     /* spaces become U+2581 */
};

/* Makes vocab->pieces, with the settings that files have where they say nothing. Errors: NO_MEMORY. */
quire_status pieces_open(struct vocab *vocab, quire_error *err);
void pieces_close(struct pieces *pieces);

/* The next piece: its id is the number of those before it. Errors: as vocab_add_token; FORMAT (a score that is no
 * number, a byte's piece that is misspelt), UNSUPPORTED (too long, an unknown type). */
quire_status pieces_add(struct vocab *vocab, const char *piece, size_t n, float score, int64_t type, quire_error *err);

/* After the last piece: what each decodes to, and the tree. unknown_surface: what the unknown piece decodes to.
 * Errors: FORMAT (no unknown piece, or several; some bytes without a piece), UNSUPPORTED, NO_MEMORY. */
quire_status pieces_finish(struct vocab *vocab, const char *unknown_surface, size_t n_surface, quire_error *err);

/* The step that goes one byte further, or the free one where it belongs. */
static inline struct piece_step *pieces_slot(const struct pieces *pieces, uint32_t parent, uint8_t byte)
{
    uint64_t hash = (((uint64_t)parent << 8 | byte) ^ pieces->hash_seed) * 0x9E3779B97F4A7C15u;
    size_t slot = (size_t)(hash >> 32) & pieces->steps_mask;
    for (;; slot = (slot + 1) & pieces->steps_mask) {
        struct piece_step *step = &pieces->steps[slot];
        if (step->child == 0 || (step->parent == parent && step->byte == byte))
            return step;
    }
}

/* The node one byte further, 0: none. */
static inline uint32_t pieces_step(const struct pieces *pieces, uint32_t parent, uint8_t byte)
{
    return pieces_slot(pieces, parent, byte)->child;
}

#endif
