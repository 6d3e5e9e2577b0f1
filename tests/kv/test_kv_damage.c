/* Damaged, cut, missing and newer files: never used, left alone, and named in the notice. */
#include <sys/stat.h>
#include <unistd.h>

#include "kv/kv_book.h"
#include "kv_test.h"

enum { N = 300, LONGER = 420 };

struct fixture {
    char folder[KV_PATH_SIZE], book[KV_PATH_SIZE];
    struct kv_geometry geometry;
    struct kv_store *store;
    int32_t *text;
};

/* A store with one book of N tokens and its logits. */
static void set_up(struct fixture *f)
{
    struct kv_book *book;
    quire_error err = {0};
    kv_test_begin(f->folder);
    f->geometry = kv_test_geometry(QUIRE_KV_F16);
    f->store = kv_test_store(f->folder, &f->geometry);
    f->text = kv_test_text(LONGER, 31);
    REQUIRE_OK(kv_test_read(&book, f->store, &f->geometry, f->text, N, NULL, &err));
    kv_book_close(book);
    kv_test_only_book(f->book, f->folder);
}

static void tear_down(struct fixture *f)
{
    kv_store_close(f->store);
    kv_test_end(f->folder);
    free(f->text);
}

static const char *base_name(const char *path)
{
    return strrchr(path, '/') + 1;
}

/* Opens the text; it starts at `frontier`, the notice names the book and the file, and reading on gives what it should.
 */
static void check_open(struct fixture *f, size_t n, size_t frontier, const char *file)
{
    struct kv_book *book;
    quire_error err = {0};
    size_t first;
    struct kv_store *store = kv_test_store(f->folder, &f->geometry);
    REQUIRE_OK(kv_test_read(&book, store, &f->geometry, f->text, n, &first, &err));
    CHECK_EQ_INT(first, frontier);
    const char *notice = kv_store_notice(store);
    CHECK((notice != NULL) == (file != NULL));
    bool names_both = !notice || !file || (strstr(notice, file) && strstr(notice, base_name(f->book)));
    CHECK(names_both);
    if (!names_both)
        fprintf(stderr, "notice: %s\nexpected: %s\n", notice, file);
    CHECK(kv_test_holds(book, &f->geometry, f->text, n));
    CHECK(kv_test_has_logits(book, f->text, n));
    kv_book_close(book);
    kv_store_close(store);
}

static void every_byte_of_the_manifest_counts(void) /* KV-6, KV-8 */
{
    struct fixture f;
    struct kv_manifest manifest;
    bool is_other;
    uint64_t id;
    set_up(&f);
    id = kv_store_book_id(base_name(f.book));
    for (size_t offset = 0; offset < sizeof manifest; offset++) {
        quire_error err = {0};
        kv_test_flip(f.book, "manifest", offset);
        quire_status status = kv_store_manifest(&manifest, f.store, id, &is_other, &err);
        CHECK(status == QUIRE_ERR_FORMAT || (status == QUIRE_ERR_MISMATCH && offset >= 8 && offset < 12));
        CHECK(!is_other);
        CHECK_MESSAGE(err, "manifest");
        kv_test_flip(f.book, "manifest", offset);
    }
    CHECK_EQ_INT(kv_store_manifest(&manifest, f.store, id, &is_other, NULL), QUIRE_OK);
    tear_down(&f);
}

static void a_damaged_manifest_hides_the_book(void)
{
    struct fixture f;
    set_up(&f);
    kv_test_flip(f.book, "manifest", 200);
    check_open(&f, N, 0, "manifest");
    check_open(&f, N, N, "manifest"); /* the new book serves; the damaged one is still spoken of */
    tear_down(&f);
    set_up(&f);
    kv_test_cut(f.book, "manifest", 100);
    check_open(&f, N, 0, "manifest");
    tear_down(&f);
    set_up(&f);
    kv_test_cut(f.book, "manifest", 0);
    check_open(&f, N, 0, "manifest");
    tear_down(&f);
}

