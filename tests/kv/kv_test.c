#include "kv_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/kv_rows.h"
#include "base/mem.h"
#include "kv/kv_convert.h"

void kv_test_begin(char folder[KV_PATH_SIZE])
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, KV_PATH_SIZE, "%s/quire-kv-test-XXXXXX", parent);
    if (!mkdtemp(folder)) {
        fprintf(stderr, "cannot make %s: %s\n", folder, strerror(errno));
        exit(1);
    }
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

void kv_test_end(const char *folder)
{
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

struct kv_geometry kv_test_geometry(quire_kv_type type)
{
    return (struct kv_geometry){.n_layers = 2, .n_heads = 3, .head_dim = 20, .type = type};
}

struct kv_store *kv_test_store(const char *folder, const struct kv_geometry *geometry)
{
    struct kv_store_options options = {
        .path = folder, .spill_path = "/tmp", .geometry = *geometry, .identity = KV_TEST_IDENTITY};
    struct kv_store *store = NULL;
    quire_error err = {0};
    REQUIRE_OK(kv_store_open(&store, &options, &err));
    return store;
}

int32_t *kv_test_text(size_t n, uint64_t seed)
{
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    for (size_t i = 0; ids && i < n; i++)
        ids[i] = (int32_t)(test_random(&seed) % 50000);
    return ids;
}

float kv_test_value(int32_t id, size_t token, uint32_t layer, uint32_t head, uint32_t channel, bool is_value)
{
    uint64_t mix = (uint64_t)(uint32_t)id * 0x9E3779B97F4A7C15u + token * 0xC2B2AE3D27D4EB4Fu +
                   layer * 0x165667B19E3779F9u + head * 0x27D4EB2F165667C5u + channel * 0x85EBCA77C2B2AE63u + is_value;
    return 4 * test_random_float(&mix);
}

quire_status kv_test_put_layer(struct kv_book *book, const struct kv_geometry *geometry, uint32_t layer,
                               const int32_t *ids, size_t first, size_t n, quire_error *err)
{
    size_t stride = geometry->n_heads * geometry->head_dim + 5; /* rows need not touch */
    float *k = calloc(n * stride + 1, sizeof *k), *v = calloc(n * stride + 1, sizeof *v);
    for (size_t t = 0; t < n; t++)
        for (uint32_t h = 0; h < geometry->n_heads; h++)
            for (uint32_t c = 0; c < geometry->head_dim; c++) {
                size_t i = t * stride + h * geometry->head_dim + c;
                k[i] = kv_test_value(ids[first + t], first + t, layer, h, c, false);
                v[i] = kv_test_value(ids[first + t], first + t, layer, h, c, true);
            }
    quire_status status = kv_book_put(book, layer, first, n, k, v, stride, err);
    free(k);
    free(v);
    return status;
}

quire_status kv_test_put(struct kv_book *book, const struct kv_geometry *geometry, const int32_t *ids, size_t first,
                         size_t n, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < geometry->n_layers && status == QUIRE_OK; i++)
        status = kv_test_put_layer(book, geometry, i, ids, first, n, err);
    return status;
}

void kv_test_logits(float logits[KV_TEST_LOGITS], const int32_t *ids, size_t n)
{
    uint64_t state = n;
    for (size_t i = 0; i < n; i++)
        state = state * 31 + (uint64_t)ids[i];
    for (int i = 0; i < KV_TEST_LOGITS; i++)
        logits[i] = test_random_float(&state);
}

quire_status kv_test_read(struct kv_book **out, struct kv_store *store, const struct kv_geometry *geometry,
                          const int32_t *ids, size_t n, size_t *frontier, quire_error *err)
{
    struct kv_book *book;
    float logits[KV_TEST_LOGITS];
    quire_status status = kv_book_open(&book, store, ids, n, false, err);
    if (status != QUIRE_OK)
        return status;
    size_t first = kv_book_frontier(book);
    if (frontier)
        *frontier = first;
    kv_test_logits(logits, ids, n);
    if (first < n)
        status = kv_test_put(book, geometry, ids, first, n - first, err);
    if (status == QUIRE_OK && first < n)
        status = kv_book_commit(book, ids, n, logits, KV_TEST_LOGITS, err);
    if (status == QUIRE_OK)
        *out = book;
    else
        kv_book_close(book);
    return status;
}

/* What a row of values reads back as. Integers through kv_convert, which has tests of its own. */
static void round_row(float *row, const struct kv_geometry *geometry)
{
    float side[KV_BLOCK_TOKENS * 512];
    for (uint32_t c = 0; c < geometry->head_dim; c++)
        switch (geometry->type) {
        case QUIRE_KV_F32: break;
        case QUIRE_KV_F16: row[c] = f16_to_f32(f32_to_f16(row[c])); break;
        case QUIRE_KV_BF16: row[c] = bf16_to_f32(f32_to_bf16(row[c])); break;
        default:
            kv_convert_rows(side, 0, row, 1, geometry->head_dim, geometry->head_dim, geometry->type);
            kv_rows_unpack(row, side, geometry->type, geometry->head_dim, 0, 0, geometry->head_dim);
            return;
        }
}

static bool row_is(const void *side, size_t row, const struct kv_geometry *geometry, float *want)
{
    float got[512];
    kv_rows_unpack(got, side, geometry->type, geometry->head_dim, row, 0, geometry->head_dim);
    round_row(want, geometry);
    return memcmp(got, want, geometry->head_dim * sizeof *got) == 0;
}

