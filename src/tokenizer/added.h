/* Added tokens: literal strings that become one token wherever they stand in a text, found leftmost first and the
 * longest of those that start at one place, as HuggingFace `tokenizers` does. */
#ifndef QUIRE_TOKENIZER_ADDED_H
#define QUIRE_TOKENIZER_ADDED_H

#include <stdbool.h>

#include "buffer.h"

/* A longer token is refused when a tokenizer is opened: the search looks this far ahead from each place at most. */
#define ADDED_MAX_BYTES 256

struct added_node {
    uint32_t child;   /* the first node one byte further, 0: none */
    uint32_t sibling; /* the next node beside this one, 0: none */
    int32_t id;       /* of the token that ends here, -1: none */
    uint8_t byte;
};

/* A set of tokens, as a tree of their bytes. All zero is an empty one. */
struct added {
    struct added_node *nodes; /* node 0 is not used */
    size_t n_nodes, capacity;
    uint32_t roots[256]; /* the node of a first byte, 0: none */
    size_t longest;      /* in bytes */
};

/* n: 1 to ADDED_MAX_BYTES; bytes are valid UTF-8. Where two tokens are spelt alike the first stays. Errors: NO_MEMORY.
 */
quire_status added_insert(struct added *added, const uint8_t *bytes, size_t n, int32_t id, quire_error *err);
void added_release(struct added *added);

/* A search through a text that comes in pieces. */
struct added_search {
    const struct added *added;
    size_t n_held;
    uint8_t held[2 * ADDED_MAX_BYTES]; /* the start of what may become a token */
};

void added_search_init(struct added_search *search, const struct added *added);

/* Takes whole characters and gives tokens and the text between them to the sink, as far as they are certain.
 * Errors: the sink's. */
quire_status added_search_feed(struct added_search *search, const uint8_t *text, size_t n, const struct sink *sink,
                               quire_error *err);

/* The text ends: gives what is left. The next feed starts another text. */
quire_status added_search_finish(struct added_search *search, const struct sink *sink, quire_error *err);

#endif
