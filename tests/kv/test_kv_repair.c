/* The store as its owner sees it (quire/store.h): what is verified and repaired, and what a reading mends (KV-12). */
#include <errno.h>
#include <unistd.h>

#include "base/sys.h"
#include "kv_owner_test.h"

static void verify_names_every_place(void)
{
    struct owner_fixture f;
    owner_set_up(&f);
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    owner_flip(&f, 0, "layer.001", owner_block_offset(&f, 2, 1));
    owner_flip(&f, 0, "layer.001", owner_block_offset(&f, 2, 3));
    owner_flip(&f, 0, "summary.000", 3 * sizeof(struct kv_summary) + 1); /* layer 0, head 0, block 3 */
    CHECK_EQ_INT(owner_verify(&f, f.ids[2]), 0);
    CHECK_EQ_INT(owner_verify(&f, f.ids[0]), 3);
    CHECK_EQ_INT(f.last_damage.book_id, f.ids[0]);
    CHECK_EQ_INT(f.last_damage.layer, 1);
    CHECK_EQ_INT(f.last_damage.head, 2);
    CHECK_EQ_INT(f.last_damage.block, 3);
    CHECK_EQ_INT(owner_verify(&f, f.ids[1]), 3); /* a branch is read through its parent */
    owner_flip(&f, 1, "tail.1", 77);
    owner_flip(&f, 1, "logits.1", 7);
    CHECK_EQ_INT(owner_verify(&f, f.ids[1]), 5);
    CHECK_EQ_INT(f.last_damage.layer, -1);
    owner_flip(&f, 2, "tokens", 100);
    owner_flip(&f, 2, "about", 20);
    CHECK_EQ_INT(owner_verify(&f, 0), 7);
    CHECK_EQ_STR(quire_book_state_name(owner_show(&f, 2).state), "damaged");
    CHECK(strstr(owner_show(&f, 2).problem, "tokens"));
    owner_flip(&f, 2, "manifest", 100);
    CHECK_EQ_INT(owner_verify(&f, f.ids[2]), 1);
    CHECK(strstr(owner_show(&f, 2).problem, "manifest"));
    owner_tear_down(&f);
}

/* What a reading would refuse verify names, and neither repair nor export takes it for sound (KV-6). */
static void every_bit_of_a_summary_counts(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    char book[KV_PATH_SIZE], files[KV_PATH_SIZE], file[KV_PATH_SIZE];
    size_t n, first_bit = 8 * sizeof(struct kv_summary) * (1 * KV_CAPACITY_MIN + 2); /* head 1, block 2 */
    owner_set_up(&f);
    owner_book_path(book, &f, 2);
    kv_test_begin(files);
    kv_path(file, files, "book.kv");
    for (size_t bit = 0; bit < 8 * sizeof(struct kv_summary); bit++) {
        kv_test_flip_bit(book, "summary.001", first_bit + bit);
        CHECK_EQ_INT(owner_verify(&f, f.ids[2]), 1);
        CHECK_EQ_INT(f.last_damage.layer, 1);
        CHECK_EQ_INT(f.last_damage.head, 1);
        CHECK_EQ_INT(f.last_damage.block, 2);
        CHECK(strstr(f.last_message, bit < 64 ? "checksum" : bit < 96 ? "key norm" : "flags"));
        CHECK_EQ_INT(quire_store_export(f.owner, f.ids[2], file, NULL, &err), QUIRE_ERR_FORMAT);
        quire_error_clear(&err);
        unlink(file);
        kv_test_flip_bit(book, "summary.001", first_bit + bit);
    }
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    kv_test_flip_bit(book, "summary.001", first_bit + 70);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_STR(f.all_done, "2 put back from 300 to its first 128 tokens; ");
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    owner_check_reads(&f, 2, 128);
    kv_test_end(files);
    owner_tear_down(&f);
}

static int stop_at_once(void *user, const quire_store_progress *progress)
{
    (void)user;
    return progress->n_bytes > 0;
}

static void verify_can_be_stopped(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    size_t n;
    owner_set_up(&f);
    quire_store_watch w = {.progress = stop_at_once};
    CHECK_EQ_INT(quire_store_verify(f.owner, 0, &w, &n, &err), QUIRE_ERR_CANCELLED);
    owner_tear_down(&f);
}

