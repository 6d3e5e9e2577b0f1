#include "kv/kv_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "kv/kv_side.h"

static const char store_file_format[] = "quire kv store\nformat %u\n";

void kv_store_book_folder(char path[KV_PATH_SIZE], const struct kv_store *store, uint64_t id)
{
    kv_path(path, store->books_path, "%016" PRIx64, id);
}

uint64_t kv_store_book_id(const char *name)
{
    if (strlen(name) != 16 || strspn(name, "0123456789abcdef") != 16)
        return 0;
    return strtoull(name, NULL, 16);
}

quire_status kv_store_any_manifest(struct kv_manifest *out, const struct kv_store *store, uint64_t id, bool *is_missing,
                                   quire_error *err)
{
    char folder[KV_PATH_SIZE], path[KV_PATH_SIZE];
    struct kv_manifest manifest = {0};
    uint64_t n_bytes;
    int fd = -1;
    kv_store_book_folder(folder, store, id);
    kv_path(path, folder, "manifest");
    quire_status status = kv_file_open(&fd, path, O_RDONLY, is_missing, err);
    if (status == QUIRE_OK)
        status = kv_file_size(fd, &n_bytes, path, err);
    if (status == QUIRE_OK)
        status = sys_read_all(fd, &manifest, size_min(n_bytes, sizeof manifest), 0, path, err);
    kv_file_close(&fd);
    if (status == QUIRE_OK)
        status = kv_manifest_check(&manifest, n_bytes, path, err);
    if (status == QUIRE_OK && manifest.id != id)
        status =
            quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is that of book %016" PRIx64 ": the folder was renamed or mixed up",
                       path, manifest.id);
    if (status == QUIRE_OK)
        *out = manifest;
    return status;
}

quire_status kv_store_manifest(struct kv_manifest *out, const struct kv_store *store, uint64_t id, bool *is_other,
                               quire_error *err)
{
    struct kv_manifest manifest;
    quire_status status = kv_store_any_manifest(&manifest, store, id, is_other, err);
    if (status != QUIRE_OK)
        return status;
    *is_other = !kv_manifest_matches(&manifest, &store->geometry, store->identity);
    if (*is_other)
        return quire_fail(err, QUIRE_ERR_MISMATCH, "KV book %016" PRIx64 " is of another model or KV type: '%s'", id,
                          manifest.identity);
    *out = manifest;
    return QUIRE_OK;
}

static quire_status lock_store(int *fd, const struct kv_store *store, quire_error *err)
{
    char path[KV_PATH_SIZE];
    kv_path(path, store->path, "lock");
    return kv_file_lock(fd, path, true, NULL, err);
}

quire_status kv_store_make_book(uint64_t *id, int *lock_fd, struct kv_store *store, quire_error *err)
{
    char folder[KV_PATH_SIZE], lock_path[KV_PATH_SIZE];
    int store_lock = -1;
    uint64_t random = 0;
    /* Under the store's lock: a sweep takes a book's folder without manifest and without lock for a leftover. */
    quire_status status = lock_store(&store_lock, store, err);
    if (status != QUIRE_OK)
        return status;
    if (*id != 0) {
        random = *id;
    } else if (getrandom(&random, sizeof random, 0) != sizeof random || random == 0) {
        status = quire_fail(err, QUIRE_ERR_IO, "cannot name a new book: the system gives no random number");
        goto out;
    }
    kv_store_book_folder(folder, store, random);
    if (sys.mkdir(folder, 0700) != 0) {
        quire_status reason = errno == ENOSPC || errno == EDQUOT ? QUIRE_ERR_NO_SPACE : QUIRE_ERR_IO;
        if (errno == EEXIST && *id != 0)
            status = quire_fail(err, QUIRE_ERR_BUSY, "the store has a book %016" PRIx64 " already", *id);
        else
            status = quire_fail(err, reason, "cannot make folder '%s': %s", folder, strerror(errno));
        goto out;
    }
    kv_path(lock_path, folder, "lock");
    status = kv_file_lock(lock_fd, lock_path, false, NULL, err);
    if (status == QUIRE_OK)
        status = sys_sync_folder(store->books_path, err);
    if (status == QUIRE_OK) {
        *id = random;
    } else {
        kv_folder_remove(folder);
        kv_file_close(lock_fd);
    }
out:
    kv_file_close(&store_lock);
    return status;
}

