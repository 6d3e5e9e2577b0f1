#include "kv/kv_mend.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv_book.h"
#include "kv/kv_remove.h"
#include "kv/kv_side.h"
#include "kv/kv_tokens.h"

/* What is known of a book under its locks. */
struct patient {
    struct kv_store view;
    struct kv_manifest manifest;
    struct kv_soundness soundness;
    char folder[KV_PATH_SIZE];
    bool is_gone;        /* another process has removed it */
    bool has_manifest;   /* one that can be read */
    bool has_new_tokens; /* from a branch */
};

static bool is_sound(const struct patient *p)
{
    return p->has_manifest && p->soundness.n_damaged == 0 && p->soundness.n_tokens == p->manifest.frontier;
}

/* Writes the first base_tokens of a branch over those of the book. The branch's own manifest vouches for them; that
 * they are the book's, too, is seen from what the book has left: after it was put back it may have gone another way.
 * Errors: FORMAT (damaged, or another text); IO, NO_SPACE, NO_MEMORY. */
static quire_status copy_tokens(const struct patient *p, const struct kv_store *store, const struct kv_manifest *branch,
                                quire_error *err)
{
    char folder[KV_PATH_SIZE], from[KV_PATH_SIZE], to[KV_PATH_SIZE];
    size_t n_sound, n_blocks = branch->base_tokens / KV_BLOCK_TOKENS;
    struct sys_map map = {0};
    int fd = -1;
    kv_store_book_folder(folder, store, branch->id);
    kv_path(from, folder, "tokens");
    kv_path(to, p->folder, "tokens");
    quire_status status = kv_tokens_check(&n_sound, from, p->view.seed, branch->base_tokens, branch->base_hash, err);
    if (status == QUIRE_OK)
        status = kv_tokens_check_damaged(to, n_blocks, branch->base_hash, p->manifest.frontier,
                                         p->manifest.frontier_hash, err);
    if (status == QUIRE_OK)
        status = sys_map_file(&map, from, err);
    if (status == QUIRE_OK)
        status = kv_file_open(&fd, to, O_RDWR, NULL, err);
    if (status == QUIRE_OK)
        status = sys_write_all(fd, map.data, n_blocks * sizeof(struct kv_token_record), 0, to, err);
    if (status == QUIRE_OK)
        status = kv_file_sync(fd, to, err);
    kv_file_close(&fd);
    sys_unmap(&map);
    return status;
}

/* Every branch has the whole text in its own tokens file. Where this book's is damaged before one begins, it is put
 * right from there: without it the book, and with it the branch, would lose blocks that are sound. */
static quire_status restore_tokens(struct patient *p, const struct kv_store *store, quire_error *err)
{
    char path[KV_PATH_SIZE];
    size_t n_sound;
    struct kv_shelf shelf;
    kv_path(path, p->folder, "tokens");
    if (kv_tokens_check(&n_sound, path, p->view.seed, p->manifest.frontier, p->manifest.frontier_hash, NULL) !=
        QUIRE_ERR_FORMAT)
        return QUIRE_OK;
    quire_status status = kv_shelf_load(&shelf, store, err);
    if (status != QUIRE_OK)
        return status;
    for (size_t i = 0; i < shelf.n && status == QUIRE_OK && !p->has_new_tokens; i++) {
        const struct kv_manifest *branch = &shelf.books[i].manifest;
        quire_error why = {0};
        if (branch->parent_id != p->manifest.id || branch->base_tokens <= n_sound ||
            branch->base_tokens > p->manifest.frontier ||
            !kv_manifest_matches(branch, &p->view.geometry, p->view.identity))
            continue;
        status = copy_tokens(p, store, branch, &why);
        p->has_new_tokens = status == QUIRE_OK;
        if (status == QUIRE_ERR_FORMAT) /* another branch may serve */
            status = QUIRE_OK;
        else if (status != QUIRE_OK)
            quire_fail(err, status, "%s", why.message);
    }
    kv_shelf_release(&shelf);
    return status;
}

