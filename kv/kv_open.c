/* Opening a book for a text: try the best use of what the store holds, and the next best where it turns out that the
 * book is damaged or somebody else's. */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "kv/kv_book.h"
#include "kv/kv_lookup.h"

static quire_status open_new(struct kv_book **out, struct kv_store *store, size_t n, quire_error *err)
{
    struct kv_origin origin = {.base_hash = store->seed};
    return kv_book_make(out, store, store->path != NULL, n, &origin, err);
}

/* *is_final: the failure is not the candidate's. */
static quire_status open_branch(struct kv_book **out, struct kv_store *store, const struct kv_manifest *parent,
                                size_t base_tokens, const int32_t *ids, size_t n, bool *is_final, quire_error *err)
{
    struct kv_origin origin = {.parent_id = parent->id,
                               .depth = parent->depth + 1,
                               .base_tokens = base_tokens,
                               .base_hash = kv_chain(store->seed, ids, base_tokens)};
    quire_status status =
        kv_parents_open(&origin.parents, store, origin.parent_id, origin.base_tokens, origin.base_hash, err);
    if (status != QUIRE_OK)
        return status;
    *is_final = true;
    /* The parent's writer may be between renaming its manifest and making the name durable: a power cut must not leave
     * this book with a parent that ends before its base. */
    char folder[KV_PATH_SIZE];
    kv_store_book_folder(folder, store, parent->id);
    status = sys_sync_folder(folder, err);
    if (status != QUIRE_OK) {
        kv_parents_release(&origin.parents);
        return status;
    }
    return kv_book_make(out, store, true, n, &origin, err);
}

/* What a failure says about the candidate: each call narrows its use, or finds it at a new manifest, so that trying
 * ends. */
static quire_status reconsider(struct kv_candidate *candidate, enum kv_use use, struct kv_store *store,
                               const int32_t *ids, size_t n, const quire_error *why)
{
    uint64_t id = candidate->manifest.id;
    if (why->status == QUIRE_ERR_BUSY) {
        candidate->is_only_parent = true;
        return QUIRE_OK;
    }
    if (why->status == QUIRE_ERR_FORMAT && kv_store_narrow(store, id, UINT64_MAX, why) != QUIRE_OK)
        return QUIRE_ERR_NO_MEMORY;
    /* Its writer may have gone on, and have removed what an older manifest names. */
    struct kv_candidate now;
    bool is_fit;
    quire_status status = kv_candidate_load(&now, &is_fit, store, id, ids, n);
    if (status != QUIRE_OK)
        return status;
    if (!is_fit) { /* it is gone, or has outgrown a text of less than a block; of damage the notice tells */
        candidate->is_unusable = true;
        return QUIRE_OK;
    }
    if (now.manifest.generation != candidate->manifest.generation) {
        now.is_only_parent = candidate->is_only_parent;
        *candidate = now;
        return QUIRE_OK;
    }
    kv_store_set_notice(store, id, why);
    candidate->is_unusable = use == KV_USE_BRANCH;
    candidate->is_only_parent = true;
    return QUIRE_OK;
}

static quire_status open_best(struct kv_book **out, struct kv_store *store, const int32_t *ids, size_t n,
                              struct kv_candidates *list, quire_error *err)
{
    for (;;) {
        struct kv_choice choice = kv_choose(list->items, list->n, n);
        if (choice.use == KV_USE_NONE)
            return open_new(out, store, n, err);
        struct kv_candidate *candidate = &list->items[choice.candidate];
        bool is_final = false;
        quire_error why = {0};
        quire_status status =
            choice.use == KV_USE_BRANCH
                ? open_branch(out, store, &candidate->manifest, choice.n_tokens, ids, n, &is_final, &why)
                : kv_book_resume(out, store, &candidate->manifest, choice.use == KV_USE_GO_ON, &why);
        if (status == QUIRE_OK)
            return QUIRE_OK;
        if (is_final || status == QUIRE_ERR_NO_MEMORY)
            return quire_fail(err, status, "%s", why.message);
        why.status = status;
        status = reconsider(candidate, choice.use, store, ids, n, &why);
        if (status != QUIRE_OK)
            return quire_fail(err, status, "out of memory while looking through the KV store");
    }
}

/* Says which book of another model or type would have helped, where it holds more than the one that is used. */
static void tell_foreign(struct kv_store *store, size_t n_reused)
{
    const struct kv_foreign *foreign = &store->foreign;
    const struct kv_difference *difference = &foreign->difference;
    size_t n_whole = foreign->n_common / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS; /* a branch could have no more of it */
    if (n_whole <= n_reused || store->notice.status != QUIRE_OK)
        return;
    char others[48] = "";
    if (difference->n_fields > 1)
        snprintf(others, sizeof others,
                 difference->n_fields == 2 ? " (and %zu more field differs)" : " (and %zu more fields differ)",
                 difference->n_fields - 1);
    quire_fail(&store->notice, QUIRE_ERR_MISMATCH,
               "KV book %016" PRIx64 " holds %zu tokens of this text, but was read with %s %s, and this run uses %s%s: "
               "%zu are read again",
               foreign->id, foreign->n_common, difference->field, difference->found, difference->wanted, others,
               foreign->n_common - n_reused);
}

quire_status kv_book_open(struct kv_book **out, struct kv_store *store, const int32_t *ids, size_t n, bool no_reuse,
                          quire_error *err)
{
    quire_error_clear(&store->notice);
    store->foreign = (struct kv_foreign){0};
    if (n == 0 || n > KV_TOKENS_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE, "a KV book for %zu tokens: expected 1 to %d", n, KV_TOKENS_MAX);
    if (!store->path || no_reuse)
        return open_new(out, store, n, err);
    struct kv_candidates list = {0};
    quire_status status = kv_candidates_load(&list, store, ids, n, err);
    if (status == QUIRE_OK)
        status = open_best(out, store, ids, n, &list, err);
    kv_candidates_release(&list);
    if (status == QUIRE_OK)
        tell_foreign(store, kv_book_frontier(*out));
    return status;
}
