/* What is put is what is read: against a plain model, for every type, in any pieces; temporary books and branches. */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kv_test.h"

static const quire_kv_type types[] = {QUIRE_KV_F32, QUIRE_KV_F16, QUIRE_KV_BF16, QUIRE_KV_INT8, QUIRE_KV_INT4};
static const size_t sizes[] = {1, 7, 63, 64, 65, 500};

/* Puts [first, n) of every layer in pieces of random sizes, layer after layer. */
static void put_in_pieces(struct kv_book *book, const struct kv_geometry *geometry, const int32_t *ids, size_t first,
                          size_t n, uint64_t *seed)
{
    quire_error err = {0};
    for (uint32_t i = 0; i < geometry->n_layers; i++)
        for (size_t at = first, piece; at < n; at += piece) {
            piece = sizes[test_random(seed) % (sizeof sizes / sizeof *sizes)];
            piece = piece < n - at ? piece : n - at;
            CHECK_OK(kv_test_put_layer(book, geometry, i, ids, at, piece, &err));
        }
}

static void any_pieces_and_types(void) /* KV-2 */
{
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometries[] = {{2, 3, 20, 0}, {1, 1, 1, 0}, {3, 2, 64, 0}, {1, 5, 112, 0}, {2, 1, 257, 0}};
    quire_error err = {0};
    uint64_t seed = 1;
    kv_test_begin(folder);
    for (size_t g = 0; g < sizeof geometries / sizeof *geometries; g++)
        for (size_t t = 0; t < QUIRE_KV_TYPE_COUNT; t++) {
            struct kv_geometry geometry = geometries[g];
            geometry.type = types[t];
            size_t n = 1 + test_random(&seed) % 1500;
            int32_t *ids = kv_test_text(n, seed);
            struct kv_store *store = kv_test_store(folder, &geometry);
            struct kv_book *book;
            REQUIRE_OK(kv_book_open(&book, store, ids, n, false, &err));
            CHECK_EQ_INT(kv_book_frontier(book), 0);
            put_in_pieces(book, &geometry, ids, 0, n, &seed);
            CHECK(kv_test_holds(book, &geometry, ids, n));
            CHECK_OK(kv_book_commit(book, ids, n, NULL, 0, &err));
            CHECK(kv_test_holds(book, &geometry, ids, n));
            CHECK_OK(kv_book_verify(book, &err));
            CHECK_EQ_INT(kv_book_frontier(book), n);
            uint64_t whole = n / 64 * 64;
            CHECK(kv_book_n_written(book) >= kv_disk_bytes(&geometry, whole) - sizeof(struct kv_manifest));
            CHECK(kv_book_n_written(book) <= kv_disk_bytes(&geometry, n) + sizeof(struct kv_manifest));
            kv_book_close(book);
            kv_store_close(store);
            free(ids);
        }
    kv_test_end(folder);
}

