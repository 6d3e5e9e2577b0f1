/* The store as its owner sees it (quire/store.h): what is listed, found, removed, evicted. */
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kv/kv_remove.h"
#include "kv_owner_test.h"

static void a_list_says_what_the_books_are(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    quire_stored_book *books;
    size_t n;
    owner_set_up(&f);
    int64_t now = (int64_t)time(NULL);
    REQUIRE_OK(quire_store_list(f.owner, &books, &n, &err));
    CHECK_EQ_INT(n, 3);
    CHECK_EQ_INT(books[0].id, f.ids[2]); /* used last */
    for (size_t i = 0; i < n; i++) {
        const quire_stored_book *b = &books[i];
        bool is_branch = b->id == f.ids[1];
        CHECK_EQ_STR(quire_book_state_name(b->state), "complete");
        CHECK_EQ_INT(b->n_tokens, N);
        CHECK_EQ_INT(b->n_in_flight, 0);
        CHECK_EQ_INT(b->n_layers, f.geometry.n_layers);
        CHECK_EQ_INT(b->n_kv_heads, f.geometry.n_heads);
        CHECK_EQ_INT(b->head_dim, f.geometry.head_dim);
        CHECK_EQ_INT(b->kv_type, QUIRE_KV_BF16);
        CHECK_EQ_STR(b->identity, KV_TEST_IDENTITY);
        CHECK_EQ_INT(b->n_shared, is_branch ? BASE : 0);
        CHECK_EQ_INT(b->parent_id, is_branch ? f.ids[0] : 0);
        CHECK_EQ_INT(b->n_branches, b->id == f.ids[0] ? 1 : 0);
        CHECK_EQ_STR(b->label, b->id == f.ids[0] ? "first.txt" : is_branch ? "branch.txt" : "third.txt");
        CHECK(b->disk_bytes > 0 && b->disk_bytes < (8 << 20)); /* what is allocated, not what the sparse files seem */
        CHECK(b->created <= now && b->created > now - 100);
        CHECK(b->last_used <= now && b->last_used > now - 100);
    }
    free(books);
    owner_tear_down(&f);
}

static void texts_are_made_fit_to_print(void)
{
    static const struct {
        const char *from, *to;
    } cases[] = {{"", ""},
                 {" a\n\tb  ", "a b"},
                 {"caf\xC3\xA9 \xE2\x80\x94 \xF0\x9F\x98\x80", "caf\xC3\xA9 \xE2\x80\x94 \xF0\x9F\x98\x80"},
                 {"a\x1B[31mb\x7F", "a [31mb"},
                 {"x\xC2\x9By", "x y"},
                 {"\xFFz\xC3", "\xEF\xBF\xBDz\xEF\xBF\xBD"}};
    char field[40];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_about_set(field, sizeof field, cases[i].from, strlen(cases[i].from));
        CHECK_EQ_STR(field, cases[i].to);
    }
    for (size_t size = 4; size < 12; size++) { /* a character is there whole or not at all */
        kv_about_set(field, size, "\xE2\x80\x94\xE2\x80\x94\xE2\x80\x94", 9);
        CHECK(strlen(field) % 3 == 0 && strlen(field) < size);
    }
}