static void repair_puts_back_what_is_damaged(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    size_t n = 0;
    owner_set_up(&f);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_INT(n, 0);
    /* A block of the third book: the whole blocks before it stay. */
    owner_flip(&f, 2, "layer.001", owner_block_offset(&f, 1, 2));
    owner_flip(&f, 2, "layer.000", owner_block_offset(&f, 0, 3));
    CHECK_OK(owner_repair(&f, f.ids[2], &n, &err));
    CHECK_EQ_INT(n, 1);
    CHECK_EQ_STR(f.all_done, "2 put back from 300 to its first 128 tokens; ");
    quire_stored_book book = owner_show(&f, 2);
    CHECK_EQ_INT(book.n_tokens, 128);
    CHECK_EQ_STR(quire_book_state_name(book.state), "partly read");
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    owner_check_reads(&f, 2, 128);
    owner_check_reads(&f, 2, N); /* by the same book, gone on with */
    CHECK_EQ_INT(owner_show(&f, 2).n_tokens, N);
    /* What is beside the blocks. */
    owner_flip(&f, 2, "logits.3", 9);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_STR(f.all_done, "2 its 300 tokens are kept, without what was damaged beside them; ");
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    owner_flip(&f, 1, "tail.1", 9);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_STR(f.all_done, "1 put back from 300 to its first 256 tokens; ");
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    owner_check_reads(&f, 1, 256);
    owner_tear_down(&f);
}

static void repair_removes_what_has_nothing_sound(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    size_t n = 0;
    owner_set_up(&f);
    owner_flip(&f, 0, "layer.000", owner_block_offset(&f, 0, 0)); /* the branch begins with it */
    owner_flip(&f, 2, "manifest", 700);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_INT(n, 3);
    CHECK(strstr(f.all_done, "0 removed") && strstr(f.all_done, "1 removed") && strstr(f.all_done, "2 removed"));
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    quire_stored_book *books;
    CHECK_OK(quire_store_list(f.owner, &books, &n, &err));
    CHECK_EQ_INT(n, 0);
    free(books);
    CHECK_EQ_INT(kv_test_count_files(f.folder), 3); /* store, lock, books */
    owner_check_reads(&f, 0, 0);
    owner_tear_down(&f);
}

/* A file that is gone is damage like any other, for the book, for its branch, and for an export, whose error is of one
 * kind with its status. */
static void a_missing_file_is_damage(void)
{
    static const char *const files[] = {"tokens", "layer.000", "summary.000", "tail.1"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct owner_fixture f;
        quire_error err = {0};
        char folder[KV_PATH_SIZE], path[KV_PATH_SIZE], file[KV_PATH_SIZE];
        size_t n = 0;
        owner_set_up(&f);
        owner_book_path(folder, &f, 0);
        kv_path(path, folder, "%s", files[i]);
        CHECK_EQ_INT(unlink(path), 0);
        CHECK(owner_verify(&f, 0) > 0);
        CHECK_EQ_STR(quire_book_state_name(owner_show(&f, 0).state), i == 1 || i == 2 ? "complete" : "damaged");
        kv_path(file, f.folder, "export.kv");
        CHECK_EQ_INT(quire_store_export(f.owner, f.ids[0], file, NULL, &err), QUIRE_ERR_FORMAT);
        CHECK_EQ_INT(err.status, QUIRE_ERR_FORMAT);
        quire_error_clear(&err);
        CHECK_OK(owner_repair(&f, 0, &n, &err));
        CHECK(n > 0);
        CHECK_EQ_INT(owner_verify(&f, 0), 0);
        owner_check_reads(&f, 2, N);
        owner_tear_down(&f);
    }
}