static quire_status examine(struct patient *p, const struct kv_store *store, uint64_t id,
                            const struct kv_mend_options *options, const struct kv_watch *watch, quire_error *err)
{
    quire_error why = {0};
    quire_status status = kv_store_any_manifest(&p->manifest, store, id, &p->is_gone, &why);
    p->has_manifest = status == QUIRE_OK;
    if (p->is_gone || status == QUIRE_ERR_FORMAT)
        return QUIRE_OK;
    if (status != QUIRE_OK)
        return quire_fail(err, status, "%s", why.message);
    p->view = kv_store_view(store, &p->manifest);
    status = restore_tokens(p, store, err);
    if (status == QUIRE_OK)
        status = kv_scan(&p->soundness, &p->view, &p->manifest, options->with_blocks, watch, err);
    if (status != QUIRE_OK)
        return status;
    struct kv_soundness *s = &p->soundness;
    /* What was found before counts, too, unless somebody has seen to it since. */
    if (options->n_sound < p->manifest.n_ids && options->generation == p->manifest.generation) {
        uint64_t whole = options->n_sound / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS;
        s->n_damaged++;
        s->is_side_bad[KV_SIDE_FLIGHT] = true;
        if (options->n_sound < p->manifest.frontier)
            s->n_tokens = size_min(s->n_tokens, size_max(whole, p->manifest.base_tokens));
    }
    return QUIRE_OK;
}

/* The manifest of what is sound; it is of no use where that is nothing of the book's own. */
static quire_status sound_manifest(struct kv_manifest *next, bool *is_useless, const struct patient *p,
                                   quire_error *err)
{
    const struct kv_soundness *s = &p->soundness;
    char path[KV_PATH_SIZE];
    quire_status status = QUIRE_OK;
    *next = p->manifest;
    next->generation++;
    if (s->n_tokens < next->frontier) {
        kv_path(path, p->folder, "tokens");
        next->frontier = s->n_tokens;
        next->sides[KV_SIDE_TAIL] = next->sides[KV_SIDE_LOGITS] = (struct kv_side_ref){0};
        next->frontier_hash = next->base_hash;
        if (s->n_tokens > next->base_tokens)
            status = kv_tokens_chain(&next->frontier_hash, path, p->view.seed, s->n_tokens, err);
    }
    if (s->is_side_bad[KV_SIDE_LOGITS])
        next->sides[KV_SIDE_LOGITS] = (struct kv_side_ref){0};
    if (s->is_side_bad[KV_SIDE_FLIGHT] || s->n_tokens < p->manifest.frontier)
        kv_manifest_clear_flight(next);
    *is_useless = s->is_orphan || (next->frontier == next->base_tokens && !(next->flags & KV_HAS_FLIGHT));
    return status;
}

/* Whether a book begins with what is to be taken from this one. */
static quire_status has_branch_behind(bool *found, const struct kv_store *store, uint64_t id, uint64_t n_tokens,
                                      quire_error *err)
{
    struct kv_shelf shelf;
    quire_status status = kv_shelf_load(&shelf, store, err);
    *found = false;
    for (size_t i = 0; status == QUIRE_OK && i < shelf.n; i++)
        *found = *found || (shelf.books[i].manifest.parent_id == id && shelf.books[i].manifest.base_tokens > n_tokens);
    if (status == QUIRE_OK)
        kv_shelf_release(&shelf);
    return status;
}

static quire_status treat(struct kv_mending *out, struct patient *p, const struct kv_store *store, uint64_t id,
                          const struct kv_mend_options *options, quire_error *err)
{
    struct kv_manifest next = {0};
    bool is_useless = true, is_spared = false;
    quire_status status = p->has_manifest ? sound_manifest(&next, &is_useless, p, err) : QUIRE_OK;
    /* Without its manifest or its parent it serves nobody, its branches neither. */
    if (status == QUIRE_OK && options->spares_branches && p->has_manifest && !p->soundness.is_orphan)
        status = has_branch_behind(&is_spared, store, id, is_useless ? 0 : next.frontier, err);
    if (status != QUIRE_OK)
        return status;
    out->n_before = p->manifest.frontier;
    out->had_flight = p->manifest.flags & KV_HAS_FLIGHT;
    out->is_orphan = p->soundness.is_orphan;
    if (is_spared) {
        out->what = KV_MENDED_LEFT;
        return QUIRE_OK;
    }
    if (is_useless) {
        out->what = KV_MENDED_REMOVED;
        return kv_remove_excluded(store, id, err);
    }
    if (p->soundness.is_about_bad) {
        char path[KV_PATH_SIZE];
        kv_path(path, p->folder, "about");
        sys.unlink(path);
    }
    kv_manifest_seal(&next);
    status = kv_file_replace(p->folder, "manifest", &next, sizeof next, NULL, err);
    if (status != QUIRE_OK)
        return status;
    kv_side_remove_leftovers(p->folder, &next);
    out->what = KV_MENDED_PUT_BACK;
    out->n_after = next.frontier;
    out->has_flight = next.flags & KV_HAS_FLIGHT;
    return QUIRE_OK;
}