static void prefixes_name_books(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    uint64_t id = 0;
    char name[17], path[KV_PATH_SIZE];
    owner_set_up(&f);
    snprintf(name, sizeof name, "%016" PRIx64, f.ids[1]);
    for (size_t n = 4; n <= 16; n += 6) {
        char prefix[17];
        snprintf(prefix, sizeof prefix, "%.*s", (int)n, name);
        CHECK_OK(quire_store_find(f.owner, prefix, &id, &err));
        CHECK_EQ_INT(id, f.ids[1]);
    }
    static const char *const bad[] = {"", "abc", "xyzw", "../..", "01234567890123456"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQ_INT(quire_store_find(f.owner, bad[i], &id, &err), QUIRE_ERR_USAGE);
        quire_error_clear(&err);
    }
    CHECK_EQ_INT(quire_store_find(f.owner, "0000", &id, &err), QUIRE_ERR_MISMATCH);
    quire_error_clear(&err);
    /* Two that begin alike. */
    for (int i = 1; i <= 2; i++) {
        kv_path(path, f.folder, "books/0abcdef00000000%d", i);
        CHECK_EQ_INT(mkdir(path, 0700), 0);
    }
    CHECK_EQ_INT(quire_store_find(f.owner, "0abcdef", &id, &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "0abcdef000000001");
    CHECK_MESSAGE(err, "0abcdef000000002");
    quire_error_clear(&err);
    CHECK_OK(quire_store_find(f.owner, "0abcdef000000002", &id, &err));
    owner_tear_down(&f);
}

/* The text that a branch needs of its parent is in the branch, too. */
/* A span in flight with a damaged residual stream, or a damaged block, is dropped; the frontier stays. */
static void books_in_use_stay(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    struct kv_book *book;
    uint64_t n_bytes;
    size_t n;
    owner_set_up(&f);
    REQUIRE_OK(kv_book_open(&book, f.store, f.texts[1], N, false, &err)); /* reads the first one, too */
    CHECK_EQ_STR(quire_book_state_name(owner_show(&f, 0).state), "in use");
    CHECK_EQ_STR(quire_book_state_name(owner_show(&f, 1).state), "in use");
    CHECK_EQ_STR(quire_book_state_name(owner_show(&f, 2).state), "complete");
    for (int i = 0; i < 2; i++) {
        CHECK_EQ_INT(quire_store_remove(f.owner, f.ids[i], true, NULL, &err), QUIRE_ERR_BUSY);
        CHECK_MESSAGE(err, "in use");
        quire_error_clear(&err);
    }
    owner_flip(&f, 0, "layer.000", owner_block_offset(&f, 0, 1));
    CHECK_EQ_INT(owner_repair(&f, 0, &n, &err), QUIRE_ERR_BUSY);
    CHECK_EQ_INT(n, 0);
    quire_error_clear(&err);
    owner_flip(&f, 0, "layer.000", owner_block_offset(&f, 0, 1));
    CHECK_OK(owner_repair(&f, 0, &n, &err)); /* sound, though in use */
    CHECK_OK(quire_store_evict(f.owner, 0, NULL, &n_bytes, &err));
    CHECK(n_bytes > 0);
    CHECK(owner_is_there(&f, 0) && owner_is_there(&f, 1) && !owner_is_there(&f, 2));
    CHECK(kv_test_holds(book, &f.geometry, f.texts[1], N));
    kv_book_close(book);
    CHECK_OK(quire_store_remove(f.owner, f.ids[1], false, NULL, &err));
    owner_tear_down(&f);
}

/* Also for another process: one that writes. */
static void a_writers_book_stays(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    int ready[2], go_on[2], status = -1;
    char byte = 0;
    owner_set_up(&f);
    CHECK_EQ_INT(pipe(ready) | pipe(go_on), 0);
    int32_t *longer = kv_test_text(N + 100, 72);
    pid_t child = fork();
    if (child == 0) {
        struct kv_store *store = kv_test_store(f.folder, &f.geometry);
        struct kv_book *book;
        bool is_fine = kv_book_open(&book, store, longer, N + 100, false, &err) == QUIRE_OK &&
                       kv_book_frontier(book) == N && write(ready[1], &byte, 1) == 1 && read(go_on[0], &byte, 1) == 1 &&
                       kv_test_put(book, &f.geometry, longer, N, 100, &err) == QUIRE_OK &&
                       kv_book_commit(book, longer, N + 100, NULL, 0, &err) == QUIRE_OK;
        _exit(is_fine ? 0 : 1);
    }
    CHECK_EQ_INT(read(ready[0], &byte, 1), 1);
    CHECK_EQ_STR(quire_book_state_name(owner_show(&f, 2).state), "in use");
    CHECK_EQ_INT(quire_store_remove(f.owner, f.ids[2], true, NULL, &err), QUIRE_ERR_BUSY);
    CHECK_EQ_INT(owner_verify(&f, f.ids[2]), 0);
    CHECK_EQ_INT(write(go_on[1], &byte, 1), 1);
    waitpid(child, &status, 0);
    CHECK_EQ_INT(status, 0);
    CHECK_EQ_INT(owner_show(&f, 2).n_tokens, N + 100);
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    quire_error_clear(&err);
    CHECK_OK(quire_store_remove(f.owner, f.ids[2], true, NULL, &err));
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go_on[i]);
    }
    free(longer);
    owner_tear_down(&f);
}