static void repair_takes_tokens_from_a_branch(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    size_t n = 0;
    owner_set_up(&f);
    owner_flip(&f, 0, "tokens", 70);
    CHECK_EQ_INT(owner_verify(&f, f.ids[0]), 1);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_STR(f.all_done, "0 its tokens were written anew from one of its branches; ");
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    owner_check_reads(&f, 0, N);
    owner_check_reads(&f, 1, N);
    /* Also where the chain itself is damaged at which the branch begins. */
    owner_flip(&f, 0, "tokens", 3 * sizeof(struct kv_token_record) - 1);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_STR(f.all_done, "0 its tokens were written anew from one of its branches; ");
    owner_check_reads(&f, 1, N);
    /* And where there is damage behind it, too, of which there is no second copy. */
    owner_flip(&f, 0, "tokens", 70);
    owner_flip(&f, 0, "tokens", 3 * sizeof(struct kv_token_record) + 8);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_STR(f.all_done, "0 put back from 300 to its first 192 tokens; ");
    owner_check_reads(&f, 1, N);
    owner_tear_down(&f);
}

/* A book that was put back and then went another way than a branch that it once had: the branch's tokens are not its.
 */
static void repair_takes_tokens_of_its_own_text_only(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    size_t n = 0;
    owner_set_up(&f);
    owner_flip(&f, 0, "layer.000", owner_block_offset(&f, 0, 1));
    CHECK_OK(owner_repair(&f, f.ids[0], &n, &err));
    CHECK_EQ_STR(f.all_done, "0 put back from 300 to its first 64 tokens; ");
    f.texts[0][64]++;
    owner_check_reads(&f, 0, 64);
    CHECK_EQ_INT(owner_show(&f, 0).n_tokens, N);
    owner_flip(&f, 0, "tokens", sizeof(struct kv_token_record) + 8);
    CHECK_OK(owner_repair(&f, f.ids[0], &n, &err));
    CHECK_EQ_STR(f.all_done, "0 put back from 300 to its first 64 tokens; ");
    CHECK_EQ_INT(f.n_damage, 1);
    owner_check_reads(&f, 0, 64);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_STR(f.all_done, "1 removed: the book that it begins with is gone; ");
    owner_check_reads(&f, 1, 64);
    owner_tear_down(&f);
}

static int n_writes_left;

static ssize_t fail_one_write(int fd, const void *buffer, size_t n, off_t offset)
{
    if (n_writes_left-- != 0)
        return sys_real.pwrite(fd, buffer, n, offset);
    errno = EIO;
    return -1;
}