void kv_store_set_notice(struct kv_store *store, uint64_t id, const quire_error *why)
{
    quire_error_clear(&store->notice);
    quire_fail(&store->notice, why->status, "KV book %016" PRIx64 " is not reused where it could be: %.900s", id,
               why->message);
}

quire_status kv_store_narrow(struct kv_store *store, uint64_t id, uint64_t n_sound, const quire_error *why)
{
    size_t i = 0;
    while (i < store->n_narrowed && store->narrowed[i].id != id)
        i++;
    if (i < store->n_narrowed && store->narrowed[i].n_sound <= n_sound)
        return QUIRE_OK;
    quire_status status =
        mem_reserve(&store->narrowed, &store->narrowed_capacity, i + 1, sizeof *store->narrowed, "damaged books", NULL);
    if (status == QUIRE_OK) {
        struct kv_manifest manifest = {0};
        kv_store_any_manifest(&manifest, store, id, NULL, NULL);
        store->narrowed[i] = (struct kv_narrowed){id, n_sound, manifest.generation, *why};
        store->n_narrowed = size_max(store->n_narrowed, i + 1);
    }
    return status;
}

const struct kv_narrowed *kv_store_narrowed(const struct kv_store *store, uint64_t id)
{
    for (size_t i = 0; i < store->n_narrowed; i++)
        if (store->narrowed[i].id == id)
            return &store->narrowed[i];
    return NULL;
}

void kv_store_describe(struct kv_store *store, const struct kv_about *about)
{
    store->about = *about;
}

const char *kv_store_notice(const struct kv_store *store)
{
    return store->notice.status == QUIRE_OK ? NULL : store->notice.message;
}

/* Takes away what a writer that was killed left behind: its whole book where that has no manifest yet, else the files
 * that the manifest does not name. Both are looked for without the book's lock and decided under it: holding the lock
 * of a sound book even for a moment would make a writer that comes by take it for busy. */
static void sweep_book(void *context, const char *name)
{
    const struct kv_store *store = context;
    char folder[KV_PATH_SIZE], path[KV_PATH_SIZE];
    struct kv_manifest manifest;
    bool is_unborn = false;
    int lock = -1;
    uint64_t id = kv_store_book_id(name);
    kv_path(folder, store->books_path, "%s", name);
    if (kv_file_is_temporary(name)) /* killed between two calls */
        sys.unlink(folder);
    if (id == 0)
        return;
    quire_status status = kv_store_any_manifest(&manifest, store, id, &is_unborn, NULL);
    if (status == QUIRE_OK ? !kv_side_has_leftovers(folder, &manifest) : !is_unborn)
        return;
    kv_path(path, folder, "lock");
    if (kv_file_lock(&lock, path, false, NULL, NULL) != QUIRE_OK)
        return;
    status = kv_store_any_manifest(&manifest, store, id, &is_unborn, NULL);
    if (status == QUIRE_OK)
        kv_side_remove_leftovers(folder, &manifest);
    else if (is_unborn)
        kv_folder_remove(folder);
    kv_file_close(&lock);
}

/* Under the store's lock: without it a book that is just being made looks like a leftover. */
static void sweep(const struct kv_store *store)
{
    kv_folder_list(store->books_path, sweep_book, (void *)(uintptr_t)store, NULL);
}

void kv_store_sweep(const struct kv_store *store)
{
    int lock = -1;
    if (lock_store(&lock, store, NULL) == QUIRE_OK)
        sweep(store);
    kv_file_close(&lock);
}

