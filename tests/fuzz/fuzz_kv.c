#include "fuzz_kv.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kv/kv_test.h"

enum { MAX_FILES = 8 };

static struct {
    char store[KV_PATH_SIZE], folder[KV_PATH_SIZE]; /* the book's */
    struct kv_geometry geometry;
    struct kv_manifest manifest;
    int32_t *text;
    struct {
        char name[32];
        void *data;
        size_t size;
    } files[MAX_FILES]; /* those that are written anew */
    size_t n_files;
} base;

static void keep_file(void *context, const char *name)
{
    char path[KV_PATH_SIZE];
    (void)context;
    if (strncmp(name, "layer", 5) == 0 || strncmp(name, "summary", 7) == 0 || strcmp(name, "lock") == 0)
        return;
    kv_path(path, base.folder, "%s", name);
    FILE *file = fopen(path, "rbe");
    void *data = malloc(1 << 20);
    if (!file || !data || base.n_files == MAX_FILES)
        exit(1);
    snprintf(base.files[base.n_files].name, sizeof base.files[0].name, "%.31s", name);
    base.files[base.n_files].size = fread(data, 1, 1 << 20, file);
    base.files[base.n_files++].data = data;
    if (strcmp(name, "manifest") == 0)
        memcpy(&base.manifest, data, sizeof base.manifest);
    fclose(file);
}

static void make_book(void)
{
    struct kv_book *book;
    float logits[KV_TEST_LOGITS], residual[FUZZ_RESIDUAL] = {1};
    struct kv_flight flight = {
        .span_first = FUZZ_FRONTIER, .span_end = FUZZ_END, .layer = 1, .next_token = 280, .kv_token = 280};
    quire_error err = {0};
    snprintf(base.store, sizeof base.store, "%s/store", fuzz_folder());
    base.geometry = (struct kv_geometry){.n_layers = 2, .n_heads = 2, .head_dim = 4, .type = QUIRE_KV_BF16};
    base.text = kv_test_text(FUZZ_END, 71);
    struct kv_store *store = kv_test_store(base.store, &base.geometry);
    REQUIRE_OK(kv_book_open(&book, store, base.text, FUZZ_END, false, &err));
    REQUIRE_OK(kv_test_put(book, &base.geometry, base.text, 0, FUZZ_FRONTIER, &err));
    kv_test_logits(logits, base.text, FUZZ_FRONTIER);
    REQUIRE_OK(kv_book_commit(book, base.text, FUZZ_FRONTIER, logits, KV_TEST_LOGITS, &err));
    REQUIRE_OK(kv_test_put_layer(book, &base.geometry, 0, base.text, FUZZ_FRONTIER, FUZZ_END - FUZZ_FRONTIER, &err));
    REQUIRE_OK(kv_test_put_layer(book, &base.geometry, 1, base.text, FUZZ_FRONTIER, 280 - FUZZ_FRONTIER, &err));
    REQUIRE_OK(kv_book_save_flight(book, base.text, FUZZ_END, &flight, residual, sizeof residual, &err));
    kv_book_close(book);
    kv_store_close(store);
    kv_test_only_book(base.folder, base.store);
    REQUIRE_OK(kv_folder_list(base.folder, keep_file, NULL, &err));
}

const struct kv_manifest *fuzz_kv_manifest(void)
{
    if (!base.text)
        make_book();
    return &base.manifest;
}

const struct kv_geometry *fuzz_kv_geometry(void)
{
    return &base.geometry;
}

const int32_t *fuzz_kv_text(void)
{
    return base.text;
}

void fuzz_kv_path(char path[KV_PATH_SIZE], const char *name)
{
    kv_path(path, base.folder, "%s", name);
}

void fuzz_kv_put_file(const char *name, const void *data, size_t size)
{
    char path[KV_PATH_SIZE];
    fuzz_kv_path(path, name);
    fuzz_write(path, data, size);
}

void fuzz_kv_put_manifest(struct kv_manifest *manifest)
{
    manifest->id = base.manifest.id;
    kv_manifest_seal(manifest);
    fuzz_kv_put_file("manifest", manifest, sizeof *manifest);
}

/* Reads a byte of every page, so that a mapping that reaches too far is found out. */
static unsigned touch(const void *data, size_t n_bytes)
{
    const volatile unsigned char *bytes = data;
    unsigned sum = 0;
    for (size_t i = 0; i < n_bytes; i += 64)
        sum += bytes[i];
    return sum + bytes[n_bytes - 1];
}

static void use_book(struct kv_book *book)
{
    struct kv_flight flight;
    bool has_flight;
    float logits[KV_TEST_LOGITS];
    kv_book_logits(book, logits, KV_TEST_LOGITS);
    if (kv_book_flight(book, &flight, &has_flight) == QUIRE_OK && has_flight) {
        size_t n = size_min(flight.span_end - flight.span_first, 1 << 16); /* as an engine of width 1 */
        float *residual = malloc(n * sizeof(float) + 1);
        if (residual)
            kv_book_load_residual(book, residual, n * sizeof(float), NULL);
        free(residual);
    }
    bool is_sound = true;
    for (uint32_t i = 0; i < base.geometry.n_layers; i++)
        for (uint32_t h = 0; h < base.geometry.n_heads; h++)
            is_sound = kv_book_check(book, i, h, NULL) == QUIRE_OK && is_sound;
    kv_book_verify(book, NULL);
    if (!is_sound) {
        kv_book_condemn(book);
        return;
    }
    for (uint32_t i = 0; i < base.geometry.n_layers; i++)
        for (uint32_t h = 0; h < base.geometry.n_heads; h++)
            for (size_t token = 0; token < book->layers[i].n_tokens; token += KV_BLOCK_TOKENS) {
                struct kv_block block = kv_book_block(book, i, h, token / KV_BLOCK_TOKENS);
                touch(block.k, kv_block_bytes(&base.geometry) / 2);
                touch(block.v, kv_block_bytes(&base.geometry) / 2);
            }
}

void fuzz_kv_use(const int32_t *ids, size_t n)
{
    struct kv_store_options opts = {
        .path = base.store, .spill_path = "/tmp", .geometry = base.geometry, .identity = KV_TEST_IDENTITY};
    struct kv_store *store;
    struct kv_book *book, *branch;
    if (kv_store_open(&store, &opts, NULL) == QUIRE_OK) {
        /* Where damage is found, the store is asked again, as an engine does. */
        for (int turn = 0; turn < 2; turn++)
            if (kv_book_open(&book, store, ids, n, false, NULL) == QUIRE_OK) {
                use_book(book);
                if (kv_book_branch(&branch, book, 1, NULL) == QUIRE_OK)
                    kv_book_close(branch);
                kv_book_close(book);
            }
        kv_store_close(store);
    }
    for (size_t i = 0; i < base.n_files; i++)
        fuzz_kv_put_file(base.files[i].name, base.files[i].data, base.files[i].size);
}
