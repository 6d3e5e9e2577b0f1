#include "kv/kv_lookup.h"

#include <stdlib.h>

#include "base/mem.h"
#include "kv/kv_book.h"
#include "kv/kv_tokens.h"

/* From the manifest alone: could the book serve this text? Saves reading the tokens of every book in the store. */
static bool may_fit(const struct kv_manifest *manifest, const int32_t *ids, size_t n, uint64_t seed)
{
    if (n < KV_BLOCK_TOKENS) /* less than a block is of no use to a branch */
        return manifest->frontier <= n;
    return manifest->n_ids < KV_BLOCK_TOKENS || manifest->first_hash == kv_chain(seed, ids, KV_BLOCK_TOKENS);
}

/* A book that cannot serve, but holds the text from its beginning on: of these the one that is least different, and
 * then the one that has most of the text, is worth a word. The hash of the first block tells, whatever the identity. */
static void note_foreign(struct kv_store *store, const struct kv_manifest *manifest, const int32_t *ids, size_t n)
{
    struct kv_foreign *best = &store->foreign;
    struct kv_store view = kv_store_view(store, manifest);
    if (n < KV_BLOCK_TOKENS || manifest->n_ids < KV_BLOCK_TOKENS || !may_fit(manifest, ids, n, view.seed))
        return;
    char folder[KV_PATH_SIZE], path[KV_PATH_SIZE];
    struct kv_foreign found = {.id = manifest->id};
    kv_store_book_folder(folder, store, manifest->id);
    kv_path(path, folder, "tokens");
    if (kv_tokens_compare(&found.n_common, path, view.seed, manifest->frontier, manifest->frontier_hash, ids, n,
                          NULL) != QUIRE_OK)
        return;
    found.difference = kv_identity_difference(manifest, &store->geometry, store->identity);
    size_t n_found = found.difference.n_fields, n_best = best->difference.n_fields;
    bool is_better = best->n_common == 0 || n_found < n_best || (n_found == n_best && found.n_common > best->n_common);
    if (found.n_common >= KV_BLOCK_TOKENS && is_better)
        *best = found;
}

quire_status kv_candidate_load(struct kv_candidate *out, bool *is_fit, struct kv_store *store, uint64_t id,
                               const int32_t *ids, size_t n)
{
    char folder[KV_PATH_SIZE], path[KV_PATH_SIZE];
    struct kv_candidate candidate = {0};
    const struct kv_manifest *manifest = &candidate.manifest;
    bool is_unborn = false;
    quire_error err = {0};
    *is_fit = false;
    quire_status status = kv_store_any_manifest(&candidate.manifest, store, id, &is_unborn, &err);
    if (status == QUIRE_OK && !kv_manifest_matches(manifest, &store->geometry, store->identity)) {
        note_foreign(store, manifest, ids, n);
        return QUIRE_OK;
    }
    if (status == QUIRE_OK && !may_fit(manifest, ids, n, store->seed))
        return QUIRE_OK;
    if (status == QUIRE_OK) {
        kv_store_book_folder(folder, store, id);
        kv_path(path, folder, "tokens");
        status = kv_tokens_compare(&candidate.n_common, path, store->seed, manifest->frontier, manifest->frontier_hash,
                                   ids, n, &err);
    }
    if (status == QUIRE_OK && (manifest->flags & KV_HAS_FLIGHT)) {
        /* Not an error where it fails: a writer that does not go on with the flight may be overwriting its tokens. */
        size_t n_common;
        candidate.is_flight_ours = kv_tokens_compare(&n_common, path, store->seed, manifest->n_ids, manifest->ids_hash,
                                                     ids, n, NULL) == QUIRE_OK &&
                                   n_common == manifest->n_ids;
    }
    const struct kv_narrowed *narrowed = kv_store_narrowed(store, id);
    if (status == QUIRE_OK && narrowed) {
        bool loses_flight = candidate.is_flight_ours && narrowed->n_sound < manifest->n_ids;
        if (loses_flight || narrowed->n_sound < candidate.n_common)
            kv_store_set_notice(store, id, &narrowed->why);
        candidate.n_common = size_min(candidate.n_common, narrowed->n_sound);
        candidate.is_flight_ours = candidate.is_flight_ours && !loses_flight;
    }
    if (status == QUIRE_ERR_NO_MEMORY)
        return status;
    if (status != QUIRE_OK && !is_unborn)
        kv_store_set_notice(store, id, &err);
    if (status == QUIRE_ERR_FORMAT && kv_store_narrow(store, id, UINT64_MAX, &err) != QUIRE_OK)
        return QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK) {
        *out = candidate;
        *is_fit = true;
    }
    return QUIRE_OK;
}

