/* The text is indexed as LZ77 coders do it: each place by a hash of its last GRAM tokens, places with the same hash in
 * a chain from the newest to the oldest. The place with the longest common past is the guess. Every guess is compared
 * with what came, whether it was used or not, so that for each length of the common past it is known how often it
 * holds. */
#include "quire/draft.h"

#include <stdlib.h>

#include "base/mem.h"

enum {
    GRAM = 3,
    MOST_PLACES = 64, /* of a chain that are looked at */
    MOST_LENGTH = 24, /* of a common past: longer ones are as good */
    HALF_LIFE = 16    /* guesses after which an older one counts by about a half */
};

/* What a drafted token costs beside one that goes through the stack alone: weights are read once for all, but each has
 * its own arithmetic (bench_dot: 0.3 to 0.5; in attention over a long text more). */
static const float COST = 0.5f;

struct quire_draft {
    int32_t *ids;     /* [room] the text */
    uint32_t *before; /* [room] the place before in its chain, and 1 more; 0: none */
    uint32_t *newest; /* [1 << bits] the newest place of a chain, and 1 more; 0: none */
    size_t n, room;
    unsigned bits;
    uint32_t most;
    size_t guess;                   /* the place of the token that is guessed to come next */
    uint32_t length;                /* of the common past that speaks for it; 0: there is no guess */
    float chances[MOST_LENGTH + 2]; /* by length; the last one stays 0 */
};

quire_status quire_draft_open(quire_draft **out, size_t n_tokens, uint32_t most, quire_error *err)
{
    if (n_tokens > INT32_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE, "a text of %zu tokens is too long to be drafted from: at most %d",
                          n_tokens, INT32_MAX);
    quire_draft *draft = mem_calloc(1, sizeof *draft, "drafting", err);
    if (!draft)
        return QUIRE_ERR_NO_MEMORY;
    draft->room = n_tokens;
    draft->most = most;
    while (((size_t)1 << draft->bits) < n_tokens)
        draft->bits++;
    for (size_t i = 0; i < MOST_LENGTH + 1; i++)
        draft->chances[i] = 0.5f;
    draft->ids = mem_calloc(n_tokens, sizeof *draft->ids, "drafting", err);
    draft->before = mem_calloc(n_tokens, sizeof *draft->before, "drafting", err);
    draft->newest = mem_calloc((size_t)1 << draft->bits, sizeof *draft->newest, "drafting", err);
    if (!draft->ids || !draft->before || !draft->newest) {
        quire_draft_close(draft);
        return QUIRE_ERR_NO_MEMORY;
    }
    *out = draft;
    return QUIRE_OK;
}

void quire_draft_close(quire_draft *draft)
{
    if (!draft)
        return;
    free(draft->ids);
    free(draft->before);
    free(draft->newest);
    free(draft);
}

/* Of the GRAM tokens that end the text. */
static size_t hash_end(const quire_draft *draft)
{
    uint64_t h = 0;
    for (size_t i = 1; i <= GRAM; i++)
        h = (h + (uint32_t)draft->ids[draft->n - i]) * 0x9E3779B97F4A7C15u;
    return draft->bits > 0 ? (size_t)(h >> (64 - draft->bits)) : 0;
}

/* Tokens in common, backwards from the end of the text and from place `last`. */
static uint32_t common_length(const quire_draft *draft, size_t last)
{
    uint32_t n = 0;
    while (n < MOST_LENGTH && n <= last && draft->ids[last - n] == draft->ids[draft->n - 1 - n])
        n++;
    return n;
}

/* Looks for the best guess at the end of the text, and enters that place. */
static void look_up(quire_draft *draft)
{
    draft->length = 0;
    if (draft->n < GRAM)
        return;
    uint32_t *newest = &draft->newest[hash_end(draft)];
    uint32_t place = *newest;
    for (int i = 0; i < MOST_PLACES && place > 0 && draft->length < MOST_LENGTH; i++) {
        uint32_t length = common_length(draft, place - 1);
        if (length >= GRAM && length > draft->length) {
            draft->length = length;
            draft->guess = place; /* the token behind it */
        }
        place = draft->before[place - 1];
    }
    draft->before[draft->n - 1] = *newest;
    *newest = (uint32_t)draft->n;
}

void quire_draft_see(quire_draft *draft, int32_t id)
{
    if (draft->n == draft->room)
        return;
    if (draft->length > 0) {
        float *chance = &draft->chances[draft->length];
        *chance += ((draft->ids[draft->guess] == id ? 1.0f : 0.0f) - *chance) * (0.7f / HALF_LIFE);
    }
    draft->ids[draft->n++] = id;
    look_up(draft);
}

size_t quire_draft_next(const quire_draft *draft, int32_t *ids)
{
    size_t n = 0;
    float chance = 1, tokens = 1, cost = 1; /* of the pass: what it is expected to give, and what it costs */
    for (uint32_t length = draft->length; length > 0 && n < draft->most; n++) {
        chance *= draft->chances[length];
        if (chance * cost < COST * tokens)
            break;
        tokens += chance;
        cost += COST;
        length += length < MOST_LENGTH;
        size_t place = draft->guess + n;
        ids[n] = place < draft->n ? draft->ids[place] : ids[place - draft->n]; /* a text that repeats itself */
    }
    return n;
}