static quire_status check_store_file(const struct kv_store *store, quire_error *err)
{
    char path[KV_PATH_SIZE], *text = NULL;
    size_t n_bytes;
    unsigned version = 0;
    kv_path(path, store->path, "store");
    quire_status status = sys_read_file(&text, &n_bytes, path, 4096, err);
    if (status != QUIRE_OK)
        return status;
    if (sscanf(text, store_file_format, &version) != 1)
        status = quire_fail(err, QUIRE_ERR_FORMAT,
                            "'%s' is not that of a KV store: choose another folder for the store", path);
    else if (version != KV_FORMAT_VERSION)
        status =
            quire_fail(err, QUIRE_ERR_MISMATCH,
                       "KV store '%s' has format version %u, this build reads version %d: use the Quire that made it, "
                       "name another folder with --store, or remove this one",
                       store->path, version, KV_FORMAT_VERSION);
    free(text);
    return status;
}

static void look_for_other_files(void *context, const char *name)
{
    static const char *const own[] = {"books", "lock", "store", "store" KV_TEMPORARY_SUFFIX};
    bool is_own = false;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        is_own |= strcmp(name, own[i]) == 0;
    *(bool *)context |= !is_own;
}

/* A folder that somebody has for something else does not become a store by a slip of the hand. One that is just being
 * made by another process, or was when that was killed, is fine. */
static quire_status check_is_free(const struct kv_store *store, quire_error *err)
{
    bool is_found = false;
    kv_folder_list(store->path, look_for_other_files, &is_found, NULL);
    if (!is_found)
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_FORMAT,
                      "'%s' is no KV store and has other files in it: name a new or an empty folder for the store",
                      store->path);
}

/* Makes the folders where missing, and takes away what interrupted runs left. A store that may only be read is fine as
 * long as it is complete. */
static quire_status prepare_folders(struct kv_store *store, quire_error *err)
{
    char store_file[KV_PATH_SIZE], text[64];
    int lock = -1;
    bool is_there;
    quire_error lock_error = {0};
    kv_path(store_file, store->path, "store");
    bool is_folder_there = sys_is_folder(store->path);
    quire_status status = !is_folder_there || sys_exists(store_file) ? QUIRE_OK : check_is_free(store, err);
    if (status == QUIRE_OK)
        status = sys_make_folders(store->books_path, err);
    if (status != QUIRE_OK)
        return status;
    quire_status lock_status = lock_store(&lock, store, &lock_error);
    is_there = sys_exists(store_file);
    if (!is_there && lock_status != QUIRE_OK) {
        status = quire_fail(err, lock_error.status, "%s", lock_error.message);
    } else if (!is_there) {
        int n = snprintf(text, sizeof text, store_file_format, KV_FORMAT_VERSION);
        status = kv_file_replace(store->path, "store", text, (size_t)n, NULL, err);
    } else {
        status = check_store_file(store, err);
    }
    if (status == QUIRE_OK && lock >= 0)
        sweep(store);
    kv_file_close(&lock);
    return status;
}

static quire_status check_path(const char *path, quire_error *err)
{
    if (*path == '\0' || strlen(path) > KV_FOLDER_MAX - sizeof "/books")
        return quire_fail(err, QUIRE_ERR_USAGE, "the KV store's folder must have 1 to %zu bytes, found %zu",
                          KV_FOLDER_MAX - sizeof "/books", strlen(path));
    return QUIRE_OK;
}

static quire_status check_options(const struct kv_store_options *opts, const char *spill, quire_error *err)
{
    const char *identity = opts->identity;
    if (!identity || strlen(identity) >= KV_IDENTITY_SIZE)
        return quire_fail(err, QUIRE_ERR_USAGE, "the identity of a KV store's books must have at most %d bytes",
                          KV_IDENTITY_SIZE - 1);
    for (const char *p = identity; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            return quire_fail(err, QUIRE_ERR_USAGE, "the identity of a KV store's books has an unprintable byte 0x%02x",
                              (unsigned char)*p);
    if (opts->path && check_path(opts->path, err) != QUIRE_OK)
        return QUIRE_ERR_USAGE;
    if (strlen(spill) > KV_FOLDER_MAX)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "the folder for temporary files has a name of %zu bytes, at most %d work", strlen(spill),
                          KV_FOLDER_MAX);
    return kv_geometry_check(&opts->geometry, err);
}