static void a_book_of_a_newer_version_is_left_alone(void)
{
    struct fixture f;
    char path[KV_PATH_SIZE];
    set_up(&f);
    kv_path(path, f.book, "manifest");
    FILE *file = fopen(path, "r+");
    fseek(file, 8, SEEK_SET);
    fputc(KV_FORMAT_VERSION + 1, file);
    fclose(file);
    check_open(&f, N, 0, "manifest");
    struct kv_store *store = kv_test_store(f.folder, &f.geometry);
    struct kv_book *book;
    quire_error err = {0};
    REQUIRE_OK(kv_book_open(&book, store, f.text, LONGER, false, &err));
    CHECK(kv_store_notice(store) && strstr(kv_store_notice(store), "has format version 3, this build reads version 2"));
    kv_book_close(book);
    kv_store_close(store);
    tear_down(&f);
}

static void a_renamed_book_is_not_trusted(void)
{
    struct fixture f;
    char path[KV_PATH_SIZE];
    set_up(&f);
    kv_path(path, f.folder, "books/0123456789abcdef");
    CHECK_EQ_INT(rename(f.book, path), 0);
    memcpy(f.book, path, sizeof path);
    check_open(&f, N, 0, "manifest");
    tear_down(&f);
}

static void damaged_tokens_are_found(void)
{
    static const size_t offsets[] = {0, 255, 256, 263, 264, 700, 1056, 1056 + 4 * 44 - 1};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        struct fixture f;
        set_up(&f);
        kv_test_flip(f.book, "tokens", offsets[i]);
        check_open(&f, i % 2 ? N : LONGER, 0, "tokens");
        tear_down(&f);
    }
    struct fixture f;
    set_up(&f);
    kv_test_cut(f.book, "tokens", 1000);
    check_open(&f, N, 0, "tokens");
    tear_down(&f);
}

/* What lies beside the whole blocks is damaged: the whole blocks still serve. */
static void damaged_logits_and_tails_cost_little(void)
{
    struct fixture f;
    set_up(&f);
    kv_test_flip(f.book, "logits.1", 60);
    check_open(&f, N, 256, "logits.1");
    check_open(&f, N, N, "logits.1"); /* a branch has them now; the book is still spoken of */
    tear_down(&f);
    set_up(&f);
    kv_test_cut(f.book, "logits.1", 60);
    check_open(&f, N, 256, "logits.1");
    tear_down(&f);
    set_up(&f);
    kv_test_flip(f.book, "tail.1", 6000);
    check_open(&f, LONGER, 256, "tail.1");
    tear_down(&f);
    set_up(&f);
    char path[KV_PATH_SIZE];
    kv_path(path, f.book, "tail.1");
    CHECK_EQ_INT(unlink(path), 0);
    check_open(&f, N, 256, "tail.1");
    tear_down(&f);
}

static void cut_and_missing_layers_hide_the_book(void) /* KV-8: else touching a page would kill the process */
{
    static const char *const names[] = {"layer.000", "layer.001", "summary.001"};
    for (int i = 0; i < 6; i++) {
        struct fixture f;
        char path[KV_PATH_SIZE];
        set_up(&f);
        if (i < 3) {
            kv_test_cut(f.book, names[i], 4096);
        } else {
            kv_path(path, f.book, "%s", names[i - 3]);
            CHECK_EQ_INT(unlink(path), 0);
        }
        check_open(&f, N, 0, names[i % 3]);
        check_open(&f, N, N, NULL);
        tear_down(&f);
        set_up(&f);
        kv_test_cut(f.book, names[i % 3], 4096);
        check_open(&f, LONGER, 0, names[i % 3]);
        tear_down(&f);
    }
}

