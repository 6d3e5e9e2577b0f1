#include "token_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

enum { MAX_LIST_BYTES = 64 << 20 };

/* --- the split --------------------------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static quire_status read_line(struct token_split *split, size_t *capacity, char *line, size_t number, const char *path,
                              quire_error *err)
{
    line[strcspn(line, "\r")] = '\0';
    char *tab = strchr(line, '\t');
    if (line[0] == '\0' || (number == 1 && (strncmp(line, "slug\t", 5) == 0 || strncmp(line, "name\t", 5) == 0)))
        return QUIRE_OK;
    bool is_held = tab && (strcmp(tab + 1, "heldout") == 0 || strcmp(tab + 1, "validation") == 0);
    if (!tab || tab == line || (!is_held && strcmp(tab + 1, "train") != 0))
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s', line %zu: expected a document's name, a tab, and train or heldout", path, number);
    *tab = '\0';
    if (!is_held)
        return QUIRE_OK;
    quire_status status =
        mem_reserve(&split->names, capacity, split->n_names + 1, sizeof *split->names, "a list of documents", err);
    if (status != QUIRE_OK)
        return status;
    split->names[split->n_names] = mem_strdup(line, err);
    if (!split->names[split->n_names])
        return QUIRE_ERR_NO_MEMORY;
    split->n_names++;
    return QUIRE_OK;
}

quire_status token_split_load(struct token_split *out, const char *path, quire_error *err)
{
    struct token_split split = {0};
    size_t n, capacity = 0, number = 1;
    char *text;
    quire_status status = sys_read_file(&text, &n, path, MAX_LIST_BYTES, err);
    if (status != QUIRE_OK)
        return status;
    for (char *line = text, *next; line < text + n && status == QUIRE_OK; line = next, number++) {
        next = line + strcspn(line, "\n") + 1;
        next[-1] = '\0';
        status = read_line(&split, &capacity, line, number, path, err);
    }
    free(text);
    if (status != QUIRE_OK) {
        token_split_release(&split);
        return status;
    }
    if (split.n_names > 0)
        qsort(split.names, split.n_names, sizeof *split.names, by_bytes);
    *out = split;
    return QUIRE_OK;
}

static uint64_t hash_of(const char *name)
{
    return hash64(name, strlen(name));
}

bool token_split_holds_out(const struct token_split *split, const char *name)
{
    if (split->n_names > 0 && bsearch(&name, split->names, split->n_names, sizeof *split->names, by_bytes))
        return true;
    return (double)(hash_of(name) >> 11) * 0x1p-53 < split->fraction;
}

void token_split_release(struct token_split *split)
{
    for (size_t i = 0; i < split->n_names; i++)
        free(split->names[i]);
    free(split->names);
    *split = (struct token_split){0};
}

/* --- a part of it ------------------------------------------------------------------------------------------------ */

/* The document that a fraction holds out first, and at least: the one whose name has the lowest hash. */
static size_t first_held_out(const struct token_file *file)
{
    size_t first = 0;
    for (size_t i = 1; i < file->n_documents; i++)
        if (hash_of(file->documents[i].name) < hash_of(file->documents[first].name))
            first = i;
    return first;
}

quire_status token_set_make(struct token_set *out, const struct token_file *file, const struct token_split *split,
                            bool held_out, quire_error *err)
{
    struct token_set set = {.file = file};
    set.documents = mem_calloc(file->n_documents, sizeof *set.documents, "a part of a corpus", err);
    set.firsts = mem_calloc(file->n_documents + 1, sizeof *set.firsts, "a part of a corpus", err);
    if (!set.documents || !set.firsts) {
        token_set_release(&set);
        return QUIRE_ERR_NO_MEMORY;
    }
    size_t at_least = split && split->fraction > 0 ? first_held_out(file) : SIZE_MAX;
    for (size_t i = 0; i < file->n_documents; i++) {
        if (split && (i == at_least || token_split_holds_out(split, file->documents[i].name)) != held_out)
            continue;
        set.documents[set.n_documents++] = i;
        set.n_ids += file->documents[i].n_ids;
        set.firsts[set.n_documents] = set.n_ids;
    }
    if (set.n_documents == 0) {
        token_set_release(&set);
        if (file->n_documents == 1 && !held_out)
            return quire_fail(err, QUIRE_ERR_FORMAT,
                              "the only document is held out for validation: cut it in two, or set holdout.fraction "
                              "to 0, or see holdout.list");
        return quire_fail(err, QUIRE_ERR_FORMAT, "of %zu documents none is %s", file->n_documents,
                          held_out ? "held out for validation: see holdout.list"
                                   : "left to train on: lower holdout.fraction, or see holdout.list");
    }
    *out = set;
    return QUIRE_OK;
}

