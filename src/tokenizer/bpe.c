/* Prose is the same few thousand words over and over: short words and their ids are kept in a table, where a word that
 * falls on another's place takes it. The rest goes through a linked list of symbols and a heap of pairs. Pairs that are
 * gone stay in the heap and are known by their rank, which is no longer that of the pair at their position.
 *
 * Long words are joined window by window, which keeps the list and the heap in the cache and memory small. That is
 * exact, for any merges, because of this: a list of tokens is the encoding of a text if and only if each two neighbours
 * are the encoding of what they spell together. (Merges are picked by rank, then from left to right. Look at the first
 * one that would cross the boundary of two neighbours: until then what happened within the two is what happens when
 * they stand alone, so it would cross there as well. And a boundary that stays is never crossed, so either side of it
 * is joined as if it stood alone.) So two windows may be put together when the later starts at a token of the earlier
 * and its first token is that very one. It almost always is, some hundred bytes before the earlier window's end; if
 * not, larger windows are tried, up to one that holds the whole word. */
#include "bpe.h"

#include "base/hash.h"

#define N_CACHED     (1u << 15)
#define CACHED_BYTES 30
#define CACHED_IDS   8
#define WINDOW_BYTES 4096
#define NO_SYMBOL    UINT32_MAX

struct bpe_symbol {
    int32_t id; /* -1: joined to the one before it */
    uint32_t previous, next;
};

/* One cache line. n_bytes == 0: free. */
struct bpe_cached {
    uint8_t n_bytes, n_ids;
    uint8_t bytes[CACHED_BYTES];
    int32_t ids[CACHED_IDS];
};

quire_status bpe_init(struct bpe *bpe, const struct vocab *vocab, quire_error *err)
{
    struct bpe_cached *cache = mem_calloc(N_CACHED, sizeof *cache, "the cache of words", err);
    if (!cache)
        return QUIRE_ERR_NO_MEMORY;
    *bpe = (struct bpe){.vocab = vocab, .cache = cache};
    return QUIRE_OK;
}

void bpe_release(struct bpe *bpe)
{
    free(bpe->symbols);
    free(bpe->queue);
    free(bpe->cache);
    *bpe = (struct bpe){0};
}

static void sift_down(uint64_t *queue, size_t n, size_t at, uint64_t value)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && queue[child + 1] < queue[child];
        if (value <= queue[child])
            break;
        queue[at] = queue[child];
    }
    queue[at] = value;
}

static uint64_t pop(struct bpe *bpe)
{
    uint64_t top = bpe->queue[0];
    bpe->n_queue--;
    if (bpe->n_queue > 0)
        sift_down(bpe->queue, bpe->n_queue, 0, bpe->queue[bpe->n_queue]);
    return top;
}

static void push(struct bpe *bpe, uint64_t value)
{
    size_t at = bpe->n_queue++;
    for (size_t parent; at > 0 && value < bpe->queue[parent = (at - 1) / 2]; at = parent)
        bpe->queue[at] = bpe->queue[parent];
    bpe->queue[at] = value;
}

/* The rank of the merge of the symbol at `left` and the one behind it, or MERGE_NONE. */
static uint32_t pair_rank(const struct bpe *bpe, uint32_t left)
{
    const struct bpe_symbol *symbol = &bpe->symbols[left];
    if (symbol->id < 0 || symbol->next == NO_SYMBOL)
        return MERGE_NONE;
    return vocab_merge_rank(bpe->vocab, symbol->id, bpe->symbols[symbol->next].id);
}

static void push_pair(struct bpe *bpe, uint32_t left)
{
    uint32_t rank = pair_rank(bpe, left);
    if (rank != MERGE_NONE)
        push(bpe, (uint64_t)rank << 32 | left);
}

/* Every merge takes one pair out of the queue and puts in two at most, so n bytes never have 2 n in it. */
static quire_status reserve(struct bpe *bpe, size_t n, quire_error *err)
{
    if (n >= NO_SYMBOL / 2)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "a word of %zu bytes is too long, at most %u can be joined", n,
                          NO_SYMBOL / 2 - 1);
    quire_status status = mem_reserve(&bpe->symbols, &bpe->symbols_capacity, n, sizeof bpe->symbols[0], "a word", err);
    if (status == QUIRE_OK)
        status = mem_reserve(&bpe->queue, &bpe->queue_capacity, 2 * n, sizeof bpe->queue[0], "a word", err);
    return status;
}

static void start(struct bpe *bpe, const uint8_t *word, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        bpe->symbols[i] = (struct bpe_symbol){bpe->vocab->byte_ids[word[i]], i - 1, i + 1};
    bpe->symbols[0].previous = NO_SYMBOL;
    bpe->symbols[n - 1].next = NO_SYMBOL;
    bpe->n_queue = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rank = pair_rank(bpe, i);
        if (rank != MERGE_NONE)
            bpe->queue[bpe->n_queue++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = bpe->n_queue / 2; i-- > 0;)
        sift_down(bpe->queue, bpe->n_queue, i, bpe->queue[i]);
}

