/* What a store gives back: the same text, a longer one, one that goes another way; to one reader or to many. */
#include <sys/wait.h>
#include <unistd.h>

#include "kv/kv_book.h"
#include "kv_test.h"

/* A store, a geometry and texts: text[0] and text[1] agree in their first `common` tokens. */
struct fixture {
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry;
    struct kv_store *store;
    int32_t *text[2];
    const char *difference; /* that the next reading tells of; NULL: it says nothing */
};

static void set_up(struct fixture *f, size_t n, size_t common)
{
    *f = (struct fixture){.geometry = kv_test_geometry(QUIRE_KV_BF16)};
    kv_test_begin(f->folder);
    f->store = kv_test_store(f->folder, &f->geometry);
    f->text[0] = kv_test_text(n, 11);
    f->text[1] = kv_test_text(n, 12);
    memcpy(f->text[1], f->text[0], common * sizeof(int32_t));
}

static void tear_down(struct fixture *f)
{
    kv_store_close(f->store);
    kv_test_end(f->folder);
    free(f->text[0]);
    free(f->text[1]);
}

/* Reads text[which][0..n) and checks what it started from and what it holds. */
static void read_and_check(struct fixture *f, int which, size_t n, size_t expected_frontier)
{
    struct kv_book *book;
    size_t frontier;
    quire_error err = {0};
    REQUIRE_OK(kv_test_read(&book, f->store, &f->geometry, f->text[which], n, &frontier, &err));
    CHECK_EQ_INT(frontier, expected_frontier);
    CHECK_EQ_INT(kv_book_frontier(book), n);
    CHECK(kv_test_holds(book, &f->geometry, f->text[which], n));
    CHECK(kv_test_has_logits(book, f->text[which], n));
    CHECK_OK(kv_book_verify(book, &err));
    if (expected_frontier == n)
        CHECK_EQ_INT(kv_book_n_written(book), 0);
    const char *notice = kv_store_notice(f->store);
    CHECK((notice != NULL) == (f->difference != NULL));
    if (notice && f->difference && !strstr(notice, f->difference)) {
        fprintf(stderr, "notice: %s\nexpected: %s\n", notice, f->difference);
        CHECK(false);
    }
    kv_book_close(book);
}

static size_t n_book_files(const struct fixture *f)
{
    char books[KV_PATH_SIZE];
    kv_path(books, f->folder, "books");
    return kv_test_count_files(books);
}

static void the_same_text_is_read_once(void)
{
    static const size_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 129, 1000};
    struct fixture f;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        set_up(&f, 1000, 0);
        read_and_check(&f, 0, sizes[i], 0);
        size_t n_files = n_book_files(&f);
        read_and_check(&f, 0, sizes[i], sizes[i]);
        kv_store_close(f.store);
        f.store = kv_test_store(f.folder, &f.geometry);
        read_and_check(&f, 0, sizes[i], sizes[i]);
        CHECK_EQ_INT(n_book_files(&f), n_files);
        tear_down(&f);
    }
}

static void a_longer_text_is_gone_on_with_in_place(void)
{
    static const size_t ends[] = {1, 50, 64, 65, 300, 320, 321, 700};
    struct fixture f;
    size_t before = 0, n_files = 0;
    set_up(&f, 700, 0);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        read_and_check(&f, 0, ends[i], before);
        before = ends[i];
        if (i == 1)
            n_files = n_book_files(&f);
        else if (i > 1) /* one book all along; its tail comes and goes */
            CHECK_EQ_INT(n_book_files(&f), n_files - (ends[i] % 64 == 0));
    }
    tear_down(&f);
}

static void another_ending_branches_off(void)
{
    static const size_t commons[] = {64, 65, 127, 128, 300, 499};
    struct fixture f;
    for (size_t i = 0; i < sizeof commons / sizeof *commons; i++) {
        set_up(&f, 900, commons[i]);
        read_and_check(&f, 0, 500, 0);
        read_and_check(&f, 1, 900, commons[i] / 64 * 64);
        read_and_check(&f, 0, 500, 500);
        read_and_check(&f, 1, 900, 900);
        tear_down(&f);
    }
    set_up(&f, 500, 63); /* less than a block in common: nothing to share */
    read_and_check(&f, 0, 500, 0);
    read_and_check(&f, 1, 500, 0);
    tear_down(&f);
}

static void a_beginning_is_found_in_a_longer_book(void)
{
    struct fixture f;
    set_up(&f, 640, 0);
    read_and_check(&f, 0, 640, 0);
    read_and_check(&f, 0, 300, 256);
    read_and_check(&f, 0, 256, 192); /* its last token must be computed: that gives the logits */
    read_and_check(&f, 0, 257, 256);
    read_and_check(&f, 0, 64, 0);
    read_and_check(&f, 0, 300, 300);
    read_and_check(&f, 0, 256, 192); /* the book of 256 tokens has grown to 257 */
    tear_down(&f);
}

