/* Viterbi's algorithm, forward: from each place, in order, all tokens that start there are tried, and the place where
 * each ends keeps the best way to it: its score and the token it arrives with.
 *
 * What is decided. Let P be the next place to go on from, and S the places at or behind P that have been reached, each
 * with its way. Every way to the text's end, whatever follows, passes some place at or behind P; the first of these it
 * reached with a token from before P. All such tokens have been tried, and a place's way is only ever replaced by one
 * that comes from P or later. So the way begins with that of some place of S as it stands now. Where the ways of all of
 * S pass one common place, every way to any end does, and what lies before it is decided: bit for bit as if the whole
 * text had been there, since the scores go on from that place as they stand.
 *
 * There is such a place wherever no token that could be used goes across (before a space, for vocabularies trained in
 * the usual way), so that little is held. Texts and vocabularies can be made where two ways never meet ("a" and "aa" in
 * a long row of them: whether it starts with the single one depends on its end); then the undecided part grows, up to a
 * limit. */
#include "unigram.h"

#include "code_point.h"

/* How many more bytes are gone through before it is looked for decided text again, at least. */
#define LOOK_BYTES     4096
#define MOST_UNDECIDED ((size_t)4 << 20)

#define COUNT_AFRESH_BELOW (-100000.0f)

#define NO_TOKEN (-1)

/* The best way to a place. */
struct unigram_end {
    float score;
    int32_t id;      /* of the token that ends here, NO_TOKEN: not reached */
    uint32_t length; /* of that token in bytes; 0 where the undecided text starts */
};

void unigram_init(struct unigram *unigram, const struct vocab *vocab)
{
    *unigram = (struct unigram){.vocab = vocab};
    unigram_reset(unigram);
}

void unigram_release(struct unigram *unigram)
{
    buffer_release(&unigram->text);
    free(unigram->ends);
    *unigram = (struct unigram){0};
}

void unigram_reset(struct unigram *unigram)
{
    unigram->text.n = 0;
    unigram->n_ends = 0;
    unigram->at = 0;
    unigram->next_look = LOOK_BYTES;
    unigram->is_after_unknown = false;
}

/* Room for the way to each place of the text. */
static quire_status reserve_ends(struct unigram *unigram, quire_error *err)
{
    size_t n = unigram->text.n + 1;
    quire_status status =
        mem_reserve(&unigram->ends, &unigram->ends_capacity, n, sizeof *unigram->ends, "a text's tokens", err);
    if (status != QUIRE_OK)
        return status;
    if (unigram->n_ends == 0)
        unigram->ends[unigram->n_ends++] = (struct unigram_end){0};
    for (; unigram->n_ends < n; unigram->n_ends++)
        unigram->ends[unigram->n_ends] = (struct unigram_end){.id = NO_TOKEN};
    return QUIRE_OK;
}

/* --- ways --------------------------------------------------------------------------------------------------------- */

/* Of equal ones the first stays. */
static void offer(struct unigram_end *end, float score, int32_t id, size_t length)
{
    if (end->id == NO_TOKEN || score > end->score)
        *end = (struct unigram_end){score, id, (uint32_t)length};
}

/* Scores of long ways lose digits: now and then they are counted afresh from the next place, and with it from all that
 * are reached behind it. Where this is done decides how scores are rounded and so, where two ways are all but equal,
 * which is taken: SentencePiece 0.2 does it here, and so the ids of whole books agree. */
static void count_afresh(struct unigram *unigram)
{
    struct unigram_end *ends = unigram->ends + unigram->at;
    size_t n = size_min(unigram->text.n - unigram->at, unigram->vocab->pieces->longest);
    float base = ends[0].score;
    if (base >= COUNT_AFRESH_BELOW)
        return;
    for (size_t i = 0; i <= n; i++)
        if (ends[i].id != NO_TOKEN)
            ends[i].score -= base;
}

/* Tries all tokens that start at the next place. The text behind it is long enough for each, or ends. */
static void go_on(struct unigram *unigram)
{
    const struct pieces *pieces = unigram->vocab->pieces;
    const uint8_t *text = unigram->text.bytes + unigram->at;
    struct unigram_end *ends = unigram->ends + unigram->at;
    count_afresh(unigram);
    size_t n = unigram->text.n - unigram->at, length = code_point_length(text[0]);
    float score = ends[0].score;
    bool is_known = false;
    uint32_t node = 0;
    for (size_t i = 0; i < n && (node = pieces_step(pieces, node, text[i])) != 0; i++) {
        int32_t id = pieces->ids[node];
        if (id < 0)
            continue;
        offer(&ends[i + 1], score + pieces->scores[id], id, i + 1);
        is_known = is_known || i + 1 == length;
    }
    if (!is_known)
        offer(&ends[length], score + pieces->unknown_score, pieces->unknown, length);
    unigram->at += length;
}