quire_status kv_mend(struct kv_mending *out, const struct kv_store *store, uint64_t id,
                     const struct kv_mend_options *options, const struct kv_watch *watch, quire_error *err)
{
    struct patient patient = {0};
    struct kv_exclusive exclusive;
    struct kv_mending mending = {0};
    quire_error why = {0};
    kv_store_book_folder(patient.folder, store, id);
    quire_status status = kv_use_exclude(&exclusive, patient.folder, options->own_share, &patient.is_gone, &why);
    if (patient.is_gone) {
        *out = mending;
        return QUIRE_OK;
    }
    if (status == QUIRE_ERR_BUSY)
        return quire_fail(err, status, "KV book %016" PRIx64 " is in use: it is left as it is", id);
    if (status != QUIRE_OK)
        return quire_fail(err, status, "%s", why.message);
    status = examine(&patient, store, id, options, watch, err);
    if (patient.has_new_tokens) {
        mending.what = KV_MENDED_TOKENS;
        mending.n_before = mending.n_after = patient.manifest.frontier;
    }
    if (status == QUIRE_OK && !patient.is_gone && !is_sound(&patient))
        status = treat(&mending, &patient, store, id, options, err);
    kv_use_end(&exclusive, patient.folder);
    if (status == QUIRE_OK)
        *out = mending;
    return status;
}

void kv_mending_text(char *text, size_t size, const struct kv_mending *m)
{
    text[0] = '\0';
    if (m->what == KV_MENDED_REMOVED)
        snprintf(text, size, "removed: %s",
                 m->is_orphan ? "the book that it begins with is gone" : "nothing of it was sound");
    else if (m->what == KV_MENDED_TOKENS)
        snprintf(text, size, "its tokens were written anew from one of its branches");
    else if (m->what == KV_MENDED_PUT_BACK && m->n_after < m->n_before)
        snprintf(text, size, "put back from %" PRIu64 " to its first %" PRIu64 " tokens", m->n_before, m->n_after);
    else if (m->what == KV_MENDED_PUT_BACK && m->had_flight && !m->has_flight)
        snprintf(text, size, "put back to its %" PRIu64 " tokens, without the span that was in flight", m->n_after);
    else if (m->what == KV_MENDED_PUT_BACK)
        snprintf(text, size, "its %" PRIu64 " tokens are kept, without what was damaged beside them", m->n_after);
}

/* The book's own share of one of those that it reads, or -1. */
static int own_share(const struct kv_book *book, uint64_t id)
{
    for (size_t i = 0; i < book->parents.n; i++)
        if (book->parents.parts[i].book_id == id)
            return book->parents.parts[i].use_fd;
    return book->is_read_only && book->manifest.id == id ? book->own.use_fd : -1;
}

void kv_book_mend_damaged(struct kv_book *book, quire_error *done)
{
    struct kv_store *store = book->store;
    char text[128], all[sizeof done->message] = "";
    size_t n_left = 0;
    for (size_t i = 0; i < store->n_narrowed; i++) {
        const struct kv_narrowed *narrowed = &store->narrowed[i];
        /* Branches have lost what a damaged block was, whatever the manifest says; what was damaged beside the blocks
         * is nothing to them. */
        struct kv_mend_options options = {.own_share = own_share(book, narrowed->id),
                                          .n_sound = narrowed->n_sound,
                                          .generation = narrowed->generation,
                                          .spares_branches = narrowed->n_sound == UINT64_MAX};
        struct kv_mending mending;
        if (kv_mend(&mending, store, narrowed->id, &options, NULL, NULL) != QUIRE_OK) {
            store->narrowed[n_left++] = *narrowed;
            continue;
        }
        kv_mending_text(text, sizeof text, &mending);
        size_t n = strlen(all);
        if (text[0])
            snprintf(all + n, sizeof all - n, "%sKV book %016" PRIx64 " was damaged: %s", n > 0 ? "; " : "",
                     narrowed->id, text);
    }
    store->n_narrowed = n_left;
    if (all[0])
        quire_fail(done, QUIRE_ERR_FORMAT, "%s", all);
}