static void without_logits_the_last_token_is_computed_again(void)
{
    struct fixture f;
    quire_error err = {0};
    struct kv_book *book;
    set_up(&f, 300, 0);
    REQUIRE_OK(kv_book_open(&book, f.store, f.text[0], 200, false, &err));
    REQUIRE_OK(kv_test_put(book, &f.geometry, f.text[0], 0, 200, &err));
    REQUIRE_OK(kv_book_commit(book, f.text[0], 200, NULL, 0, &err));
    kv_book_close(book);
    read_and_check(&f, 0, 200, 192);
    read_and_check(&f, 0, 200, 200);
    tear_down(&f);
}

static void no_reuse_always_starts_afresh(void)
{
    struct fixture f;
    quire_error err = {0};
    struct kv_book *book;
    set_up(&f, 200, 0);
    read_and_check(&f, 0, 200, 0);
    REQUIRE_OK(kv_book_open(&book, f.store, f.text[0], 200, true, &err));
    CHECK_EQ_INT(kv_book_frontier(book), 0);
    size_t n_files = kv_test_count_files(f.folder);
    kv_book_close(book);
    CHECK(kv_test_count_files(f.folder) < n_files); /* never committed: its folder goes */
    tear_down(&f);
}

static void uncommitted_tokens_are_not_kept(void)
{
    struct fixture f;
    quire_error err = {0};
    struct kv_book *book;
    set_up(&f, 900, 130);
    read_and_check(&f, 0, 130, 0);
    REQUIRE_OK(kv_book_open(&book, f.store, f.text[0], 900, false, &err));
    CHECK_EQ_INT(kv_book_frontier(book), 130);
    CHECK_OK(kv_test_put(book, &f.geometry, f.text[0], 130, 770, &err));
    kv_book_close(book);
    read_and_check(&f, 0, 130, 130);
    read_and_check(&f, 1, 900, 130); /* over the blocks that text 0 left behind the frontier */
    tear_down(&f);
}

static void a_book_without_room_becomes_a_parent(void)
{
    struct fixture f;
    struct kv_geometry tiny = {1, 1, 2, QUIRE_KV_F16};
    set_up(&f, 70000, 0);
    f.geometry = tiny;
    kv_store_close(f.store);
    f.store = kv_test_store(f.folder, &tiny);
    read_and_check(&f, 0, 65500, 0);
    read_and_check(&f, 0, 65536, 65500);
    read_and_check(&f, 0, 65537, 65536);
    read_and_check(&f, 0, 65600, 65537);
    read_and_check(&f, 0, 70000, 65600);
    read_and_check(&f, 0, 65536, 65536);
    tear_down(&f);
}

/* Version after version of a text, each with another ending: parents of parents, up to the limit and beyond. */
static void chains_of_parents_have_an_end(void)
{
    struct fixture f;
    struct kv_geometry tiny = {1, 1, 2, QUIRE_KV_F32};
    size_t n = 64 * (KV_DEPTH_MAX + 6);
    set_up(&f, n, 0);
    f.geometry = tiny;
    kv_store_close(f.store);
    f.store = kv_test_store(f.folder, &tiny);
    for (size_t i = 1; i <= KV_DEPTH_MAX + 5; i++) {
        /* Text 0 up to block i, then another ending of a block and a half. */
        memcpy(f.text[1], f.text[0], i * 64 * sizeof(int32_t));
        for (size_t t = i * 64; t < n; t++)
            f.text[1][t] = (int32_t)(1000000 * i + t);
        size_t end = i * 64 + 90 < n ? i * 64 + 90 : n;
        size_t n_shared = i <= KV_DEPTH_MAX + 1 ? i : KV_DEPTH_MAX + 1;
        read_and_check(&f, 1, end, i == 1 ? 0 : n_shared * 64);
        memcpy(f.text[0], f.text[1], end * sizeof(int32_t)); /* the next one branches off inside this ending */
    }
    tear_down(&f);
}