quire_status kv_candidates_load(struct kv_candidates *list, struct kv_store *store, const int32_t *ids, size_t n,
                                quire_error *err)
{
    uint64_t *books = NULL;
    size_t n_books = 0;
    quire_status status = kv_store_list(&books, &n_books, store, err);
    for (size_t i = 0; i < n_books && status == QUIRE_OK; i++) {
        bool is_fit = false;
        status = mem_reserve(&list->items, &list->capacity, list->n + 1, sizeof *list->items, "books", err);
        if (status == QUIRE_OK)
            status = kv_candidate_load(&list->items[list->n], &is_fit, store, books[i], ids, n);
        if (status != QUIRE_OK && err && err->status == QUIRE_OK)
            quire_fail(err, status, "out of memory for a look through the KV store");
        list->n += is_fit;
    }
    free(books);
    return status;
}

void kv_candidates_release(struct kv_candidates *list)
{
    free(list->items);
    *list = (struct kv_candidates){0};
}

/* How one candidate serves best. */
static struct kv_choice best_use(const struct kv_candidate *c, size_t n)
{
    const struct kv_manifest *m = &c->manifest;
    bool is_beginning = c->n_common == m->frontier;
    bool has_foreign_flight = (m->flags & KV_HAS_FLIGHT) && !c->is_flight_ours;
    if (c->is_unusable)
        return (struct kv_choice){.use = KV_USE_NONE};
    if (!c->is_only_parent && is_beginning && m->frontier == n && m->sides[KV_SIDE_LOGITS].generation != 0)
        return (struct kv_choice){.use = KV_USE_AS_IS, .n_tokens = n};
    /* Going on would overwrite another text's span in flight, hours of work perhaps. */
    if (!c->is_only_parent && is_beginning && m->frontier < n && kv_book_room(m) >= n && !has_foreign_flight)
        return (struct kv_choice){.use = KV_USE_GO_ON, .n_tokens = m->frontier};
    size_t base = size_min(c->n_common, n - 1) / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS;
    /* Blocks before its own base are its parent's: a better candidate, or none any more. */
    if (base > m->base_tokens && m->depth < KV_DEPTH_MAX)
        return (struct kv_choice){.use = KV_USE_BRANCH, .n_tokens = base};
    return (struct kv_choice){.use = KV_USE_NONE};
}

/* Tokens times layers that need not be computed. */
static uint64_t saved(const struct kv_candidate *c, const struct kv_choice *choice)
{
    const struct kv_manifest *m = &c->manifest;
    uint64_t work = (uint64_t)choice->n_tokens * m->n_layers;
    if (choice->use == KV_USE_GO_ON && c->is_flight_ours)
        work += (m->flight.span_end - m->flight.span_first) * m->flight.layer + (m->flight.kv_token > m->frontier);
    return work;
}

struct kv_choice kv_choose(const struct kv_candidate *candidates, size_t n_candidates, size_t n)
{
    struct kv_choice best = {.use = KV_USE_NONE};
    uint64_t best_saved = 0;
    for (size_t i = 0; i < n_candidates; i++) {
        struct kv_choice choice = best_use(&candidates[i], n);
        uint64_t work = saved(&candidates[i], &choice);
        choice.candidate = i;
        bool is_better = best.use == KV_USE_NONE || work > best_saved ||
                         (work == best_saved && choice.use > best.use) ||
                         (work == best_saved && choice.use == best.use &&
                          candidates[i].manifest.depth < candidates[best.candidate].manifest.depth);
        if (choice.use != KV_USE_NONE && is_better) {
            best = choice;
            best_saved = work;
        }
    }
    return best;
}