bool kv_test_layer_holds(const struct kv_book *book, const struct kv_geometry *geometry, uint32_t layer,
                         const int32_t *ids, size_t n)
{
    for (uint32_t h = 0; h < geometry->n_heads; h++)
        for (size_t first = 0; first < n; first += KV_BLOCK_TOKENS) {
            struct kv_block block = kv_book_block(book, layer, h, first / KV_BLOCK_TOKENS);
            size_t n_rows = size_min(n - first, KV_BLOCK_TOKENS);
            if (block.n_tokens < n_rows) {
                fprintf(stderr, "layer %u, head %u, block %zu has %u rows\n", layer, h, first / KV_BLOCK_TOKENS,
                        block.n_tokens);
                return false;
            }
            for (size_t r = 0; r < n_rows; r++) {
                float k[512], v[512];
                for (uint32_t c = 0; c < geometry->head_dim; c++) {
                    k[c] = kv_test_value(ids[first + r], first + r, layer, h, c, false);
                    v[c] = kv_test_value(ids[first + r], first + r, layer, h, c, true);
                }
                if (!row_is(block.k, r, geometry, k) || !row_is(block.v, r, geometry, v)) {
                    fprintf(stderr, "layer %u, head %u, token %zu differs\n", layer, h, first + r);
                    return false;
                }
            }
        }
    return true;
}

bool kv_test_holds(const struct kv_book *book, const struct kv_geometry *geometry, const int32_t *ids, size_t n)
{
    bool holds = true;
    for (uint32_t i = 0; i < geometry->n_layers && holds; i++)
        holds = kv_test_layer_holds(book, geometry, i, ids, n);
    return holds;
}

bool kv_test_has_logits(const struct kv_book *book, const int32_t *ids, size_t n)
{
    float want[KV_TEST_LOGITS], got[KV_TEST_LOGITS] = {0};
    kv_test_logits(want, ids, n);
    return kv_book_logits(book, got, KV_TEST_LOGITS) && memcmp(got, want, sizeof got) == 0;
}

static size_t n_entries;

static int count_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)path, (void)st, (void)flag;
    n_entries += ftw->level > 0;
    return 0;
}

size_t kv_test_count_files(const char *folder)
{
    n_entries = 0;
    nftw(folder, count_entry, 16, FTW_PHYS);
    return n_entries;
}

size_t kv_test_count_fds(void)
{
    return kv_test_count_files("/proc/self/fd");
}

size_t kv_test_count_maps(const char *folder)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[KV_PATH_SIZE + 256];
    size_t n = 0;
    while (maps && fgets(line, sizeof line, maps))
        n += strstr(line, folder) != NULL;
    if (maps)
        fclose(maps);
    return n;
}

enum { NOT_ALLOWED = 77 };

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool is_done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return is_done;
}

/* Mounts of its own for this process, which has one thread. */
static bool may_mount(void)
{
    char map[64];
    uid_t user = getuid();
    gid_t group = getgid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return false;
        snprintf(map, sizeof map, "0 %u 1", (unsigned)user);
        bool is_mapped = write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "0 %u 1", (unsigned)group);
        if (!is_mapped || !write_text("/proc/self/gid_map", map))
            return false;
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

bool kv_test_with_mounts(void (*run)(void *context), void *context)
{
    char folder[KV_PATH_SIZE];
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        kv_test_begin(folder);
        bool is_allowed = may_mount() && mount("none", folder, "tmpfs", 0, "size=1m") == 0;
        if (is_allowed) {
            umount(folder);
            run(context);
        }
        kv_test_end(folder);
        fflush(stdout);
        _exit(!is_allowed ? NOT_ALLOWED : test_n_failed_checks > 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        exit(1);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED)
        return false;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return true;
}

static void note_book(void *context, const char *name)
{
    char(*names)[64] = context;
    snprintf(names[names[0][0] ? 1 : 0], 64, "%s", name);
}

void kv_test_only_book(char path[KV_PATH_SIZE], const char *folder)
{
    char books[KV_PATH_SIZE], names[2][64] = {{0}};
    kv_path(books, folder, "books");
    if (kv_folder_list(books, note_book, names, NULL) != QUIRE_OK || !names[0][0] || names[1][0]) {
        fprintf(stderr, "%s does not hold one book\n", books);
        exit(1);
    }
    kv_path(path, books, "%s", names[0]);
}

void kv_test_flip_bit(const char *folder, const char *name, size_t bit)
{
    char path[KV_PATH_SIZE];
    unsigned char byte;
    size_t offset = bit / 8;
    kv_path(path, folder, "%s", name);
    int fd = open(path, O_RDWR);
    if (fd < 0 || pread(fd, &byte, 1, (off_t)offset) != 1) {
        fprintf(stderr, "cannot read byte %zu of %s\n", offset, path);
        exit(1);
    }
    byte ^= (unsigned char)(1 << bit % 8);
    if (pwrite(fd, &byte, 1, (off_t)offset) != 1)
        exit(1);
    close(fd);
}

void kv_test_flip(const char *folder, const char *name, size_t offset)
{
    kv_test_flip_bit(folder, name, 8 * offset + 4);
}

void kv_test_cut(const char *folder, const char *name, size_t n_bytes)
{
    char path[KV_PATH_SIZE];
    kv_path(path, folder, "%s", name);
    if (truncate(path, (off_t)n_bytes) != 0) {
        fprintf(stderr, "cannot cut %s: %s\n", path, strerror(errno));
        exit(1);
    }
}