static void parents_are_removed_with_their_branches_only(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    owner_set_up(&f);
    CHECK_EQ_INT(quire_store_remove(f.owner, f.ids[0], false, NULL, &err), QUIRE_ERR_BUSY);
    CHECK_MESSAGE(err, "1 other begins with");
    quire_error_clear(&err);
    CHECK(owner_is_there(&f, 0) && owner_is_there(&f, 1));
    quire_store_watch w = owner_watch(&f);
    CHECK_OK(quire_store_remove(f.owner, f.ids[0], true, &w, &err));
    CHECK_EQ_STR(f.all_done, "1 removed; 0 removed; ");
    CHECK(!owner_is_there(&f, 0) && !owner_is_there(&f, 1) && owner_is_there(&f, 2));
    CHECK_EQ_INT(quire_store_remove(f.owner, f.ids[0], true, NULL, &err), QUIRE_ERR_MISMATCH);
    owner_tear_down(&f);
}

static void gc_takes_what_nobody_can_use(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    char path[KV_PATH_SIZE];
    uint64_t n_bytes = 1;
    owner_set_up(&f);
    quire_store_watch w = owner_watch(&f);
    CHECK_OK(quire_store_collect(f.owner, &w, &n_bytes, &err));
    CHECK_EQ_INT(f.n_done, 0);
    CHECK_EQ_INT(n_bytes, 0);
    owner_book_path(path, &f, 0); /* by hand, as nobody should */
    kv_folder_remove(path);
    owner_flip(&f, 2, "manifest", 300);
    kv_path(path, f.folder, "books/00000000000000aa"); /* a writer that was killed */
    CHECK_EQ_INT(mkdir(path, 0700), 0);
    w = owner_watch(&f);
    CHECK_OK(quire_store_collect(f.owner, &w, &n_bytes, &err));
    CHECK_EQ_INT(f.n_done, 2);
    CHECK(strstr(f.all_done, "1 removed: the book that it begins with is gone"));
    CHECK(strstr(f.all_done, "2 removed: its manifest is damaged"));
    CHECK(n_bytes > 0);
    CHECK_EQ_INT(kv_test_count_files(f.folder), 3);
    owner_tear_down(&f);
}

/* A book that has lost its first tokens serves no text any more, but the branch that it has. */
static void gc_keeps_what_a_branch_is_read_through(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    struct kv_book *book;
    uint64_t n_bytes;
    size_t n;
    owner_set_up(&f);
    owner_flip(&f, 0, "tokens", 70);
    quire_store_watch w = owner_watch(&f);
    CHECK_OK(quire_store_collect(f.owner, &w, &n_bytes, &err));
    CHECK_EQ_STR(f.all_done, "");
    REQUIRE_OK(kv_book_open(&book, f.store, f.texts[1], N, false, &err));
    CHECK_EQ_INT(kv_book_frontier(book), N);
    CHECK(kv_test_holds(book, &f.geometry, f.texts[1], N));
    kv_book_close(book);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    owner_check_reads(&f, 0, N);
    /* A branch that it does not serve is no reason. */
    owner_flip(&f, 0, "tokens", 70);
    owner_flip(&f, 0, "tokens", 3 * sizeof(struct kv_token_record) - 1);
    w = owner_watch(&f);
    CHECK_OK(quire_store_collect(f.owner, &w, &n_bytes, &err));
    CHECK_EQ_STR(f.all_done, "0 removed: nothing of it is sound; 1 removed: the book that it begins with is gone; ");
    owner_tear_down(&f);
}