static quire_status set_paths(struct kv_store *store, const char *path, quire_error *err)
{
    char books[KV_PATH_SIZE];
    kv_path(books, path, "books");
    store->path = mem_strdup(path, err);
    store->books_path = mem_strdup(books, err);
    return store->path && store->books_path ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

quire_status kv_store_open_folder(struct kv_store **out, const char *path, quire_error *err)
{
    quire_status status = check_path(path, err);
    if (status != QUIRE_OK)
        return status;
    struct kv_store *store = mem_calloc(1, sizeof *store, "a KV store", err);
    if (!store)
        return QUIRE_ERR_NO_MEMORY;
    status = set_paths(store, path, err);
    if (status == QUIRE_OK)
        status = check_store_file(store, err);
    if (status != QUIRE_OK) {
        kv_store_close(store);
        return status;
    }
    *out = store;
    return QUIRE_OK;
}

struct kv_store kv_store_view(const struct kv_store *store, const struct kv_manifest *manifest)
{
    struct kv_store view = *store;
    view.geometry = kv_manifest_geometry(manifest);
    memcpy(view.identity, manifest->identity, sizeof view.identity);
    view.seed = kv_identity_hash(&view.geometry, view.identity);
    return view;
}

struct listing {
    uint64_t *ids;
    size_t n, capacity;
    quire_status status;
    quire_error *err;
};

static void list_book(void *context, const char *name)
{
    struct listing *list = context;
    uint64_t id = kv_store_book_id(name);
    if (id == 0 || list->status != QUIRE_OK)
        return;
    list->status = mem_reserve(&list->ids, &list->capacity, list->n + 1, sizeof *list->ids, "books", list->err);
    if (list->status == QUIRE_OK)
        list->ids[list->n++] = id;
}

quire_status kv_store_list(uint64_t **ids, size_t *n, const struct kv_store *store, quire_error *err)
{
    struct listing books = {.err = err};
    quire_status status = kv_folder_list(store->books_path, list_book, &books, err);
    if (status == QUIRE_OK)
        status = books.status;
    if (status != QUIRE_OK) {
        free(books.ids);
        return status;
    }
    *ids = books.ids;
    *n = books.n;
    return QUIRE_OK;
}

quire_status kv_store_open(struct kv_store **out, const struct kv_store_options *opts, quire_error *err)
{
    const char *spill = opts->spill_path ? opts->spill_path : getenv("TMPDIR");
    if (!spill || *spill == '\0')
        spill = "/var/tmp";
    quire_status status = check_options(opts, spill, err);
    if (status != QUIRE_OK)
        return status;
    struct kv_store *store = mem_calloc(1, sizeof *store, "a KV store", err);
    if (!store)
        return QUIRE_ERR_NO_MEMORY;
    store->geometry = opts->geometry;
    snprintf(store->identity, sizeof store->identity, "%s", opts->identity);
    store->seed = kv_identity_hash(&store->geometry, store->identity);
    if (opts->path) {
        status = set_paths(store, opts->path, err);
        if (status == QUIRE_OK)
            status = prepare_folders(store, err);
    }
    if (status == QUIRE_OK) {
        /* Branches of a store that may only be read go where those without a store go. */
        bool is_in_store = store->books_path && access(store->books_path, W_OK) == 0;
        store->temporary_path = mem_strdup(is_in_store ? store->books_path : spill, err);
        if (!store->temporary_path)
            status = QUIRE_ERR_NO_MEMORY;
    }
    if (status != QUIRE_OK) {
        kv_store_close(store);
        return status;
    }
    *out = store;
    return QUIRE_OK;
}

void kv_store_close(struct kv_store *store)
{
    if (!store)
        return;
    free(store->path);
    free(store->books_path);
    free(store->temporary_path);
    free(store->narrowed);
    free(store);
}

quire_status kv_store_free_bytes(const struct kv_store *store, uint64_t *out, quire_error *err)
{
    const char *path = store->temporary_path ? store->temporary_path : store->books_path;
    struct statvfs st;
    if (sys.statvfs(path, &st) != 0)
        return quire_fail(err, QUIRE_ERR_IO, "cannot find the free space of '%s': %s", path, strerror(errno));
    *out = (uint64_t)st.f_bavail * st.f_frsize;
    return QUIRE_OK;
}