/* A disk that fails while the tokens are put right is no reason to give up what they belong to. */
static void tokens_that_cannot_be_written_cost_nothing(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    size_t n = 0;
    owner_set_up(&f);
    owner_flip(&f, 0, "tokens", 70);
    sys.pwrite = fail_one_write;
    n_writes_left = 0;
    CHECK_EQ_INT(owner_repair(&f, 0, &n, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "tokens");
    CHECK(n_writes_left < 0);
    sys = sys_real;
    quire_error_clear(&err);
    CHECK_OK(owner_repair(&f, 0, &n, &err));
    CHECK_EQ_STR(f.all_done, "0 its tokens were written anew from one of its branches; ");
    owner_check_reads(&f, 0, N);
    owner_check_reads(&f, 1, N);
    owner_tear_down(&f);
}

static void repair_drops_a_damaged_flight(void)
{
    for (int round = 0; round < 2; round++) {
        struct owner_fixture f;
        quire_error err = {0};
        struct kv_book *book;
        size_t n = 0;
        float residual[100] = {1, 2, 3};
        owner_set_up(&f);
        f.texts[2][0]++; /* a text that no book has */
        REQUIRE_OK(kv_book_open(&book, f.store, f.texts[2], N, false, &err));
        f.ids[2] = book->manifest.id;
        REQUIRE_OK(kv_test_put(book, &f.geometry, f.texts[2], 0, 64, &err));
        REQUIRE_OK(kv_book_commit(book, f.texts[2], 64, NULL, 0, &err));
        REQUIRE_OK(kv_test_put_layer(book, &f.geometry, 0, f.texts[2], 64, 150, &err));
        struct kv_flight flight = {
            .span_first = 64, .span_end = N, .layer = 0, .phase = 1, .next_token = 64, .kv_token = 214};
        REQUIRE_OK(kv_book_save_flight(book, f.texts[2], N, &flight, residual, sizeof residual, &err));
        kv_book_close(book);
        CHECK_EQ_INT(owner_show(&f, 2).n_tokens, 64);
        CHECK_EQ_INT(owner_show(&f, 2).n_in_flight, N - 64);
        CHECK_EQ_INT(owner_verify(&f, 0), 0);
        if (round == 0)
            owner_flip(&f, 2, "residual.2", 30);
        else
            owner_flip(&f, 2, "layer.000", owner_block_offset(&f, 1, 2));
        CHECK_EQ_INT(owner_verify(&f, 0), 1);
        CHECK_OK(owner_repair(&f, 0, &n, &err));
        CHECK_EQ_STR(f.all_done, "2 put back to its 64 tokens, without the span that was in flight; ");
        CHECK_EQ_INT(owner_verify(&f, 0), 0);
        owner_check_reads(&f, 2, 64);
        owner_tear_down(&f);
    }
}

static void readings_mend_what_they_found(void)
{
    struct owner_fixture f;
    quire_error err = {0}, done = {0};
    struct kv_book *book;
    size_t first;
    owner_set_up(&f);
    owner_flip(&f, 2, "logits.1", 50);
    REQUIRE_OK(kv_test_read(&book, f.store, &f.geometry, f.texts[2], N, &first, &err));
    CHECK_EQ_INT(first, 256);
    kv_book_mend_damaged(book, &done);
    CHECK_MESSAGE(done, "its 300 tokens are kept, without what was damaged beside them");
    CHECK(kv_test_holds(book, &f.geometry, f.texts[2], N));
    kv_book_close(book);
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    owner_check_reads(&f, 2, N);
    owner_tear_down(&f);
}

/* What another process has put right, and gone on with, before this reading is committed. */
static void readings_mend_nothing_that_was_mended(void)
{
    struct owner_fixture f;
    quire_error err = {0}, done = {0};
    struct kv_book *book;
    size_t n;
    owner_set_up(&f);
    owner_flip(&f, 2, "layer.000", owner_block_offset(&f, 0, 2));
    REQUIRE_OK(kv_book_open(&book, f.store, f.texts[2], N, false, &err));
    CHECK_EQ_INT(kv_book_check(book, 0, 0, &err), QUIRE_ERR_FORMAT);
    quire_error_clear(&err);
    CHECK(kv_book_condemn(book));
    kv_book_close(book);
    CHECK_OK(owner_repair(&f, f.ids[2], &n, &err));
    CHECK_EQ_STR(f.all_done, "2 put back from 300 to its first 128 tokens; ");
    struct kv_store *other = kv_test_store(f.folder, &f.geometry);
    REQUIRE_OK(kv_test_read(&book, other, &f.geometry, f.texts[2], N, NULL, &err));
    kv_book_close(book);
    kv_store_close(other);
    REQUIRE_OK(kv_book_open(&book, f.store, f.texts[0], N, false, &err));
    kv_book_mend_damaged(book, &done);
    CHECK_EQ_STR(done.message, "");
    kv_book_close(book);
    CHECK_EQ_INT(owner_show(&f, 2).n_tokens, N);
    owner_check_reads(&f, 2, N);
    owner_tear_down(&f);
}

static const struct test tests[] = {
    {"verify_names_every_place", verify_names_every_place},
    {"every_bit_of_a_summary_counts", every_bit_of_a_summary_counts},
    {"verify_can_be_stopped", verify_can_be_stopped},
    {"repair_puts_back_what_is_damaged", repair_puts_back_what_is_damaged},
    {"repair_removes_what_has_nothing_sound", repair_removes_what_has_nothing_sound},
    {"a_missing_file_is_damage", a_missing_file_is_damage},
    {"repair_takes_tokens_from_a_branch", repair_takes_tokens_from_a_branch},
    {"repair_takes_tokens_of_its_own_text_only", repair_takes_tokens_of_its_own_text_only},
    {"tokens_that_cannot_be_written_cost_nothing", tokens_that_cannot_be_written_cost_nothing},
    {"repair_drops_a_damaged_flight", repair_drops_a_damaged_flight},
    {"readings_mend_what_they_found", readings_mend_what_they_found},
    {"readings_mend_nothing_that_was_mended", readings_mend_nothing_that_was_mended},
};

TEST_MAIN(tests)