/* Leaves in the order of their last use; a parent goes when its branches are gone. A pure function. */
static void the_oldest_leaf_goes_first(void)
{
    struct kv_shelf_book books[4] = {
        {.id = 1, .last_used = 10}, {.id = 2, .last_used = 40}, {.id = 3, .last_used = 20}, {.id = 4, .last_used = 5}};
    struct kv_shelf shelf = {.books = books, .n = 4};
    books[1].manifest.parent_id = 1;
    books[3].is_in_use = true;
    static const uint64_t expected[] = {3, 2, 1};
    for (size_t i = 0; i < 3; i++) {
        size_t oldest = kv_shelf_oldest(&shelf);
        CHECK(oldest < shelf.n);
        CHECK_EQ_INT(shelf.books[oldest].id, expected[i]);
        kv_shelf_drop(&shelf, oldest);
    }
    CHECK(kv_shelf_oldest(&shelf) == SIZE_MAX);
}

/* Without all that may go: what stays, and what that begins with. */
static void what_stays_is_known_before(void)
{
    struct kv_shelf_book books[5] = {{.id = 1, .disk_bytes = 1},
                                     {.id = 2, .disk_bytes = 10, .manifest.parent_id = 1, .manifest.depth = 1},
                                     {.id = 3, .disk_bytes = 100, .manifest.parent_id = 1, .manifest.depth = 1},
                                     {.id = 4, .disk_bytes = 1000, .manifest.parent_id = 2, .manifest.depth = 2},
                                     {.id = 5, .disk_bytes = 10000, .manifest.parent_id = 3, .manifest.depth = 2}};
    struct kv_shelf shelf = {.books = books, .n = 5, .other_bytes = 100000};
    static const uint64_t expected[5] = {100001, 100011, 100101, 101011, 110101};
    quire_error err = {0};
    uint64_t n_bytes = 0;
    CHECK_OK(kv_shelf_bytes_after(&n_bytes, &shelf, 0, &err));
    CHECK_EQ_INT(n_bytes, 100000);
    for (int i = 0; i < 5; i++) {
        books[i].is_in_use = true;
        CHECK_OK(kv_shelf_bytes_after(&n_bytes, &shelf, 0, &err));
        CHECK_EQ_INT(n_bytes, expected[i]);
        books[i].is_in_use = false;
    }
    books[2].status = QUIRE_ERR_FORMAT; /* nobody can use it */
    CHECK_OK(kv_shelf_bytes_after(&n_bytes, &shelf, 0, &err));
    CHECK_EQ_INT(n_bytes, 100000);
    books[2].status = QUIRE_ERR_MISMATCH; /* a newer version can */
    CHECK_OK(kv_shelf_bytes_after(&n_bytes, &shelf, 0, &err));
    CHECK_EQ_INT(n_bytes, 100101);
    shelf.books += 2;
    shelf.n = 1;
    CHECK(kv_shelf_oldest(&shelf) == SIZE_MAX);
}

static void a_limit_keeps_what_was_used_last(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    uint64_t n_bytes = 0;
    owner_set_up(&f);
    owner_check_reads(&f, 1, N); /* uses the first one, too */
    uint64_t both = owner_show(&f, 0).disk_bytes + owner_show(&f, 1).disk_bytes;
    quire_store_watch w = owner_watch(&f);
    CHECK_OK(quire_store_evict(f.owner, both + owner_show(&f, 2).disk_bytes, &w, &n_bytes, &err));
    CHECK_EQ_INT(f.n_done, 0);
    CHECK_OK(quire_store_evict(f.owner, both, &w, &n_bytes, &err));
    CHECK_EQ_STR(f.all_done, "2 removed; ");
    CHECK_EQ_INT(n_bytes, both);
    CHECK_OK(quire_store_evict(f.owner, both - 1, &w, &n_bytes, &err));
    CHECK_EQ_STR(f.all_done, "2 removed; 1 removed; ");
    CHECK_OK(quire_store_evict(f.owner, 0, &w, &n_bytes, &err));
    CHECK_EQ_INT(n_bytes, 0);
    owner_tear_down(&f);
}