static void order_and_room_are_checked(void)
{
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry = kv_test_geometry(QUIRE_KV_BF16);
    int32_t *ids = kv_test_text(70000, 3);
    quire_error err = {0};
    struct kv_book *book, *branch;
    float zeros[60] = {0};
    kv_test_begin(folder);
    struct kv_store *store = kv_test_store(folder, &geometry);
    REQUIRE_OK(kv_book_open(&book, store, ids, 100, false, &err));
    REQUIRE_OK(kv_test_put(book, &geometry, ids, 0, 100, &err));
    CHECK_EQ_INT(kv_book_put(book, 0, 99, 1, zeros, zeros, 60, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "layer 0 goes on at token 100");
    quire_error_clear(&err);
    CHECK_EQ_INT(kv_book_put(book, 0, 101, 1, zeros, zeros, 60, NULL), QUIRE_ERR_USAGE);
    CHECK_EQ_INT(kv_book_put(book, 2, 100, 1, zeros, zeros, 60, NULL), QUIRE_ERR_USAGE);
    CHECK_EQ_INT(kv_book_put(book, 0, 100, 1, zeros, zeros, 59, NULL), QUIRE_ERR_USAGE);
    CHECK_EQ_INT(kv_test_put(book, &geometry, ids, 100, 65437, NULL), QUIRE_ERR_USAGE); /* room for 65536 */
    CHECK_EQ_INT(kv_book_commit(book, ids, 101, NULL, 0, NULL), QUIRE_ERR_USAGE);
    CHECK_EQ_INT(kv_book_commit(book, ids, 0, NULL, 0, NULL), QUIRE_ERR_USAGE);
    CHECK_OK(kv_book_commit(book, ids, 100, NULL, 0, &err));
    CHECK_EQ_INT(kv_book_commit(book, ids + 1, 100, NULL, 0, NULL), QUIRE_ERR_USAGE); /* other ids */
    CHECK_EQ_INT(kv_book_commit(book, ids, 99, NULL, 0, NULL), QUIRE_ERR_USAGE);
    REQUIRE_OK(kv_book_branch(&branch, book, 30, &err));
    CHECK_EQ_INT(kv_test_put(branch, &geometry, ids, 100, 5000, NULL), QUIRE_ERR_USAGE); /* room for 64 blocks */
    CHECK_OK(kv_test_put(branch, &geometry, ids, 100, 28, &err));
    kv_book_close(branch);
    CHECK_EQ_INT(kv_book_open(&branch, store, ids, 0, false, NULL), QUIRE_ERR_USAGE);
    kv_book_close(book);
    kv_store_close(store);
    kv_test_end(folder);
    free(ids);
}

static void options_are_checked(void)
{
    struct kv_store_options good = {.geometry = kv_test_geometry(QUIRE_KV_F16), .identity = "x"}, bad;
    struct kv_store *store;
    char long_text[5000];
    quire_error err = {0};
    memset(long_text, 'a', sizeof long_text);
    long_text[sizeof long_text - 1] = '\0';
#define CHECK_REFUSED(field, value, text)                                                                              \
    do {                                                                                                               \
        bad = good;                                                                                                    \
        bad.field = (value);                                                                                           \
        quire_error_clear(&err);                                                                                       \
        CHECK_EQ_INT(kv_store_open(&store, &bad, &err), QUIRE_ERR_USAGE);                                              \
        CHECK_MESSAGE(err, text);                                                                                      \
    } while (0)
    CHECK_REFUSED(geometry.n_layers, 0, "0 layers");
    CHECK_REFUSED(geometry.n_heads, 5000, "5000 heads");
    CHECK_REFUSED(geometry.head_dim, 0, "0 channels");
    CHECK_REFUSED(geometry.type, QUIRE_KV_TYPE_COUNT, "f32, f16, bf16, int8 or int4");
    CHECK_REFUSED(identity, NULL, "identity");
    CHECK_REFUSED(identity, long_text, "767");
    CHECK_REFUSED(identity, "a\nb", "unprintable");
    CHECK_REFUSED(path, long_text, "folder");
    CHECK_REFUSED(path, "", "folder");
#undef CHECK_REFUSED
}

static void temporary_books_leave_nothing(void) /* KV-9 */
{
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry = kv_test_geometry(QUIRE_KV_F16);
    int32_t *ids = kv_test_text(1000, 4);
    quire_error err = {0};
    struct kv_book *book;
    struct kv_store *store;
    uint64_t seed = 9, free_bytes = 0;
    bool found = true;
    struct kv_flight flight = {0};
    kv_test_begin(folder);
    struct kv_store_options options = {.spill_path = folder, .geometry = geometry, .identity = "x"};
    size_t n_fds = kv_test_count_fds();
    REQUIRE_OK(kv_store_open(&store, &options, &err));
    CHECK_OK(kv_store_free_bytes(store, &free_bytes, &err));
    CHECK(free_bytes > 0);
    REQUIRE_OK(kv_book_open(&book, store, ids, 1000, false, &err));
    CHECK_EQ_INT(kv_test_count_files(folder), 0);
    CHECK_EQ_INT(kv_test_count_maps(folder), 2);
    put_in_pieces(book, &geometry, ids, 0, 1000, &seed);
    CHECK_OK(kv_book_commit(book, ids, 1000, (float[]){1, 2}, 2, &err));
    CHECK_EQ_INT(kv_book_frontier(book), 1000);
    CHECK(kv_test_holds(book, &geometry, ids, 1000));
    float logits[2] = {0};
    CHECK(kv_book_logits(book, logits, 2) && logits[1] == 2);
    CHECK(!kv_book_logits(book, logits, 1));
    CHECK_OK(kv_book_save_flight(book, ids, 1000, &flight, NULL, 0, &err));
    CHECK_OK(kv_book_flight(book, &flight, &found));
    CHECK(!found);
    CHECK_EQ_INT(kv_test_count_files(folder), 0);
    kv_book_close(book);
    kv_store_close(store);
    CHECK_EQ_INT(kv_test_count_maps(folder), 0);
    CHECK_EQ_INT(kv_test_count_files(folder), 0);
    CHECK_EQ_INT(kv_test_count_fds(), n_fds);
    options.spill_path = "/nowhere";
    REQUIRE_OK(kv_store_open(&store, &options, &err));
    CHECK_EQ_INT(kv_book_open(&book, store, ids, 1000, false, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "/nowhere");
    kv_store_close(store);
    kv_test_end(folder);
    free(ids);
}

/* A book, branches of it, a branch of a branch: each reads its own text, and none changes another. */
static void branches_share_and_differ(void)
{
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry = kv_test_geometry(QUIRE_KV_BF16);
    quire_error err = {0};
    uint64_t seed = 5;
    static const size_t frontiers[] = {1, 63, 64, 100, 128, 321};
    kv_test_begin(folder);
    struct kv_store *store = kv_test_store(folder, &geometry);
    for (size_t f = 0; f < sizeof frontiers / sizeof *frontiers; f++) {
        size_t n = frontiers[f];
        int32_t *text = kv_test_text(n + 400, 100 + n), *other = kv_test_text(n + 400, 200 + n);
        int32_t *third = kv_test_text(n + 400, 300 + n);
        struct kv_book *book, *branch, *twig;
        memcpy(other, text, n * sizeof *text);
        memcpy(third, text, (n + 70) * sizeof *text);
        REQUIRE_OK(kv_test_read(&book, store, &geometry, text, n, NULL, &err));
        size_t n_files = kv_test_count_files(folder);
        REQUIRE_OK(kv_book_branch(&branch, book, 400, &err));
        CHECK_EQ_INT(kv_book_frontier(branch), n);
        CHECK(kv_test_holds(branch, &geometry, text, n));
        put_in_pieces(branch, &geometry, text, n, n + 70, &seed);
        CHECK_OK(kv_book_commit(branch, text, n + 70, NULL, 0, &err));
        REQUIRE_OK(kv_book_branch(&twig, branch, 330, &err));
        put_in_pieces(twig, &geometry, third, n + 70, n + 400, &seed);
        put_in_pieces(branch, &geometry, text, n + 70, n + 400, &seed);
        CHECK(kv_test_holds(twig, &geometry, third, n + 400));
        CHECK(kv_test_holds(branch, &geometry, text, n + 400));
        kv_book_close(twig);
        kv_book_close(branch);
        REQUIRE_OK(kv_book_branch(&branch, book, 400, &err));
        put_in_pieces(branch, &geometry, other, n, n + 400, &seed);
        CHECK(kv_test_holds(branch, &geometry, other, n + 400));
        CHECK(kv_test_holds(book, &geometry, text, n));
        CHECK_EQ_INT(kv_test_count_files(folder), n_files);
        kv_book_close(branch);
        kv_book_close(book);
        free(text);
        free(other);
        free(third);
    }
    kv_store_close(store);
    kv_test_end(folder);
}

/* What a branch takes back gives way to other tokens; neither whole blocks nor the book that it came from change
 * (KV-13). */
static void a_branch_takes_back_what_no_file_has(void)
{
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry = kv_test_geometry(QUIRE_KV_INT8);
    quire_error err = {0};
    kv_test_begin(folder);
    struct kv_store *store = kv_test_store(folder, &geometry);
    for (size_t n = 100; n <= 130; n += 10) {
        int32_t *text = kv_test_text(n + 200, n), *wrong = kv_test_text(n + 200, 1000 + n);
        struct kv_book *book, *branch;
        uint64_t seed = n;
        REQUIRE_OK(kv_test_read(&book, store, &geometry, text, n, NULL, &err));
        CHECK_EQ_INT(kv_book_take_back(book, n, NULL), QUIRE_ERR_USAGE); /* no branch */
        REQUIRE_OK(kv_book_branch(&branch, book, 200, &err));
        CHECK_EQ_INT(kv_book_take_back(branch, n - 1, NULL), QUIRE_ERR_USAGE); /* the book's */
        for (size_t at = n; at < n + 200; at++) {
            size_t room = KV_BLOCK_TOKENS - 1 - at % KV_BLOCK_TOKENS, n_ahead = test_random(&seed) % (room + 1);
            uint32_t n_layers = test_random(&seed) % 2 ? geometry.n_layers : 1; /* or not in all of them yet */
            for (uint32_t layer = 0; layer < n_layers && n_ahead > 0 && at + n_ahead <= n + 200; layer++)
                CHECK_OK(kv_test_put_layer(branch, &geometry, layer, wrong, at, n_ahead, &err));
            CHECK_OK(kv_book_take_back(branch, at, &err));
            CHECK_OK(kv_test_put(branch, &geometry, text, at, 1, &err));
            if ((at + 1) % KV_BLOCK_TOKENS == 0)
                CHECK_EQ_INT(kv_book_take_back(branch, at, NULL), QUIRE_ERR_USAGE); /* whole now */
        }
        CHECK(kv_test_holds(branch, &geometry, text, n + 200));
        CHECK(kv_test_holds(book, &geometry, text, n));
        kv_book_close(branch);
        kv_book_close(book);
        free(text);
        free(wrong);
    }
    kv_store_close(store);
    kv_test_end(folder);
}

/* Bytes of the process's file mappings in the folder that are resident. */
static size_t resident_bytes(const char *folder)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[KV_PATH_SIZE + 256];
    bool is_ours = false;
    size_t total = 0, kib;
    while (f && fgets(line, sizeof line, f)) {
        if (strchr(line, '-') && strchr(line, ' ') && strchr(line, '-') < strchr(line, ' '))
            is_ours = strstr(line, folder) != NULL;
        if (is_ours && sscanf(line, "Rss: %zu kB", &kib) == 1)
            total += kib * 1024;
    }
    if (f)
        fclose(f);
    return total;
}

static void released_blocks_leave_memory_and_come_back(void) /* KV-2 */
{
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry = {2, 2, 64, QUIRE_KV_F32};
    int32_t *ids = kv_test_text(2100, 6);
    quire_error err = {0};
    struct kv_book *book, *child;
    kv_test_begin(folder);
    struct kv_store *store = kv_test_store(folder, &geometry);
    REQUIRE_OK(kv_test_read(&book, store, &geometry, ids, 1100, NULL, &err));
    REQUIRE_OK(kv_book_branch(&child, book, 1000, &err));
    REQUIRE_OK(kv_test_put(child, &geometry, ids, 1100, 1000, &err));
    CHECK(kv_test_holds(child, &geometry, ids, 2100));
    size_t all = resident_bytes(folder);
    CHECK(all >= 2u * 2 * 32 * kv_block_bytes(&geometry) / 2);
    kv_book_release(child, 0, 0, 0, SIZE_MAX);
    size_t less = resident_bytes(folder);
    CHECK(less < all);
    CHECK(less > all / 2); /* of the other heads and layers nothing */
    kv_book_release(child, 1, 1, 2, 3);
    CHECK(resident_bytes(folder) < less);
    for (uint32_t i = 0; i < geometry.n_layers; i++)
        kv_book_release_layer(child, i);
    CHECK_EQ_INT(resident_bytes(folder), 0);
    for (uint32_t i = 0; i < geometry.n_layers; i++)
        kv_book_prefetch_layer(child, i);
    kv_book_release(child, 0, 0, SIZE_MAX, SIZE_MAX);
    CHECK(kv_test_holds(child, &geometry, ids, 2100));
    kv_book_close(child);
    kv_book_close(book);
    kv_store_close(store);
    kv_test_end(folder);
    free(ids);
}

struct reader {
    pthread_t thread;
    const struct kv_book *book;
    const struct kv_geometry *geometry;
    const int32_t *ids;
    size_t n;
    bool holds;
};

static void *read_layer_0(void *argument)
{
    struct reader *reader = argument;
    reader->holds = true;
    for (int round = 0; round < 20 && reader->holds; round++)
        reader->holds = kv_test_layer_holds(reader->book, reader->geometry, 0, reader->ids, reader->n);
    return NULL;
}

static void threads_read_while_another_layer_is_put(void)
{
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry = kv_test_geometry(QUIRE_KV_F16);
    int32_t *ids = kv_test_text(900, 7);
    quire_error err = {0};
    struct kv_book *book;
    struct reader readers[3];
    uint64_t seed = 8;
    kv_test_begin(folder);
    struct kv_store *store = kv_test_store(folder, &geometry);
    REQUIRE_OK(kv_book_open(&book, store, ids, 900, false, &err));
    REQUIRE_OK(kv_test_put_layer(book, &geometry, 0, ids, 0, 900, &err));
    for (int i = 0; i < 3; i++) {
        readers[i] = (struct reader){.book = book, .geometry = &geometry, .ids = ids, .n = 900};
        pthread_create(&readers[i].thread, NULL, read_layer_0, &readers[i]);
    }
    for (size_t at = 0, n; at < 900; at += n) {
        n = 1 + test_random(&seed) % 150;
        n = n < 900 - at ? n : 900 - at;
        CHECK_OK(kv_test_put_layer(book, &geometry, 1, ids, at, n, &err));
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(readers[i].thread, NULL);
        CHECK(readers[i].holds);
    }
    CHECK(kv_test_holds(book, &geometry, ids, 900));
    kv_book_close(book);
    kv_store_close(store);
    kv_test_end(folder);
    free(ids);
}

static const struct test tests[] = {
    {"any_pieces_and_types", any_pieces_and_types},
    {"order_and_room_are_checked", order_and_room_are_checked},
    {"options_are_checked", options_are_checked},
    {"temporary_books_leave_nothing", temporary_books_leave_nothing},
    {"branches_share_and_differ", branches_share_and_differ},
    {"a_branch_takes_back_what_no_file_has", a_branch_takes_back_what_no_file_has},
    {"released_blocks_leave_memory_and_come_back", released_blocks_leave_memory_and_come_back},
    {"threads_read_while_another_layer_is_put", threads_read_while_another_layer_is_put},
};
TEST_MAIN(tests)