/* A book of another identity or geometry is not used, and the first reading says in what it differs. */
static void other_identities_and_geometries_are_refused(void) /* KV-3 */
{
    static const char *const differences[] = {
        "n_layers 2, and this run uses 3:", "n_heads 3, and this run uses 2:", "head_dim 20, and this run uses 21:",
        "kv_type bf16, and this run uses f16:"};
    struct fixture f;
    quire_error err = {0};
    set_up(&f, 200, 0);
    read_and_check(&f, 0, 200, 0);
    struct kv_geometry geometries[] = {f.geometry, f.geometry, f.geometry, f.geometry};
    geometries[0].n_layers++;
    geometries[1].n_heads--;
    geometries[2].head_dim++;
    geometries[3].type = QUIRE_KV_F16;
    for (int i = 0; i < 4; i++) {
        kv_store_close(f.store);
        f.geometry = geometries[i];
        f.store = kv_test_store(f.folder, &f.geometry);
        f.difference = differences[i];
        read_and_check(&f, 0, 200, 0);
        f.difference = NULL;
        read_and_check(&f, 0, 200, 200);
    }
    kv_store_close(f.store);
    struct kv_store_options options = {.path = f.folder, .geometry = f.geometry, .identity = "weights 0123 path x"};
    REQUIRE_OK(kv_store_open(&f.store, &options, &err));
    f.difference = "weights none, and this run uses 0123 (and 3 more fields differ):";
    read_and_check(&f, 0, 200, 0);
    kv_store_close(f.store);
    options.identity = "weights 0123 path y";
    REQUIRE_OK(kv_store_open(&f.store, &options, &err));
    f.difference = "path x, and this run uses y:";
    read_and_check(&f, 0, 200, 0);
    tear_down(&f);
}

static void two_writers_get_a_book_each(void) /* KV-4 */
{
    struct fixture f;
    quire_error err = {0};
    struct kv_book *first, *second, *third;
    set_up(&f, 400, 0);
    struct kv_store *other_store = kv_test_store(f.folder, &f.geometry);
    REQUIRE_OK(kv_book_open(&first, f.store, f.text[0], 400, false, &err));
    REQUIRE_OK(kv_book_open(&second, other_store, f.text[0], 400, false, &err));
    CHECK_EQ_INT(kv_book_frontier(second), 0);
    REQUIRE_OK(kv_test_put(first, &f.geometry, f.text[0], 0, 150, &err));
    REQUIRE_OK(kv_book_commit(first, f.text[0], 150, NULL, 0, &err));
    /* A third comes: the first is still being written, so it serves up to its last committed whole block. */
    REQUIRE_OK(kv_book_open(&third, other_store, f.text[0], 400, false, &err));
    CHECK_EQ_INT(kv_book_frontier(third), 128);
    CHECK(kv_test_holds(third, &f.geometry, f.text[0], 128));
    REQUIRE_OK(kv_test_put(first, &f.geometry, f.text[0], 150, 250, &err));
    REQUIRE_OK(kv_test_put(second, &f.geometry, f.text[0], 0, 400, &err));
    REQUIRE_OK(kv_test_put(third, &f.geometry, f.text[0], 128, 272, &err));
    CHECK_OK(kv_book_commit(third, f.text[0], 400, NULL, 0, &err));
    CHECK_OK(kv_book_commit(second, f.text[0], 400, NULL, 0, &err));
    CHECK_OK(kv_book_commit(first, f.text[0], 400, NULL, 0, &err));
    CHECK(kv_test_holds(first, &f.geometry, f.text[0], 400));
    CHECK(kv_test_holds(second, &f.geometry, f.text[0], 400));
    CHECK(kv_test_holds(third, &f.geometry, f.text[0], 400));
    kv_book_close(first);
    kv_book_close(second);
    kv_book_close(third);
    kv_store_close(other_store);
    read_and_check(&f, 0, 400, 384);
    tear_down(&f);
}

/* A reader process: opens again and again what the writer has committed, and checks all of it. */
static int read_along(const struct fixture *f, size_t n)
{
    quire_error err = {0};
    struct kv_store *store = kv_test_store(f->folder, &f->geometry);
    size_t seen = 0;
    for (int round = 0; round < 4000 && seen + 64 < n; round++) {
        struct kv_book *book;
        if (kv_book_open(&book, store, f->text[0], n, false, &err) != QUIRE_OK)
            return 2;
        size_t frontier = kv_book_frontier(book);
        bool holds = frontier >= seen && kv_test_holds(book, &f->geometry, f->text[0], frontier) &&
                     kv_book_verify(book, &err) == QUIRE_OK && !kv_store_notice(store);
        if (!holds)
            fprintf(stderr, "at %zu after %zu: %s %s\n", frontier, seen, err.message,
                    kv_store_notice(store) ? kv_store_notice(store) : "");
        kv_book_close(book);
        if (!holds)
            return 3;
        seen = frontier;
        usleep(500);
    }
    kv_store_close(store);
    return seen + 64 < n ? 4 : 0;
}