static void verify_names_the_damaged_block(void) /* KV-6 */
{
    struct fixture f;
    struct kv_book *book, *child;
    quire_error err = {0};
    set_up(&f);
    size_t block_bytes = kv_block_bytes(&f.geometry);
    REQUIRE_OK(kv_book_open(&book, f.store, f.text, N, false, &err));
    CHECK_OK(kv_book_verify(book, &err));
    kv_test_flip(f.book, "layer.001", (2 * KV_CAPACITY_MIN + 3) * block_bytes + 77);
    CHECK_EQ_INT(kv_book_verify(book, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "layer 1, head 2, block 3 ");
    CHECK_MESSAGE(err, base_name(f.book));
    quire_error_clear(&err);
    /* A branch reads the same block through its parent. */
    f.text[N - 10]++;
    REQUIRE_OK(kv_book_open(&child, f.store, f.text, N, false, &err));
    CHECK_EQ_INT(kv_book_frontier(child), 256);
    CHECK_EQ_INT(kv_book_verify(child, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "layer 1, head 2, block 3 ");
    quire_error_clear(&err);
    kv_test_flip(f.book, "layer.001", (2 * KV_CAPACITY_MIN + 3) * block_bytes + 77);
    CHECK_OK(kv_book_verify(book, &err));
    kv_test_flip(f.book, "summary.000", (1 * KV_CAPACITY_MIN + 0) * sizeof(struct kv_summary) + 2);
    CHECK_EQ_INT(kv_book_verify(book, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "layer 0, head 1, block 0 ");
    kv_book_close(child);
    kv_book_close(book);
    tear_down(&f);
}

static void a_missing_or_changed_parent_hides_its_children(void) /* KV-3 */
{
    for (int round = 0; round < 3; round++) {
        struct fixture f;
        struct kv_book *child;
        char path[KV_PATH_SIZE];
        quire_error err = {0};
        set_up(&f);
        f.text[280]++;
        REQUIRE_OK(kv_test_read(&child, f.store, &f.geometry, f.text, N, NULL, &err));
        CHECK_EQ_INT(child->manifest.base_tokens, 256);
        snprintf(path, sizeof path, "%s", child->own.folder);
        kv_book_close(child);
        if (round == 0)
            kv_folder_remove(f.book);
        else if (round == 1)
            kv_test_flip(f.book, "tokens", 3 * 264 + 258); /* the chain where the child branches off */
        else
            kv_test_cut(f.book, "layer.000", 1000);
        const char *parent_name = round == 0 ? "tokens" : round == 1 ? "tokens" : "layer.000";
        char parent[KV_PATH_SIZE];
        memcpy(parent, f.book, sizeof parent);
        memcpy(f.book, path, sizeof path);
        struct kv_book *book;
        size_t first;
        REQUIRE_OK(kv_test_read(&book, f.store, &f.geometry, f.text, N, &first, &err));
        CHECK_EQ_INT(first, 0);
        CHECK(kv_store_notice(f.store) && strstr(kv_store_notice(f.store), parent_name));
        CHECK(kv_store_notice(f.store) && strstr(kv_store_notice(f.store), base_name(parent)));
        CHECK(kv_test_holds(book, &f.geometry, f.text, N));
        kv_book_close(book);
        tear_down(&f);
    }
}

static void a_damaged_book_is_left_as_it_is(void)
{
    struct fixture f;
    char path[KV_PATH_SIZE];
    struct stat before, after;
    set_up(&f);
    kv_test_flip(f.book, "tokens", 5);
    kv_path(path, f.book, "layer.000");
    CHECK_EQ_INT(stat(path, &before), 0);
    size_t n_files = kv_test_count_files(f.book);
    check_open(&f, LONGER, 0, "tokens");
    CHECK_EQ_INT(kv_test_count_files(f.book), n_files);
    CHECK_EQ_INT(stat(path, &after), 0);
    CHECK(before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    kv_test_flip(f.book, "tokens", 5);
    check_open(&f, N, N, NULL);
    tear_down(&f);
}

static const struct test tests[] = {
    {"every_byte_of_the_manifest_counts", every_byte_of_the_manifest_counts},
    {"a_damaged_manifest_hides_the_book", a_damaged_manifest_hides_the_book},
    {"a_book_of_a_newer_version_is_left_alone", a_book_of_a_newer_version_is_left_alone},
    {"a_renamed_book_is_not_trusted", a_renamed_book_is_not_trusted},
    {"damaged_tokens_are_found", damaged_tokens_are_found},
    {"damaged_logits_and_tails_cost_little", damaged_logits_and_tails_cost_little},
    {"cut_and_missing_layers_hide_the_book", cut_and_missing_layers_hide_the_book},
    {"verify_names_the_damaged_block", verify_names_the_damaged_block},
    {"a_missing_or_changed_parent_hides_its_children", a_missing_or_changed_parent_hides_its_children},
    {"a_damaged_book_is_left_as_it_is", a_damaged_book_is_left_as_it_is},
};
TEST_MAIN(tests)