static void a_reading_gets_its_room(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    struct kv_book *book;
    owner_set_up(&f);
    uint64_t all = owner_show(&f, 0).disk_bytes + owner_show(&f, 1).disk_bytes + owner_show(&f, 2).disk_bytes;
    REQUIRE_OK(kv_book_open(&book, f.store, f.texts[1], N, false, &err));
    CHECK_EQ_INT(kv_store_make_room(f.store, 1000, 2000, &err), QUIRE_ERR_NO_SPACE);
    quire_error_clear(&err);
    CHECK(owner_is_there(&f, 2));
    CHECK_OK(kv_store_make_room(f.store, all + 1000, 1000, &err));
    CHECK(owner_is_there(&f, 2));
    uint64_t third = owner_show(&f, 2).disk_bytes;
    CHECK_EQ_INT(kv_store_make_room(f.store, all, third + 1, &err), QUIRE_ERR_NO_SPACE); /* its own are in use */
    CHECK_MESSAGE(err, "--store-limit");
    quire_error_clear(&err);
    CHECK(owner_is_there(&f, 2)); /* to lose it would not have been enough */
    CHECK_EQ_INT(kv_store_make_room(f.store, (1ull << 60) + all - third, 1ull << 60, &err), QUIRE_ERR_NO_SPACE);
    CHECK_MESSAGE(err, "--store"); /* the disk has not so much, with it or without */
    quire_error_clear(&err);
    CHECK(owner_is_there(&f, 2));
    CHECK_OK(kv_store_make_room(f.store, all, third, &err));
    CHECK(!owner_is_there(&f, 2));
    kv_book_close(book);
    owner_tear_down(&f);
    /* Where the limit is passed already, what can go does. */
    owner_set_up(&f);
    REQUIRE_OK(kv_book_open(&book, f.store, f.texts[1], N, false, &err));
    CHECK_EQ_INT(kv_store_make_room(f.store, 2000, 0, &err), QUIRE_ERR_NO_SPACE);
    CHECK(!owner_is_there(&f, 2));
    kv_book_close(book);
    owner_tear_down(&f);
}

/* Those that a reading finds damaged are mended once it is committed. */
static void a_store_that_may_only_be_read(void)
{
    if (geteuid() == 0)
        SKIP("root may write everywhere");
    struct owner_fixture f;
    char path[KV_PATH_SIZE];
    owner_set_up(&f);
    kv_path(path, f.folder, "books");
    CHECK_EQ_INT(chmod(path, 0500) | chmod(f.folder, 0500), 0);
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    owner_check_reads(&f, 0, N);
    CHECK_EQ_INT(chmod(f.folder, 0700) | chmod(path, 0700), 0);
    owner_tear_down(&f);
}

static void folders_that_are_no_store(void)
{
    quire_error err = {0};
    quire_store *store = NULL;
    char folder[KV_PATH_SIZE], path[KV_PATH_SIZE];
    kv_test_begin(folder);
    CHECK_EQ_INT(quire_store_open(&store, folder, false, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "there is no KV store");
    quire_error_clear(&err);
    kv_path(path, folder, "new");
    CHECK_OK(quire_store_open(&store, path, true, &err));
    quire_store_close(store);
    CHECK_OK(quire_store_open(&store, path, false, &err));
    quire_store_close(store);
    kv_test_end(folder);
}

static const struct test tests[] = {
    {"a_list_says_what_the_books_are", a_list_says_what_the_books_are},
    {"texts_are_made_fit_to_print", texts_are_made_fit_to_print},
    {"prefixes_name_books", prefixes_name_books},
    {"books_in_use_stay", books_in_use_stay},
    {"a_writers_book_stays", a_writers_book_stays},
    {"parents_are_removed_with_their_branches_only", parents_are_removed_with_their_branches_only},
    {"gc_takes_what_nobody_can_use", gc_takes_what_nobody_can_use},
    {"gc_keeps_what_a_branch_is_read_through", gc_keeps_what_a_branch_is_read_through},
    {"the_oldest_leaf_goes_first", the_oldest_leaf_goes_first},
    {"what_stays_is_known_before", what_stays_is_known_before},
    {"a_limit_keeps_what_was_used_last", a_limit_keeps_what_was_used_last},
    {"a_reading_gets_its_room", a_reading_gets_its_room},
    {"a_store_that_may_only_be_read", a_store_that_may_only_be_read},
    {"folders_that_are_no_store", folders_that_are_no_store},
};

TEST_MAIN(tests)