static void processes_read_along_with_the_writer(void) /* KV-1, KV-4 */
{
    enum { READERS = 4, TOKENS = 1500 };
    struct fixture f;
    quire_error err = {0};
    struct kv_book *book;
    pid_t readers[READERS];
    set_up(&f, TOKENS, 0);
    REQUIRE_OK(kv_book_open(&book, f.store, f.text[0], TOKENS, false, &err));
    REQUIRE_OK(kv_test_put(book, &f.geometry, f.text[0], 0, 70, &err));
    REQUIRE_OK(kv_book_commit(book, f.text[0], 70, NULL, 0, &err));
    for (int i = 0; i < READERS; i++) {
        readers[i] = fork();
        if (readers[i] == 0)
            _exit(read_along(&f, TOKENS));
    }
    for (size_t at = 70, n; at < TOKENS; at += n) {
        n = TOKENS - at < 37 ? TOKENS - at : 37;
        REQUIRE_OK(kv_test_put(book, &f.geometry, f.text[0], at, n, &err));
        REQUIRE_OK(kv_book_commit(book, f.text[0], at + n, NULL, 0, &err));
        usleep(1000);
    }
    for (int i = 0; i < READERS; i++) {
        int status = -1;
        waitpid(readers[i], &status, 0);
        CHECK_EQ_INT(status, 0);
    }
    kv_book_close(book);
    tear_down(&f);
}

static void a_read_only_book_stays_as_it_is(void)
{
    struct fixture f;
    quire_error err = {0};
    struct kv_book *book, *again, *branch;
    set_up(&f, 200, 0);
    read_and_check(&f, 0, 100, 0);
    REQUIRE_OK(kv_book_open(&book, f.store, f.text[0], 100, false, &err));
    REQUIRE_OK(kv_book_open(&again, f.store, f.text[0], 100, false, &err));
    CHECK_EQ_INT(kv_book_frontier(again), 100);
    CHECK_EQ_INT(kv_test_put(book, &f.geometry, f.text[0], 100, 1, NULL), QUIRE_ERR_USAGE);
    CHECK_OK(kv_book_commit(book, f.text[0], 100, NULL, 0, &err));
    CHECK_EQ_INT(kv_book_commit(book, f.text[0], 99, NULL, 0, NULL), QUIRE_ERR_USAGE);
    REQUIRE_OK(kv_book_branch(&branch, book, 100, &err));
    CHECK_OK(kv_test_put(branch, &f.geometry, f.text[0], 100, 100, &err));
    CHECK(kv_test_holds(branch, &f.geometry, f.text[0], 200));
    kv_book_close(branch);
    kv_book_close(again);
    kv_book_close(book);
    read_and_check(&f, 0, 100, 100);
    tear_down(&f);
}

static void a_store_knows_its_version(void)
{
    struct fixture f;
    quire_error err = {0};
    char path[KV_PATH_SIZE];
    struct kv_store *store = NULL;
    set_up(&f, 10, 0);
    struct kv_store_options options = {.path = f.folder, .geometry = f.geometry, .identity = "x"};
    kv_path(path, f.folder, "store");
    FILE *file = fopen(path, "w");
    fputs("quire kv store\nformat 3\n", file);
    fclose(file);
    CHECK_EQ_INT(kv_store_open(&store, &options, &err), QUIRE_ERR_MISMATCH);
    CHECK_MESSAGE(err, "has format version 3, this build reads version 2");
    quire_error_clear(&err);
    file = fopen(path, "w");
    fputs("a shopping list", file);
    fclose(file);
    CHECK_EQ_INT(kv_store_open(&store, &options, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "is not that of a KV store");
    tear_down(&f);
}

static const struct test tests[] = {
    {"the_same_text_is_read_once", the_same_text_is_read_once},
    {"a_longer_text_is_gone_on_with_in_place", a_longer_text_is_gone_on_with_in_place},
    {"another_ending_branches_off", another_ending_branches_off},
    {"a_beginning_is_found_in_a_longer_book", a_beginning_is_found_in_a_longer_book},
    {"without_logits_the_last_token_is_computed_again", without_logits_the_last_token_is_computed_again},
    {"no_reuse_always_starts_afresh", no_reuse_always_starts_afresh},
    {"uncommitted_tokens_are_not_kept", uncommitted_tokens_are_not_kept},
    {"a_book_without_room_becomes_a_parent", a_book_without_room_becomes_a_parent},
    {"chains_of_parents_have_an_end", chains_of_parents_have_an_end},
    {"other_identities_and_geometries_are_refused", other_identities_and_geometries_are_refused},
    {"two_writers_get_a_book_each", two_writers_get_a_book_each},
    {"processes_read_along_with_the_writer", processes_read_along_with_the_writer},
    {"a_read_only_book_stays_as_it_is", a_read_only_book_stays_as_it_is},
    {"a_store_knows_its_version", a_store_knows_its_version},
};
TEST_MAIN(tests)