void token_set_release(struct token_set *set)
{
    free(set->documents);
    free(set->firsts);
    *set = (struct token_set){0};
}

/* The document that has the id at a position. */
static size_t document_at(const struct token_set *set, uint64_t position)
{
    size_t low = 0, high = set->n_documents;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (set->firsts[middle] <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void token_set_copy(const struct token_set *set, uint64_t first, size_t n, uint32_t *out)
{
    for (size_t d = document_at(set, first); n > 0; d++) {
        uint64_t inside = first - set->firsts[d], left = set->firsts[d + 1] - first;
        size_t step = left < n ? (size_t)left : n;
        token_file_copy(set->file, set->file->documents[set->documents[d]].first + inside, step, out);
        out += step;
        first += step;
        n -= step;
    }
}

/* --- training ---------------------------------------------------------------------------------------------------- */

static void begin_epoch(struct token_order *o, uint64_t epoch)
{
    struct rng rng = {.state = hash64_seeded(&epoch, sizeof epoch, o->seed)};
    o->epoch = epoch;
    o->offset = o->shuffles && o->set->n_ids > (o->n_samples + 1) * o->seq_len ? rng_next(&rng) % o->seq_len : 0;
    for (uint64_t i = 0; i < o->n_samples; i++)
        o->order[i] = (uint32_t)i;
    for (uint64_t i = o->n_samples; o->shuffles && i > 1; i--) {
        uint64_t j = rng_next(&rng) % i; /* the bias of the remainder is below 2^-32 */
        uint32_t moved = o->order[j];
        o->order[j] = o->order[i - 1];
        o->order[i - 1] = moved;
    }
}

quire_status token_order_make(struct token_order *out, const struct token_set *set, uint32_t seq_len, uint64_t seed,
                              bool shuffles, quire_error *err)
{
    uint64_t n = set->n_ids == 0 ? 0 : (set->n_ids - 1) / seq_len;
    if (n == 0)
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "the training text has %llu tokens, and one sample needs %u: more text, or a shorter "
                          "model.max_seq_len",
                          (unsigned long long)set->n_ids, seq_len + 1);
    if (n > UINT32_MAX)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "the training text has more than 2^32 samples");
    struct token_order order = {.set = set, .seq_len = seq_len, .seed = seed, .shuffles = shuffles};
    order.n_samples = shuffles && n > 1 ? n - 1 : n; /* room for the offset */
    order.order = mem_calloc((size_t)order.n_samples, sizeof *order.order, "the order of samples", err);
    if (!order.order)
        return QUIRE_ERR_NO_MEMORY;
    begin_epoch(&order, 0);
    *out = order;
    return QUIRE_OK;
}

void token_order_release(struct token_order *order)
{
    free(order->order);
    *order = (struct token_order){0};
}

void token_order_sample(struct token_order *order, uint64_t position, uint32_t *tokens, uint32_t *targets)
{
    uint64_t epoch = position / order->n_samples;
    if (epoch != order->epoch)
        begin_epoch(order, epoch);
    uint64_t first = order->offset + (uint64_t)order->order[position % order->n_samples] * order->seq_len;
    token_set_copy(order->set, first, order->seq_len, tokens);
    memcpy(targets, tokens + 1, (order->seq_len - 1) * sizeof *targets);
    token_set_copy(order->set, first + order->seq_len, 1, targets + order->seq_len - 1);
}

/* --- validation -------------------------------------------------------------------------------------------------- */

quire_status token_windows(struct token_window **windows, size_t *n, const struct token_set *set, uint32_t seq_len,
                           size_t most, quire_error *err)
{
    struct token_window *all = NULL;
    size_t count = 0, capacity = 0;
    for (size_t d = 0; d < set->n_documents; d++) {
        uint64_t n_text = set->firsts[d + 1] - set->firsts[d] - set->file->has_ends;
        for (uint64_t at = 0; at + 1 < n_text; at += seq_len) {
            quire_status status = mem_reserve(&all, &capacity, count + 1, sizeof *all, "validation windows", err);
            if (status != QUIRE_OK) {
                free(all);
                return status;
            }
            uint64_t left = n_text - at - 1;
            all[count++] = (struct token_window){set->firsts[d] + at, left < seq_len ? (uint32_t)left : seq_len};
        }
    }
    if (count == 0)
        return quire_fail(err, QUIRE_ERR_FORMAT, "no validation document has two tokens");
    for (size_t i = 0; most > 0 && most < count && i < most; i++) /* the i-th kept one stands at or behind place i */
        all[i] = all[i * count / most];
    *windows = all;
    *n = most > 0 && most < count ? most : count;
    return QUIRE_OK;
}