static void join_all(struct bpe *bpe)
{
    while (bpe->n_queue > 0) {
        uint64_t top = pop(bpe);
        uint32_t left = (uint32_t)top, rank = (uint32_t)(top >> 32);
        if (pair_rank(bpe, left) != rank)
            continue;
        struct bpe_symbol *symbol = &bpe->symbols[left];
        struct bpe_symbol *joined = &bpe->symbols[symbol->next];
        symbol->id = bpe->vocab->products[rank];
        symbol->next = joined->next;
        joined->id = -1;
        if (symbol->next != NO_SYMBOL)
            bpe->symbols[symbol->next].previous = left;
        if (symbol->previous != NO_SYMBOL)
            push_pair(bpe, symbol->previous);
        push_pair(bpe, left);
    }
}

/* A window's encoding as a list of symbols, each at the place of its first byte. */
static quire_status join(struct bpe *bpe, const uint8_t *bytes, size_t n, quire_error *err)
{
    quire_status status = reserve(bpe, n, err);
    if (status == QUIRE_OK) {
        start(bpe, bytes, (uint32_t)n);
        join_all(bpe);
    }
    return status;
}

/* Appends the ids of the tokens that end at or before `limit`. *rest: where the next token starts; n where none does.
 */
static quire_status give_ids(const struct bpe *bpe, size_t n, size_t limit, size_t *rest, struct id_list *out,
                             quire_error *err)
{
    quire_status status = QUIRE_OK;
    size_t at = 0;
    while (status == QUIRE_OK && at < n) {
        const struct bpe_symbol *symbol = &bpe->symbols[at];
        size_t end = symbol->next == NO_SYMBOL ? n : symbol->next;
        if (end > limit)
            break;
        status = id_list_append(out, &symbol->id, 1, err);
        at = end;
    }
    *rest = at;
    return status;
}

/* *is_exact: false where the windows are too small, and what was appended may be wrong. */
static quire_status encode_windows(struct bpe *bpe, const uint8_t *word, size_t n, size_t window, bool *is_exact,
                                   struct id_list *out, quire_error *err)
{
    size_t rest = 0;
    int32_t expected = -1; /* the token that starts a window, as the one before it has it */
    *is_exact = true;
    for (size_t at = 0; at < n; at += rest) {
        size_t n_bytes = size_min(n - at, window);
        quire_status status = join(bpe, word + at, n_bytes, err);
        if (status == QUIRE_OK && expected >= 0 && bpe->symbols[0].id != expected)
            *is_exact = false;
        if (status == QUIRE_OK && *is_exact)
            status = give_ids(bpe, n_bytes, at + n_bytes == n ? n_bytes : n_bytes - window / 8, &rest, out, err);
        if (status != QUIRE_OK || !*is_exact)
            return status;
        if (rest == 0) { /* one token that is longer than the window's sure part */
            *is_exact = false;
            return status;
        }
        if (at + rest < n)
            expected = bpe->symbols[rest].id;
    }
    return QUIRE_OK;
}

static quire_status encode_uncached(struct bpe *bpe, const uint8_t *word, size_t n, struct id_list *out,
                                    quire_error *err)
{
    size_t n_before = out->n;
    bool is_exact = false;
    quire_status status = QUIRE_OK;
    for (size_t window = WINDOW_BYTES; status == QUIRE_OK && !is_exact; window *= 2) {
        out->n = n_before;
        status = encode_windows(bpe, word, n, window, &is_exact, out, err);
    }
    return status;
}

quire_status bpe_encode(struct bpe *bpe, const uint8_t *word, size_t n, struct id_list *out, quire_error *err)
{
    if (n > CACHED_BYTES)
        return encode_uncached(bpe, word, n, out, err);
    struct bpe_cached *cached = &bpe->cache[hash64(word, n) % N_CACHED];
    if (cached->n_bytes == n && memcmp(cached->bytes, word, n) == 0)
        return id_list_append(out, cached->ids, cached->n_ids, err);
    size_t n_before = out->n;
    quire_status status = encode_uncached(bpe, word, n, out, err);
    size_t n_ids = out->n - n_before;
    if (status != QUIRE_OK || n_ids > CACHED_IDS)
        return status;
    cached->n_bytes = (uint8_t)n;
    cached->n_ids = (uint8_t)n_ids;
    memcpy(cached->bytes, word, n);
    memcpy(cached->ids, out->ids + n_before, n_ids * sizeof cached->ids[0]);
    return QUIRE_OK;
}