/* The last place that the ways to all reached places at or behind the next one pass. Ways are followed back from the
 * farthest place, all at once: `open` counts the places that are still to be followed. */
static size_t find_decided(const struct unigram *unigram, uint8_t *is_open)
{
    size_t first = unigram->at, n = unigram->text.n + 1, open = 0, at;
    memset(is_open, 0, n);
    for (at = first; at < n; at++)
        if (unigram->ends[at].id != NO_TOKEN)
            open += is_open[at] = 1;
    for (at = n - 1; open > 1 || !is_open[at]; at--) {
        if (!is_open[at])
            continue;
        uint8_t *before = &is_open[at - unigram->ends[at].length];
        open -= *before;
        *before = 1;
    }
    return at;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static quire_status give_token(struct unigram *unigram, size_t start, size_t end, int32_t id, struct id_list *out,
                               quire_error *err)
{
    const struct vocab *vocab = unigram->vocab;
    bool is_unknown = id == vocab->pieces->unknown, is_repeated = is_unknown && unigram->is_after_unknown;
    unigram->is_after_unknown = is_unknown;
    if (!is_unknown || !vocab->pieces->has_bytes)
        return is_repeated ? QUIRE_OK : id_list_append(out, &id, 1, err);
    quire_status status = QUIRE_OK;
    for (size_t i = start; i < end && status == QUIRE_OK; i++)
        status = id_list_append(out, &vocab->byte_ids[unigram->text.bytes[i]], 1, err);
    return status;
}

/* Appends the tokens of the way to `end`, and lets go of the text before it. The way is turned round in place: the
 * lengths of its tokens are kept where they start instead of where they end. */
static quire_status give(struct unigram *unigram, size_t end, struct id_list *out, quire_error *err)
{
    struct unigram_end *ends = unigram->ends, last = ends[end];
    for (size_t at = end; at > 0;) {
        size_t start = at - last.length;
        struct unigram_end before = ends[start];
        ends[start].id = last.id;
        ends[start].length = last.length;
        at = start;
        last = before;
    }
    quire_status status = QUIRE_OK;
    for (size_t at = 0; at < end && status == QUIRE_OK; at += ends[at].length)
        status = give_token(unigram, at, at + ends[at].length, ends[at].id, out, err);
    ends[end].length = 0;
    ends[end].id = 0;
    unigram->text.n -= end;
    unigram->n_ends -= end;
    unigram->at -= end;
    memmove(unigram->text.bytes, unigram->text.bytes + end, unigram->text.n);
    memmove(ends, ends + end, unigram->n_ends * sizeof *ends);
    return status;
}

static quire_status give_decided(struct unigram *unigram, struct id_list *out, quire_error *err)
{
    uint8_t *is_open = mem_calloc(unigram->text.n + 1, 1, "a text's tokens", err);
    if (!is_open)
        return QUIRE_ERR_NO_MEMORY;
    size_t end = find_decided(unigram, is_open);
    free(is_open);
    quire_status status = end > 0 ? give(unigram, end, out, err) : QUIRE_OK;
    /* Not again before there is twice as much: so much work for each byte, however long nothing is decided. */
    unigram->next_look = unigram->at + size_max(LOOK_BYTES, unigram->at);
    if (status == QUIRE_OK && unigram->at >= MOST_UNDECIDED)
        status = quire_fail(err, QUIRE_ERR_TEXT,
                            "the text cannot be cut into tokens piece by piece: more than %zu MiB of it depend on what "
                            "follows them",
                            MOST_UNDECIDED >> 20);
    return status;
}

quire_status unigram_feed(struct unigram *unigram, const uint8_t *text, size_t n, struct id_list *out, quire_error *err)
{
    size_t longest = size_max(unigram->vocab->pieces->longest, 4); /* a character is as long at least */
    quire_status status = buffer_append(&unigram->text, text, n, err);
    if (status == QUIRE_OK)
        status = reserve_ends(unigram, err);
    while (status == QUIRE_OK && unigram->text.n - unigram->at >= longest) {
        go_on(unigram);
        if (unigram->at >= unigram->next_look)
            status = give_decided(unigram, out, err);
    }
    return status;
}

quire_status unigram_finish(struct unigram *unigram, struct id_list *out, quire_error *err)
{
    while (unigram->at < unigram->text.n)
        go_on(unigram);
    quire_status status = unigram->text.n > 0 ? give(unigram, unigram->text.n, out, err) : QUIRE_OK;
    unigram_reset(unigram);
    return status;
}
